//! What is left, by what Kora told.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{START, rate_limit, seconds};
use crate::kora::pacing::{
    budget::{Budget, Ticket},
    window::Announced,
};

const OK: StatusCode = StatusCode::OK;
const TOO_MANY: StatusCode = StatusCode::TOO_MANY_REQUESTS;

/// A budget at a chosen second of the test.
struct Scene {
    budget: Budget,
    start: Instant,
}

impl Scene {
    fn new() -> Self {
        Scene {
            budget: Budget::default(),
            start: Instant::now(),
        }
    }

    fn at(&self, second: u64) -> Instant {
        self.start + seconds(second)
    }

    fn spend(&mut self, second: u64) -> Ticket {
        self.budget.spend(self.at(second))
    }

    fn answered(&mut self, ticket: Ticket, second: u64, status: StatusCode, headers: &HeaderMap) {
        let time_of_day = Timestamp::from_second(START).unwrap() + seconds(second);
        let times = (self.at(second), time_of_day);
        self.budget.answered(ticket, status, headers, times);
    }

    /// One request there and back in this second.
    fn exchange(&mut self, second: u64, status: StatusCode, headers: &HeaderMap) {
        let ticket = self.spend(second);
        self.answered(ticket, second, status, headers);
    }

    /// How many can be sent in this second without an answer.
    fn room(&mut self, second: u64) -> usize {
        let now = self.at(second);
        let mut sent = Vec::new();
        while self.budget.opens(now) <= now && sent.len() < 1000 {
            sent.push(self.budget.spend(now));
        }
        let room = sent.len();
        sent.into_iter()
            .for_each(|ticket| self.budget.give_back(ticket));
        room
    }

    fn opens(&self, second: u64) -> u64 {
        let now = self.at(second);
        (self.budget.opens(now).max(now) - self.start).as_secs()
    }
}

#[test]
fn nothing_is_held_back_before_kora_tells() {
    let mut scene = Scene::new();
    assert_eq!(scene.room(0), 1000);
    scene.exchange(0, OK, &HeaderMap::new());
    assert_eq!(scene.room(0), 1000);
}

#[test]
fn a_spent_window_is_closed_until_it_is_surely_over() {
    let mut scene = Scene::new();
    scene.exchange(0, OK, &rate_limit(100, 0, 20));
    assert_eq!(scene.opens(1), 21);
    assert_eq!(scene.room(20), 0);
    assert_eq!(scene.room(21), 10, "the next window opens with a tenth");
}

#[test]
fn a_window_opens_with_a_tenth_and_follows_with_what_answers_tell() {
    for (limit, opening) in [(1000, 100), (100, 10), (30, 5), (2, 2)] {
        let mut scene = Scene::new();
        scene.exchange(0, OK, &rate_limit(limit, limit - 1, 20));
        let mut sent = Vec::new();
        for second in 21..60 {
            let room = scene.room(second);
            sent.extend((0..room).map(|_| scene.spend(second)));
            let expected = opening * (second as usize - 20);
            assert_eq!(
                sent.len(),
                expected.min(limit as usize),
                "{limit}, {second}"
            );
        }
        // As many as a window takes are on their way, and nobody answers.
        assert_eq!(scene.opens(60), 81);
    }
}

#[test]
fn a_window_that_others_open_too_has_one_a_second_after_the_first_tenth() {
    let shared = || {
        let mut scene = Scene::new();
        scene.exchange(0, OK, &rate_limit(100, 0, 20));
        scene
    };
    let mut scene = shared();
    assert_eq!(scene.room(21), 10);
    let sent: Vec<_> = (0..10).map(|_| scene.spend(21)).collect();
    assert_eq!([21, 22, 23].map(|second| scene.room(second)), [0, 1, 1]);
    drop(sent);
    assert_eq!(shared().room(23), 1, "the others may have spent it by now");
}

#[test]
fn an_answer_that_was_overtaken_raises_nothing() {
    let mut scene = Scene::new();
    let [early, late, last] = [scene.spend(0), scene.spend(0), scene.spend(0)];
    scene.answered(late, 0, OK, &rate_limit(100, 2, 20));
    assert_eq!(scene.budget.left(), 1, "one sent later is on its way");
    scene.answered(early, 0, OK, &rate_limit(100, 90, 20));
    assert_eq!(scene.budget.left(), 1);
    scene.answered(last, 0, OK, &rate_limit(100, 80, 10));
    assert_eq!(
        scene.budget.left(),
        2,
        "of an earlier window, so nothing of this one is spent"
    );
}

#[test]
fn what_is_on_its_way_is_not_spent_twice() {
    let mut scene = Scene::new();
    let others: Vec<_> = (0..9).map(|_| scene.spend(0)).collect();
    scene.exchange(0, OK, &rate_limit(20, 10, 20));
    assert_eq!(scene.room(0), 0, "more than half may be counted yet");
    for other in others {
        scene.answered(other, 0, OK, &rate_limit(20, 15, 20));
    }
    assert_eq!(scene.room(0), 5, "half of them, then an answer is due");
}

