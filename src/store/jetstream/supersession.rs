//! What the log says about a screening before an event that ends it is appended.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{events::Events, queue::Waiting};
use crate::{
    event::{NewEvent, reconciled_id},
    store::{Metrics, ReadError, Record, dispute::decisions_differ},
};

/// How many screenings are looked up at a time.
const CONCURRENT_LOOKUPS: usize = 32;

/// Where an event goes, and what it finds there.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) subject: String,
    /// Its screening has ended, and it may not be appended.
    pub(super) is_taken: bool,
    /// The RECONCILED event that it replaces. One about another subject is not replaced.
    superseded: Option<Superseded>,
}

#[derive(Clone, Debug)]
struct Superseded {
    event_id: String,
    /// `None` if it is damaged.
    record: Option<Record>,
}

/// The places of these events, as of now. They hold only if nothing was appended since the head that the events are
/// published after was read.
pub(super) async fn place_of(
    events: &Events,
    waiting: &[Waiting],
) -> Result<Vec<Place>, ReadError> {
    let lookups: Vec<_> = waiting
        .iter()
        .map(|waiting| look_up(events, waiting))
        .collect();
    stream::iter(lookups)
        .buffered(CONCURRENT_LOOKUPS)
        .try_collect()
        .await
}

async fn look_up(events: &Events, waiting: &Waiting) -> Result<Place, ReadError> {
    let names = &events.names;
    let Some(screening_id) = waiting.event.keys.ended_screening() else {
        return Ok(Place {
            subject: names.event(),
            is_taken: false,
            superseded: None,
        });
    };
    if waiting.is_reconciled {
        return Ok(Place {
            subject: names.reconciled(screening_id),
            is_taken: has_ended(events, screening_id, &waiting.event.keys.subject_id).await?,
            superseded: None,
        });
    }
    let superseded = match events.newest_of(&names.reconciled(screening_id)).await {
        Ok(found) => found
            .map(|placed| placed.record)
            .filter(|record| {
                is_same_subject(&record.keys.subject_id, &waiting.event.keys.subject_id)
            })
            .map(Some),
        Err(ReadError::Corrupt { .. }) => Some(None),
        Err(error) => return Err(error),
    };
    Ok(Place {
        subject: names.end(screening_id),
        is_taken: false,
        superseded: superseded.map(|record| Superseded {
            event_id: reconciled_id(screening_id),
            record,
        }),
    })
}

/// Whether the end of a screening of this subject is in the log, damaged or not. Where either names no subject, it is
/// the same. Of several webhooks with an end, the newest counts.
pub(super) async fn has_ended(
    events: &Events,
    screening_id: &str,
    subject_id: &str,
) -> Result<bool, ReadError> {
    let names = &events.names;
    for subject in [names.end(screening_id), names.reconciled(screening_id)] {
        match events.newest_of(&subject).await {
            Ok(None) => {}
            Ok(Some(end)) => {
                if is_same_subject(subject_id, &end.record.keys.subject_id) {
                    return Ok(true);
                }
            }
            Err(ReadError::Corrupt { .. }) => return Ok(true),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Whether two ids can be of one subject. Where there is none, it is empty.
fn is_same_subject(one: &str, other: &str) -> bool {
    one.is_empty() || other.is_empty() || one == other
}

impl Place {
    /// The event as it is appended there.
    pub(super) fn event(&self, event: &NewEvent) -> NewEvent {
        match &self.superseded {
            Some(superseded) => event.clone().superseding(&superseded.event_id),
            None => event.clone(),
        }
    }

    /// Counts and logs that an event, now appended, tells another end than the one that it replaces.
    pub(super) fn tell_dispute(&self, events: &Events, event: &NewEvent, metrics: &Metrics) {
        let Some(superseded) = &self.superseded else {
            return;
        };
        let is_disputed = superseded.record.as_ref().is_none_or(|record| {
            record.keys.kind != event.keys.kind || decisions_differ(&record.event, &event.content)
        });
        if is_disputed {
            metrics.disputed.inc();
            tracing::warn!(
                log = events.names.events,
                screening_id = event.keys.screening_id,
                superseded = superseded.event_id,
                "a webhook tells another end of a screening than Kora's answer did"
            );
        }
    }
}
