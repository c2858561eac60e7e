//! The requests that were begun: an id that a right clock would keep is never begun anew.

use std::collections::BTreeMap;

use kora_gateway::store::{Begun, RequestLog, StoredState};
use proptest::sample::Index;
use uuid::Uuid;

use super::{events::signed, gateway::Gateway, operation::Outcome, place::Place, trust::Moment};
use crate::log_laws::requests::{ending, intent, key};

#[derive(Default)]
pub struct Requests {
    known: BTreeMap<u8, Request>,
}

struct Request {
    id: Uuid,
    attempt: Uuid,
    state: State,
    /// A right clock could have deleted it by now.
    may_be_gone: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Open,
    /// By a process that is gone, found at this moment.
    LeftOpen(Moment),
    Ended(StoredState, Moment),
}

impl State {
    /// From when on its age counts.
    fn ages_from(&self) -> Option<Moment> {
        match self {
            State::Open => None,
            State::LeftOpen(at) | State::Ended(_, at) => Some(*at),
        }
    }
}

impl<P: Place> Gateway<P> {
    pub async fn begin(&mut self, number: u8) {
        let attempt = Uuid::new_v4();
        let known = self.requests.known.get(&number);
        let id = known.map_or_else(Uuid::new_v4, |request| request.id);
        let begun = self.log.begin(intent(id, attempt)).await.unwrap();
        match (&begun, known) {
            (Begun::New, None) => {}
            (Begun::New, Some(known)) => {
                let may_be_repeated =
                    matches!(known.state, State::Ended(StoredState::MayBeRepeated, _));
                assert!(
                    may_be_repeated || known.may_be_gone,
                    "a request is begun anew that was {:?}; {:?}",
                    known.state,
                    self.settings
                );
            }
            (Begun::Found(found), Some(known)) if found.attempt == known.attempt => {}
            _ => panic!("{begun:?}"),
        }
        if begun == Begun::New {
            let request = Request {
                id,
                attempt,
                state: State::Open,
                may_be_gone: false,
            };
            self.requests.known.insert(number, request);
        }
        self.committed(None);
    }

    pub async fn finish(&mut self, which: Index, how: Outcome) {
        let mut open: Vec<_> = self.requests.known.values_mut().collect();
        open.retain(|request| matches!(request.state, State::Open));
        if open.is_empty() {
            return;
        }
        let open = open.swap_remove(which.index(open.len()));
        let state = match how {
            Outcome::Succeeded => StoredState::Succeeded,
            Outcome::Failed => StoredState::Failed,
            Outcome::MayBeRepeated => StoredState::MayBeRepeated,
        };
        let end = ending(open.id, open.attempt, state, "an answer");
        let is_recorded = self.log.finish(end).await.unwrap();
        assert!(is_recorded || open.may_be_gone, "an open request is gone");
        if is_recorded {
            open.state = State::Ended(state, self.trust.now(&self.machine));
        }
        self.committed(None);
    }

    /// Another process has read what the last one left open.
    pub fn find_requests_left_open(&mut self) {
        let now = self.trust.now(&self.machine);
        for request in self.requests.known.values_mut() {
            if matches!(request.state, State::Open) {
                request.state = State::LeftOpen(now);
            }
        }
    }

    /// Finds which records may be gone from now on.
    pub fn update_requests(&mut self) {
        let retention = signed(self.settings.request_retention);
        for request in self.requests.known.values_mut() {
            let since = request.state.ages_from();
            let age = since.map(|since| self.trust.most(&self.machine, since));
            request.may_be_gone |= age.is_some_and(|age| age > retention);
        }
    }

    /// What has to be there is there, unchanged.
    pub async fn check_requests(&self) {
        for request in self.requests.known.values() {
            let found = self.log.request(key(request.id)).await.unwrap();
            assert!(
                found.is_some() || request.may_be_gone,
                "a request is gone that was {:?}; {:?}",
                request.state,
                self.settings
            );
            let is_same = found.is_none_or(|found| found.attempt == request.attempt);
            assert!(is_same, "a request is another one");
        }
    }

    /// When everything is too old, only what is open in this process is left.
    pub async fn check_that_open_requests_are_left(&self) {
        for request in self.requests.known.values() {
            let is_there = self.log.request(key(request.id)).await.unwrap().is_some();
            let is_open = matches!(request.state, State::Open);
            assert_eq!(is_there, is_open, "{:?}", request.state);
        }
    }
}
