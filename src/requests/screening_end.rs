//! The event that ends a screening, for the call that waits for it.
//!
//! An event counts only if it is about the screening and about its subject: whatever names another subject ends
//! nothing.

use prost::Message;

use super::Requests;
use crate::{
    event::{FilterKeys, SCREENING_COMPLETED, SCREENING_FAILED, WordSet},
    pb,
    screening::Screening,
    store::{ReadError, Record},
};

/// How a screening ended, as its event says.
#[derive(Debug, PartialEq)]
pub(super) struct End {
    /// Of the subject that it names; empty if it names none.
    pub(super) subject_id: String,
    /// The screening; `None` if it failed.
    pub(super) completed: Option<Box<pb::Screening>>,
}

/// What a record says of the end of a screening.
#[derive(Debug, PartialEq)]
enum Said {
    Nothing,
    OtherSubject,
    End(End),
}

impl Requests {
    /// Waits for the event that ends a screening, among those after the one at `after`; `None` if the log cannot be
    /// read.
    pub(super) async fn end_of(&self, taken: &Screening, after: u64) -> Option<End> {
        let keys = FilterKeys::Screenings(WordSet::from_iter([&taken.screening_id]));
        let (interest, head) = self.events.tail().follow(keys);
        let mut due = vec![(after, head.sequence)];
        loop {
            for (after, to) in due.drain(..) {
                match self.end_between(taken, after, to).await {
                    Ok(None) => {}
                    Ok(end) => return end,
                    Err(error) => {
                        tracing::warn!(%error, "the event of a screening cannot be waited for");
                        return None;
                    }
                }
            }
            interest.noted().await;
            let noted = interest.take();
            let sequences = noted.sequences.iter();
            due.extend(sequences.map(|sequence| (sequence - 1, *sequence)));
            due.extend(
                noted
                    .rest_from
                    .map(|first| (first - 1, noted.head.sequence)),
            );
        }
    }

    /// Looks for the end in the records after the one at `after`, up to the one at `to`.
    async fn end_between(
        &self,
        taken: &Screening,
        mut after: u64,
        to: u64,
    ) -> Result<Option<End>, ReadError> {
        while after < to {
            let page = match self.events.read(after).await {
                Err(ReadError::Trimmed(position)) if position.sequence > after => {
                    after = position.sequence;
                    continue;
                }
                page => page?,
            };
            let Some(last) = page.last() else {
                break;
            };
            after = last.sequence;
            for record in &page {
                match said_in(record, taken) {
                    Said::Nothing => {}
                    Said::End(end) => return Ok(Some(end)),
                    Said::OtherSubject => {
                        self.metrics.end_of_another_subject();
                        tracing::warn!(
                            screening_id = taken.screening_id,
                            event_id = record.event_id,
                            "an event about another subject does not end a screening"
                        );
                    }
                }
            }
        }
        Ok(None)
    }
}

/// What a record says of the end of this screening. One that says "completed" and cannot be read does not end it.
fn said_in(record: &Record, taken: &Screening) -> Said {
    let keys = &record.keys;
    if keys.screening_id != taken.screening_id {
        return Said::Nothing;
    }
    let is_failure = match keys.kind.as_str() {
        SCREENING_FAILED => true,
        SCREENING_COMPLETED => false,
        _ => return Said::Nothing,
    };
    let Ok(event) = pb::Event::decode(&record.event[..]) else {
        return Said::Nothing;
    };
    let screening = match event.payload {
        Some(pb::event::Payload::ScreeningUpdate(update)) => update.screening,
        _ => None,
    };
    let in_data = screening.as_ref().map(|screening| &screening.subject_id);
    let named = [Some(&keys.subject_id), Some(&event.subject_id), in_data];
    let mut subject_id = taken.subject_id.clone();
    for named in named.into_iter().flatten().filter(|id| !id.is_empty()) {
        if subject_id.is_empty() {
            subject_id.clone_from(named);
        } else if subject_id != *named {
            return Said::OtherSubject;
        }
    }
    if is_failure {
        return Said::End(End {
            subject_id,
            completed: None,
        });
    }
    let completed =
        screening.filter(|screening| screening.status() == pb::ScreeningStatus::Completed);
    match completed {
        Some(screening) if screening.screening_id == taken.screening_id => Said::End(End {
            subject_id,
            completed: Some(Box::new(screening)),
        }),
        _ => Said::Nothing,
    }
}
