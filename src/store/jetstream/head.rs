//! Where the stream ends, told by its leader.

use jiff::Timestamp;

use super::{bucket::Bucket, checkpoint::Checkpoint, end::End, events::Events};
use crate::{event::Position, store::ReadError};

/// The end of the stream. `seen` is the newest end that this replica has seen, and `now` its clock.
pub(super) async fn find(
    events: &Events,
    bucket: &Bucket,
    seen: End,
    now: Timestamp,
) -> Result<End, ReadError> {
    let last = events.state(seen.position.sequence).await?.last_sequence;
    if last == seen.position.sequence {
        return Ok(seen);
    }
    if let Some(end) = events.end_at(last).await? {
        return Ok(end);
    }
    // The stream is empty, and what was last in it is gone.
    let kept = Checkpoint::read(bucket).await?;
    Ok(kept
        .filter(|kept| kept.position.sequence == last)
        .unwrap_or(End {
            // Nobody was there to keep it. A position whose checksum nobody knows is not taken for the log's.
            position: Position {
                sequence: last,
                checksum: 0,
            },
            receive_time: now,
            end_offset: 0,
        }))
}
