//! How much may be sent while nothing recent is known of what is left: in a new window, and after a pause.
//!
//! Waiting for the answer to a single request would leave the window unused for as long as Kora takes. So
//! a tenth of the limit goes at once. Alone, a tenth more follows every second, since nobody else spends the
//! key's budget. Where other gateways were seen, they open the window in the same way: one request a second
//! follows, and a gateway that comes late to the window begins with one.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    budget::{Budget, SETTLED},
    window::{LENGTH, Window},
};

/// The share of its limit that a window opens with: one in so many.
const OPENING_SHARE: u32 = 10;

/// The least that a window opens with.
const MIN_OPENING: u32 = 5;

/// For how long a window counts as new where others spend it too: many gateways can spend it in a moment.
const NEW_FOR: Duration = SETTLED;

/// What may be sent before an answer tells what is left.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    pub(super) at_once: u32,
    /// More of them every second.
    pub(super) then: u32,
}

impl Pace {
    /// One at a time.
    pub(super) const SINGLE: Pace = Pace {
        at_once: 1,
        then: 1,
    };
}

impl Budget {
    /// The pace of a window that began `age` ago and of which nothing is known.
    pub(super) fn opening(&self, limit: u32, age: Duration, now: Instant) -> Pace {
        let at_once = (limit / OPENING_SHARE).max(MIN_OPENING);
        if self.is_alone(now) {
            let then = at_once;
            Pace { at_once, then }
        } else if age < NEW_FOR {
            let then = 1;
            Pace { at_once, then }
        } else {
            Pace::SINGLE
        }
    }

    /// The pace while what is known of a window with `left` requests is out of date.
    pub(super) fn reopening(&self, limit: u32, left: u32, now: Instant) -> Pace {
        if !self.is_alone(now) {
            return Pace::SINGLE;
        }
        let opening = self.opening(limit, Duration::ZERO, now);
        let at_once = opening.at_once.min(self.share(left, now));
        let then = at_once;
        Pace { at_once, then }
    }

    /// When the next request may be sent in the window after `window`, of which no answer has told yet.
    pub(super) fn opens_next_window(&self, window: &Window, now: Instant) -> Instant {
        let sent = self.sent_since(window.end);
        let pace = self.opening(window.limit, now - window.end, now);
        if pace.at_once > pace.then && sent < pace.at_once {
            return now;
        }
        let in_pace = self.last_but(pace.then).map_or(now, |sent| sent + SETTLED);
        if sent < window.limit.max(1) {
            return in_pace;
        }
        // As many as a window takes are on their way.
        let first = self.last_but(window.limit.max(1));
        first.map_or(in_pace, |sent| in_pace.max(sent + LENGTH))
    }
}