#[test]
fn a_lost_request_is_spent_and_one_not_sent_is_not() {
    let mut scene = Scene::new();
    scene.exchange(0, OK, &rate_limit(100, 2, 20));
    let [lost, unsent] = [scene.spend(5), scene.spend(5)];
    scene.budget.lost(lost);
    assert_eq!(scene.opens(10), 21);
    scene.budget.give_back(unsent);
    assert_eq!((scene.opens(10), scene.room(10)), (10, 1));
    assert_eq!(scene.room(21), 10);
}

#[test]
fn others_leave_a_share_and_are_remembered() {
    let mut scene = Scene::new();
    scene.exchange(0, OK, &rate_limit(100, 99, 60));
    assert_eq!(scene.room(0), 49);
    scene.exchange(0, OK, &rate_limit(100, 64, 60));
    assert_eq!(scene.room(0), 4);
    assert_eq!(scene.room(2), 1, "they may have spent it meanwhile");
    scene.exchange(2, OK, &rate_limit(100, 64, 60));
    assert_eq!(scene.room(2), 4);
    scene.exchange(61, OK, &rate_limit(100, 99, 120));
    assert_eq!(scene.room(61), 6, "none this minute, some the last");
    scene.exchange(700, OK, &rate_limit(100, 99, 760));
    assert_eq!(scene.room(700), 49);
}

#[test]
fn refused_requests_used_nothing_so_others_did() {
    let mut scene = Scene::new();
    let sent: Vec<_> = (0..40).map(|_| scene.spend(0)).collect();
    for (number, ticket) in sent.into_iter().enumerate() {
        let status = if number < 20 { OK } else { TOO_MANY };
        scene.answered(ticket, 0, status, &rate_limit(32, 0, 20));
    }
    scene.exchange(21, OK, &rate_limit(32, 31, 81));
    assert_eq!(scene.room(21), 1, "12 of 32 were not ours");
}

#[test]
fn the_end_of_a_window_is_bounded_whatever_the_clocks_say() {
    for (reset, opens) in [
        (60, 60),
        (86_400, 60),
        (-5, 1),
        (-86_400, 1),
        (i64::MAX - START, 60),
    ] {
        let mut scene = Scene::new();
        scene.exchange(0, OK, &rate_limit(100, 0, reset));
        assert_eq!(scene.opens(0), opens, "reset {reset}");
    }
}

#[test]
fn a_window_that_goes_on_after_its_end_is_followed() {
    let mut scene = Scene::new();
    scene.exchange(0, OK, &rate_limit(100, 99, -300));
    for second in 1..10 {
        assert_eq!(scene.room(second), 10, "nothing recent is known");
        scene.exchange(second, OK, &rate_limit(100, 99, -300));
        assert_eq!(scene.room(second), 49, "Kora has just told");
    }
    scene.exchange(20, OK, &rate_limit(100, 0, 86_400));
    scene.exchange(81, OK, &rate_limit(100, 90, 120));
    assert_eq!(scene.room(81), 5, "an end that was wrong is not clung to");
}

#[test]
fn a_refusal_that_the_window_does_not_explain_closes_it_for_a_while() {
    let mut scene = Scene::new();
    let before = scene.spend(0);
    let mut hint = HeaderMap::new();
    hint.insert("retry-after", "7".parse().unwrap());
    scene.exchange(0, TOO_MANY, &hint);
    assert_eq!((scene.opens(0), scene.room(7)), (7, 1));
    scene.answered(before, 8, OK, &HeaderMap::new());
    assert_eq!(scene.room(8), 1, "it was sent before the refusal");
    scene.exchange(8, OK, &HeaderMap::new());
    assert_eq!(scene.room(8), 1000);
    scene.exchange(9, TOO_MANY, &HeaderMap::new());
    assert_eq!(scene.opens(9), 10);
    hint.insert("retry-after", "3600".parse().unwrap());
    scene.exchange(10, TOO_MANY, &hint);
    assert_eq!(scene.opens(10), 70);
}

#[test]
fn kora_may_stop_telling() {
    let mut scene = Scene::new();
    scene.exchange(0, OK, &rate_limit(100, 9, 20));
    scene.exchange(5, OK, &HeaderMap::new());
    assert_ne!(scene.room(5), 1000, "the window is not over");
    scene.exchange(30, StatusCode::BAD_GATEWAY, &HeaderMap::new());
    assert_eq!(scene.room(30), 1, "not Kora's own answer");
    scene.exchange(31, OK, &HeaderMap::new());
    assert_eq!(scene.room(31), 1000);
}

#[test]
fn headers_that_cannot_be_read_say_nothing() {
    for (name, value) in [
        ("x-ratelimit-limit", "-1"),
        ("x-ratelimit-remaining", "many"),
        ("x-ratelimit-reset", "1.5"),
    ] {
        let mut headers = rate_limit(100, 50, 20);
        assert!(Announced::read(&headers).is_some());
        headers.insert(name, value.parse().unwrap());
        assert_eq!(Announced::read(&headers), None, "{name}");
        headers.remove(name);
        assert_eq!(Announced::read(&headers), None, "no {name}");
    }
}

#[test]
fn a_limit_that_is_none_keeps_nobody_waiting() {
    let mut scene = Scene::new();
    let unanswered = scene.spend(0);
    scene.exchange(0, OK, &rate_limit(u32::MAX, u32::MAX, 60));
    assert_eq!(scene.budget.wait(1, scene.at(0)), Duration::ZERO);
    scene.budget.give_back(unanswered);
}
