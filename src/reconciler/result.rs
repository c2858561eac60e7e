//! The event that a finished screening makes.

use crate::{
    event::{Content, Keys, NewEvent, Payload, SCREENING_COMPLETED, SCREENING_FAILED},
    screening::{Screening, ScreeningStatus},
};

/// The screening's end as an event, with Kora's answer as its raw body; `None` if it is not over.
pub(super) fn event(mut screening: Screening) -> Option<NewEvent> {
    let kind = match screening.status {
        ScreeningStatus::Completed => SCREENING_COMPLETED,
        ScreeningStatus::Failed => SCREENING_FAILED,
        _ => return None,
    };
    // The body is the event's; once is enough.
    let body = std::mem::take(&mut screening.raw_json);
    let content = Content {
        keys: Keys {
            kind: kind.to_owned(),
            screening_id: screening.screening_id.clone(),
            subject_id: screening.subject_id.clone(),
        },
        occur_time: screening.complete_time,
        payload: Some(Payload::Screening(Box::new(screening))),
        ..Content::default()
    };
    Some(NewEvent::reconciled(content, &body))
}
