//! What a schedule has: a machine, a place, the log of the process that runs, and what the model knows.

use jiff::Timestamp;
use kora_gateway::{clock::Clock, store::PollLog};

use super::{
    events::Events,
    machine::Machine,
    operation::{Restart, Settings},
    place::Place,
    polls::Polls,
    requests::Requests,
    trust::Trust,
};

pub struct Gateway<P: Place> {
    place: P,
    pub machine: Machine,
    pub clock: Clock,
    pub log: P::Log,
    pub settings: Settings,
    pub trust: Trust,
    pub events: Events,
    pub requests: Requests,
    pub polls: Polls,
}

impl<P: Place> Gateway<P> {
    /// Starts the first process.
    pub async fn start(place: P, settings: Settings) -> Self {
        let machine = Machine::new();
        let clock = machine.clock();
        let log = place.open(settings, clock.clone()).await;
        let mut gateway = Gateway {
            trust: Trust::new(&machine),
            place,
            machine,
            clock,
            log,
            settings,
            events: Events::default(),
            requests: Requests::default(),
            polls: Polls::default(),
        };
        gateway.maintain().await;
        gateway
    }

    /// Looks at gateway time, and at what is gone.
    pub fn look(&mut self, is_accepted: bool) {
        let status = self.clock.status();
        self.trust.observe(&self.machine, status, is_accepted);
        self.check_trimmed();
        self.update_requests();
    }

    /// Something was written, perhaps an event with this time.
    pub fn committed(&mut self, receive_time: Option<Timestamp>) {
        // A log that keeps time knows gateway time from it, also where `receive_time` stands still.
        let record = receive_time.map(|time| match P::KEEPS_TIME {
            true => self.clock.now(),
            false => time,
        });
        self.trust.committed(&self.machine, record, P::KEEPS_TIME);
    }

    /// The log writes something that changes nothing, and deletes what is too old.
    pub async fn maintain(&mut self) {
        assert!(!self.log.remove_poll(b"none".to_vec()).await.unwrap());
        self.committed(None);
    }

    /// The process ends, and another one starts.
    pub async fn restart(mut self, restart: Restart) -> Self {
        let clock = self.clock;
        self.place.close(self.log, restart.is_crash).await;
        if P::KEEPS_TIME && !restart.is_crash {
            self.trust.mark(&self.machine);
        }
        drop(clock);
        self.machine.elapse(restart.down);
        let step = self.machine.step(restart.step);
        self.trust.wall_stepped(&self.machine, step);
        if let Some(uptime) = restart.other_boot {
            self.machine.boot(uptime);
        }
        self.settings = restart.settings.unwrap_or(self.settings);
        let clock = self.machine.clock();
        let log = self.place.open(self.settings, clock.clone()).await;
        let mut gateway = Gateway { clock, log, ..self };
        let status = gateway.clock.status();
        gateway.trust.start(&gateway.machine, status);
        gateway.find_requests_left_open();
        gateway.look(false);
        gateway.maintain().await;
        gateway.look(false);
        gateway.check_all().await;
        gateway
    }

    /// The last process ends.
    pub async fn stop(mut self) {
        self.place.close(self.log, false).await;
        self.place.remove().await;
    }

    /// Everything is as the model has it.
    pub async fn check_all(&mut self) {
        self.check_events().await;
        self.check_requests().await;
        self.check_polls().await;
    }
}
