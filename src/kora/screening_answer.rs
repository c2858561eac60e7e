//! Reads the answers to requests for a screening.
//!
//! An answer that is about another screening is an error; the rest is [`Screening::from_kora`]'s.

use bytes::Bytes;
use http::StatusCode;

use crate::screening::{
    KoraObject, Mode, Party, ScreenRequest, Screening, ScreeningStatus, Unreadable,
};

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
    let unsaid = (may_be_bare && !answer.has("decision")).then_some(ScreeningStatus::PendingUnsaid);
    let mut screening = Screening::from_kora(&answer, unsaid)?;
    if let Party::Known(subject_id) = &request.party {
        if !answer.has("subject_id") {
            screening.subject_id.clone_from(subject_id);
        } else if screening.subject_id != *subject_id {
            return Err(Unreadable::OtherId {
                field: "subject_id",
            });
        }
    }
    screening.mode = screening.mode.or(Some(request.mode));
    screening.purpose = screening.purpose.or(request.purpose);
    if screening.checks.is_empty() {
        screening.checks.clone_from(&request.checks);
    }
    screening.raw_json = body.clone();
    Ok(screening)
}

/// Reads the screening that was asked for by id.
pub(super) fn found(body: &Bytes, screening_id: &str) -> Result<Screening, Unreadable> {
    let screening = Screening::from_kora(&KoraObject::read(body)?, None)?;
    if screening.screening_id != screening_id {
        return Err(Unreadable::OtherId {
            field: "screening_id",
        });
    }
    Ok(screening)
}
