//! Where a stream begins: a token, a time or an end of the log, compared with what the log has.

use super::read_failed;
use crate::{
    error::{CallError, Hint, Reason},
    event::{OnGap, Position, ResumeToken, Start, WatchRequest},
    memory::Allowance,
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
    /// Where the oldest event that is kept comes, as far as is known.
    pub(super) oldest: Position,
}

/// Finds the place that the request asks for.
pub(super) async fn begin(
    log: &dyn EventLog,
    request: &WatchRequest,
    memory: &Allowance,
) -> Result<Begin, CallError> {
    if let Start::Resume(token) = request.start {
        catch_up(log, token).await.map_err(read_failed)?;
    }
    let bounds = log.tail().bounds();
    let at = |position| ResumeToken {
        log_id: log.id(),
        position,
    };
    let (token, found) = match request.start {
        Start::Latest => (at(bounds.head), Ok(())),
        Start::Earliest => (at(bounds.trimmed), Ok(())),
        Start::Resume(token) => (token, find(log, token, bounds, memory).await),
        Start::From(time) => match log.position_before(time).await {
            Ok(position) => (at(position), Ok(())),
            // Where exactly is not known any more, but that it was before all that is kept.
            Err(ReadError::Trimmed(oldest)) => {
                (at(Position::default()), Err(Lost::Expired(oldest)))
            }
            Err(error) => (at(Position::default()), Err(Lost::Unreadable(error))),
        },
    };
    let (gap, oldest) = match (found, request.on_gap) {
        (Ok(()), _) => (None, bounds.trimmed),
        (Err(Lost::Expired(oldest)), OnGap::Skip) => (Some(pb::GapReason::Expired), oldest),
        (Err(Lost::Foreign), OnGap::Skip) => (Some(pb::GapReason::Foreign), bounds.trimmed),
        (Err(Lost::Expired(oldest)), OnGap::Fail) => return Err(expired(log, oldest)),
        (Err(Lost::Foreign), OnGap::Fail) => return Err(Reason::TokenForeign.into()),
        (Err(Lost::Unreadable(error)), _) => return Err(read_failed(error)),
    };
    Ok(Begin {
        bounds,
        token,
        gap,
        oldest,
    })
}

/// The events after a stream's place are not kept any more.
pub(super) fn expired(log: &dyn EventLog, oldest: Position) -> CallError {
    let oldest = ResumeToken {
        log_id: log.id(),
        position: oldest,
    };
    CallError {
        hint: Some(Hint::OldestToken(oldest.encode())),
        ..CallError::new(Reason::TokenExpired)
    }
}

/// Why a place is not in the log.
enum Lost {
    /// The oldest event that is kept comes right after this.
    Expired(Position),
    Foreign,
    Unreadable(ReadError),
}

/// Has the log show the token's record, if the token is newer than what it shows: another gateway can have sent it.
async fn catch_up(log: &dyn EventLog, token: ResumeToken) -> Result<(), ReadError> {
    let sequence = token.position.sequence;
    if token.log_id != log.id() || sequence <= log.tail().bounds().head.sequence {
        return Ok(());
    }
    log.reach(sequence).await
}

/// Whether the token's record is in the log, or was its newest or last one.
async fn find(
    log: &dyn EventLog,
    token: ResumeToken,
    bounds: Bounds,
    memory: &Allowance,
) -> Result<(), Lost> {
    let Position { sequence, checksum } = token.position;
    if token.log_id != log.id() || sequence > bounds.head.sequence {
        return Err(Lost::Foreign);
    }
    let known = [bounds.trimmed, bounds.head]
        .into_iter()
        .find(|end| end.sequence == sequence);
    let found = match known {
        Some(end) => end.checksum,
        None if sequence < bounds.trimmed.sequence => return Err(Lost::Expired(bounds.trimmed)),
        None => match log.read_charged(sequence - 1, Some(memory)).await {
            Ok(page) => page.first().map_or(!checksum, |record| record.checksum),
            // Trimmed since, up to there or further.
            Err(ReadError::Trimmed(oldest)) if oldest.sequence == sequence => oldest.checksum,
            Err(ReadError::Trimmed(oldest)) => return Err(Lost::Expired(oldest)),
            Err(error) => return Err(Lost::Unreadable(error)),
        },
    };
    match found == checksum {
        true => Ok(()),
        false => Err(Lost::Foreign),
    }
}
