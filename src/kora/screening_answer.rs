//! Reads the answers to requests for a screening.
//!
//! An answer that is about another screening is an error; the rest is [`Screening::from_kora`]'s.

use bytes::Bytes;
use http::StatusCode;

use crate::screening::{
    KoraObject, Mode, Party, ScreenRequest, Screening, ScreeningStatus, Unreadable,
};

/// What the metric of odd fields calls a byte order mark before the JSON.
const BYTE_ORDER_MARK: &str = "byte_order_mark";

/// Reads the answer to a new screening. What Kora leaves out is filled in from the request.
pub(super) fn created(
    status: StatusCode,
    body: &Bytes,
    request: &ScreenRequest,
) -> Result<Screening, Unreadable> {
    let answer = KoraObject::read(body)?;
    // Kora answers an ASYNC screening with 202 and, for certain, no more than its id (Kora docs:
    // screening-flow). A synchronous answer has to say how far it is.
    let may_be_bare = status == StatusCode::ACCEPTED || request.mode == Mode::Async;
    let is_bare = !answer.has_in_any_spelling("decision");
    let unsaid = (may_be_bare && is_bare).then_some(ScreeningStatus::PendingUnsaid);
    let mut screening = Screening::from_kora(&answer, unsaid)?;
    if let Party::Known(subject_id) = &request.party {
        let field = "subject_id";
        if !answer.has(field) {
            answer.twins_say(field, subject_id)?;
            screening.subject_id.clone_from(subject_id);
        } else if screening.subject_id != *subject_id {
            return Err(Unreadable::OtherId { field });
        }
    }
    screening.mode = screening.mode.or(Some(request.mode));
    screening.purpose = screening.purpose.or(request.purpose);
    if screening.checks.is_empty() {
        screening.checks.clone_from(&request.checks);
    }
    note_byte_order_mark(&mut screening, body);
    screening.raw_json = body.clone();
    Ok(screening)
}

/// Reads the screening that was asked for by id.
pub(super) fn found(body: &Bytes, screening_id: &str) -> Result<Screening, Unreadable> {
    let mut screening = Screening::from_kora(&KoraObject::read(body)?, None)?;
    if screening.screening_id != screening_id {
        return Err(Unreadable::OtherId {
            field: "screening_id",
        });
    }
    note_byte_order_mark(&mut screening, body);
    Ok(screening)
}

fn note_byte_order_mark(screening: &mut Screening, body: &[u8]) {
    if KoraObject::has_byte_order_mark(body) {
        screening.odd_fields.note(BYTE_ORDER_MARK);
    }
}
