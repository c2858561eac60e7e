//! Where a stream begins: a token, a time or an end of the log, compared with what the log has.

use super::read_failed;
use crate::{
    error::{CallError, Reason},
    event::{OnGap, Position, ResumeToken, Start, WatchRequest},
    pb,
    store::{Bounds, EventLog, ReadError},
};

/// How a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begin {
    /// The ends of the log at that moment.
    pub(super) bounds: Bounds,
    /// Up to where everything that matches counts as sent.
    pub(super) token: ResumeToken,
    /// Why events after the token are missing, where they are.
    pub(super) gap: Option<pb::GapReason>,
}

/// Finds the place that the request asks for.
pub(super) async fn begin(log: &dyn EventLog, request: &WatchRequest) -> Result<Begin, CallError> {
    let bounds = log.tail().bounds();
    let at = |position| ResumeToken {
        log_id: log.id(),
        position,
    };
    let (token, found) = match request.start {
        Start::Latest => (at(bounds.head), Ok(())),
        Start::Earliest => (at(bounds.trimmed), Ok(())),
        Start::Resume(token) => (token, find(log, token, bounds).await),
        Start::From(time) => match log.position_before(time).await {
            Ok(position) => (at(position), Ok(())),
            // Where exactly is not known any more, but that it was before all that is kept.
            Err(ReadError::Trimmed) => (at(Position::default()), Err(Lost::Expired)),
            Err(error) => (at(Position::default()), Err(Lost::Unreadable(error))),
        },
    };
    let gap = match (found, request.on_gap) {
        (Ok(()), _) => None,
        (Err(Lost::Expired), OnGap::Skip) => Some(pb::GapReason::Expired),
        (Err(Lost::Foreign), OnGap::Skip) => Some(pb::GapReason::Foreign),
        (Err(Lost::Expired), OnGap::Fail) => return Err(expired(log)),
        (Err(Lost::Foreign), OnGap::Fail) => return Err(Reason::TokenForeign.into()),
        (Err(Lost::Unreadable(error)), _) => return Err(read_failed(error)),
    };
    Ok(Begin { bounds, token, gap })
}

/// The events after a stream's place are not kept any more.
pub(super) fn expired(log: &dyn EventLog) -> CallError {
    let oldest = ResumeToken {
        log_id: log.id(),
        position: log.tail().bounds().trimmed,
    };
    CallError {
        oldest_token: Some(oldest.encode()),
        ..CallError::new(Reason::TokenExpired)
    }
}

/// Why a place is not in the log.
enum Lost {
    Expired,
    Foreign,
    Unreadable(ReadError),
}

/// Whether the token's record is in the log, or was its newest or last one.
async fn find(log: &dyn EventLog, token: ResumeToken, bounds: Bounds) -> Result<(), Lost> {
    let Position { sequence, checksum } = token.position;
    if token.log_id != log.id() || sequence > bounds.head.sequence {
        return Err(Lost::Foreign);
    }
    let known = [bounds.trimmed, bounds.head]
        .into_iter()
        .find(|end| end.sequence == sequence);
    let found = match known {
        Some(end) => end.checksum,
        None if sequence < bounds.trimmed.sequence => return Err(Lost::Expired),
        None => match log.read(sequence - 1).await {
            Ok(page) => page.first().map_or(!checksum, |record| record.checksum),
            Err(ReadError::Trimmed) => return Err(Lost::Expired),
            Err(error) => return Err(Lost::Unreadable(error)),
        },
    };
    match found == checksum {
        true => Ok(()),
        false => Err(Lost::Foreign),
    }
}
