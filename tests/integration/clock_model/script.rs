//! Plays a schedule, and then lets the clocks be right for long enough.

use jiff::SignedDuration;

use super::{
    events::signed,
    gateway::Gateway,
    machine::STEP_HOLD,
    operation::{Operation, Schedule},
    place::Place,
};

pub async fn play<P: Place>(place: P, schedule: Schedule) {
    let mut gateway = Gateway::start(place, schedule.settings).await;
    for operation in schedule.operations {
        gateway = gateway.does(operation).await;
    }
    gateway.ends_well().await;
}

impl<P: Place> Gateway<P> {
    async fn does(mut self, operation: Operation) -> Self {
        let mut is_accepted = false;
        match operation {
            Operation::AppendId(id, size) => self.append_id(id, size).await,
            Operation::AppendBody(body) => self.append_body(body).await,
            Operation::AppendEnd(which) => self.end_one(which).await,
            Operation::Begin(number) => self.begin(number).await,
            Operation::Finish(which, how) => self.finish(which, how).await,
            Operation::AddPoll(number) => self.add_poll(number).await,
            Operation::PollRound(ended) => self.poll_round(ended).await,
            Operation::Elapse(time) => self.machine.elapse(time),
            Operation::Suspend(time, step) => {
                self.machine.elapse(time);
                self.step(step);
            }
            Operation::Step(step) => self.step(step),
            Operation::Correct => self.correct(),
            Operation::Accept => {
                let pending = self.clock.status().pending;
                if let Some(pending) = pending {
                    self.clock.accept(pending.step).unwrap();
                    is_accepted = true;
                }
            }
            Operation::Maintain => self.maintain().await,
            Operation::Restart(restart) => return self.restart(restart).await,
        }
        self.look(is_accepted);
        self
    }

    fn step(&mut self, step: SignedDuration) {
        let step = self.machine.step(step);
        self.trust.wall_stepped(&self.machine, step);
    }

    fn correct(&mut self) {
        let error = self.machine.wall_error();
        self.machine.correct();
        self.trust.wall_stepped(&self.machine, error);
    }

    /// The clock is right again and stays so: nothing waits any more, and what is too old goes.
    async fn ends_well(mut self) {
        self.correct();
        self.look(false);
        self.machine.elapse(STEP_HOLD);
        self.look(false);
        assert_eq!(self.clock.status().pending, None);
        self.poll_round(None).await;
        self.check_all().await;
        if P::KEEPS_TIME {
            let ages = [self.settings.retention_age, self.settings.request_retention];
            let longest = signed(ages[0].max(ages[1])) + self.trust.most_lost();
            self.machine.elapse(longest + SignedDuration::from_mins(1));
            self.look(false);
            self.maintain().await;
            self.look(false);
            self.check_that_the_newest_is_left();
            self.check_that_open_requests_are_left().await;
        }
        self.check_all().await;
        self.stop().await;
    }
}
