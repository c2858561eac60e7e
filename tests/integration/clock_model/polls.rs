//! The screenings that wait for their end. They are polled as the reconciler polls them; none is forgotten, and none waits
//! longer than its pause.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use kora_gateway::store::{EventLog, Poll, PollLog};
use proptest::sample::Index;
use tokio::time::{sleep, timeout};

use super::{gateway::Gateway, place::Place, trust::Moment};

const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(30);
const MAX_PAUSE: SignedDuration = SignedDuration::from_mins(15);

/// No poll is due later than so long from now, or it is due at once: twice the longest pause, and how far gateway time can go
/// back without a step.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(2 * 15 + 5);

/// After how many polls a screening is given up.
const LAST_POLL: u32 = 12;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long to leave the machine to others before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// More than there ever are.
const MANY: usize = 64;

#[derive(Default)]
pub struct Polls {
    waiting: BTreeMap<String, Wait>,
    /// How often gateway time had changed, and when the first round was that saw it so, in true time.
    first_round: (u64, Timestamp),
}

struct Wait {
    polls: u32,
    since: Moment,
    pause: SignedDuration,
}

fn pause(polls: u32) -> SignedDuration {
    FIRST_PAUSE
        .checked_mul(1 << polls.min(8))
        .unwrap()
        .min(MAX_PAUSE)
}

impl<P: Place> Gateway<P> {
    pub async fn add_poll(&mut self, number: u8) {
        let id = format!("scr_{number}");
        let trimmed = self.log.tail().bounds().trimmed.sequence;
        let expected = match self.polls.waiting.contains_key(&id) {
            true => Some(false),
            false => self
                .events
                .has_end(&id, trimmed)
                .map(|has_ended| !has_ended),
        };
        let next_poll = self.clock.now() + pause(0);
        let is_added = self
            .log
            .add_poll(id.clone(), String::new(), next_poll)
            .await
            .unwrap();
        assert!(
            expected.is_none_or(|expected| expected == is_added),
            "{id}: added {is_added}, not {expected:?}"
        );
        if is_added {
            self.wait(id, 0);
        }
        self.committed(None);
    }

    fn wait(&mut self, id: String, polls: u32) {
        let wait = Wait {
            polls,
            since: self.trust.now(&self.machine),
            pause: pause(polls),
        };
        self.polls.waiting.insert(id, wait);
    }

    /// The end of a screening comes by webhook.
    pub async fn end_one(&mut self, which: Index) {
        let waiting: Vec<_> = self.polls.waiting.keys().cloned().collect();
        let id = match waiting.is_empty() {
            true => "scr_of nobody".to_owned(),
            false => which.get(&waiting).clone(),
        };
        self.append_end(&id).await;
        self.polls.waiting.remove(&id);
    }

    /// As the reconciler makes a round.
    pub async fn poll_round(&mut self, ended: Option<Index>) {
        let now = self.clock.now();
        let latest = now + LONGEST_WAIT;
        let polls = self.all_polls().await;
        let changes = self.trust.changes();
        if self.polls.first_round.0 != changes {
            self.polls.first_round = (changes, self.machine.truth());
        }
        let is_due = |poll: &Poll| poll.next_poll <= now || poll.next_poll > latest;
        let due: Vec<_> = polls.into_iter().filter(is_due).collect();
        self.check_due(&due);
        let ended = ended
            .filter(|_| !due.is_empty())
            .map(|which| which.index(due.len()));
        for (number, poll) in due.into_iter().enumerate() {
            self.poll(poll, ended == Some(number)).await;
        }
    }

    /// All are due that have waited long enough.
    fn check_due(&self, due: &[Poll]) {
        let at_last = self.polls.first_round.1 + LONGEST_WAIT;
        for (id, wait) in &self.polls.waiting {
            let longest = self.trust.longest_wait(wait.since, wait.pause, at_last);
            let truth = self.machine.truth();
            assert!(
                truth < longest || due.iter().any(|poll| poll.screening_id == *id),
                "{id} is not due at {truth}, only from {longest} on"
            );
        }
    }

    async fn poll(&mut self, poll: Poll, has_ended: bool) {
        let id = poll.screening_id.clone();
        let wait = self.polls.waiting.get(&id);
        let wait = wait.unwrap_or_else(|| panic!("{id} does not wait"));
        assert_eq!(poll.attempts, wait.polls, "{id}");
        let polls = poll.attempts + 1;
        let next_poll = self.clock.now() + pause(polls);
        assert!(self.log.postpone(poll, next_poll).await.unwrap());
        self.wait(id.clone(), polls);
        self.committed(None);
        if has_ended {
            self.reconcile(&id).await;
        } else if polls == LAST_POLL {
            assert!(self.log.remove_poll(id.clone().into_bytes()).await.unwrap());
            self.committed(None);
        } else {
            return;
        }
        self.polls.waiting.remove(&id);
    }

    async fn all_polls(&self) -> Vec<Poll> {
        let latest = self.clock.now() + LONGEST_WAIT;
        let read = async {
            loop {
                let polls = self.log.polls(MANY, latest).await.unwrap();
                assert!(polls.damaged.is_empty());
                // On NATS there is none until the last process is known to be gone, if it could not take its leave in time.
                let is_leased = P::KEEPS_TIME || self.polls.waiting.is_empty();
                if is_leased || !polls.sound.is_empty() {
                    return polls.sound;
                }
                sleep(LOOK_AGAIN).await;
            }
        };
        timeout(PATIENCE, read).await.expect("the polls are there")
    }

    /// Each that waits is there, and was polled as often as it was.
    pub async fn check_polls(&self) {
        let polls = self.all_polls().await;
        let mut found: Vec<_> = polls
            .into_iter()
            .map(|poll| (poll.screening_id, poll.attempts))
            .collect();
        found.sort();
        let waiting = self.polls.waiting.iter();
        let waiting: Vec<_> = waiting.map(|(id, wait)| (id.clone(), wait.polls)).collect();
        assert_eq!(found, waiting);
    }
}
