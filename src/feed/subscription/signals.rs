//! What a stream says besides events.

use super::{
    super::{MAX_RETURN, MIN_RETURN},
    Begin, MAX_EVENTS, Message, Stage, Subscription,
};
use crate::{
    event::{Position, ResumeToken},
    pb::{self, watch_events_response::Signal},
    screening::timestamp_to_wire,
    store::Bounds,
};

impl Subscription {
    /// Its token is the one that the stream was opened with: what a gap leaves out does not count as sent.
    pub(super) fn opened(&mut self, begin: Begin) -> Message {
        self.stage = match begin.gap {
            Some(reason) => Stage::Gap(begin, reason),
            None => Stage::Past,
        };
        let opened = pb::Opened {
            heartbeat_interval: prost_types::Duration::try_from(self.request.heartbeat_interval)
                .ok(),
            oldest_token: self.token(begin.bounds.trimmed).encode(),
            head_token: self.token(begin.bounds.head).encode(),
            max_events_per_message: MAX_EVENTS as u32,
        };
        Message::signal(Signal::Opened(opened), begin.token)
    }

    /// Goes on from the oldest event, which comes after `oldest` or, by now, later.
    pub(super) fn gap(
        &mut self,
        from: ResumeToken,
        oldest: Position,
        reason: pb::GapReason,
    ) -> Message {
        self.stage = Stage::Past;
        self.stream.missed();
        let shown = self.log.tail().bounds().trimmed;
        self.position = match shown.sequence > oldest.sequence {
            true => shown,
            false => oldest,
        };
        let to = self.token(self.position);
        let gap = pb::Gap {
            from_token: from.encode(),
            to_token: to.encode(),
            reason: reason.into(),
        };
        Message::signal(Signal::Gap(gap), to)
    }

    /// Says that the stream is about to end; it ends with the next.
    pub(super) fn drain(&mut self) -> Message {
        let retry_after = MIN_RETURN + (MAX_RETURN - MIN_RETURN).mul_f64(fastrand::f64());
        self.stage = Stage::Drained { retry_after };
        let draining = pb::Draining {
            reconnect_after: prost_types::Duration::try_from(retry_after).ok(),
        };
        Message::signal(Signal::Draining(draining), self.token(self.position))
    }

    pub(super) fn caught_up(&self) -> Message {
        let Bounds {
            head, head_time, ..
        } = self.opened_at;
        let caught_up = Signal::CaughtUp(pb::CaughtUp {
            head_time: (head.sequence > 0).then(|| timestamp_to_wire(head_time)),
        });
        Message::signal(caught_up, self.token(self.position))
    }
}
