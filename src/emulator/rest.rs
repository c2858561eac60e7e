//! The REST API: screenings, subjects and webhook subscriptions under `/api/v1`.
//!
//! The resource is the top-level object of an answer, its names are in snake case, and what is
//! absent is left out (Kora docs: quickstart). `Idempotency-Key` is ignored: Kora Compliance
//! documents none.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router, middleware};
use serde_json::Value;
use tokio::time::sleep;

use super::Twin;
use super::admission::{Admitted, JsonObject};
use super::envelope::{FromProxy, Refusal};
use super::exchange::exchange;
use super::sandbox::Part;
use super::screening::{Ending, Screening};
use super::screening_request::{Mode, Party, ScreeningRequest};
use super::subject::{Profile, Subject, invalid_subject};
use super::webhooks::{Subscription, finish_soon, tell_end};

pub(super) const SCREENINGS: &str = "/api/v1/screenings";
pub(super) const SCREENING: &str = "/api/v1/screenings/{screening_id}";
pub(super) const SUBJECTS: &str = "/api/v1/subjects";
pub(super) const SUBJECT: &str = "/api/v1/subjects/{subject_id}";
pub(super) const SUBSCRIPTIONS: &str = "/api/v1/webhooks/subscriptions";

/// Seconds to wait that the sandbox's 429 names.
const SANDBOX_RETRY_AFTER: u64 = 1;

/// The REST routes. Every request that is not the control door's passes the scenario, unknown
/// routes too.
pub(super) fn routes(twin: &Arc<Twin>) -> Router<Arc<Twin>> {
    Router::new()
        .route(SCREENINGS, post(create_screening))
        .route(SCREENING, get(get_screening))
        .route(SUBJECTS, post(create_subject))
        .route(SUBJECT, get(get_subject))
        .route(SUBSCRIPTIONS, post(create_subscription))
        .fallback(not_served)
        .method_not_allowed_fallback(not_served)
        .layer(middleware::from_fn_with_state(Arc::clone(twin), exchange))
}

async fn create_screening(
    State(twin): State<Arc<Twin>>,
    _: Admitted,
    JsonObject(fields): JsonObject,
) -> Result<Response, Refusal> {
    let ScreeningRequest { terms, party } = ScreeningRequest::read(fields)?;
    let mode = terms.mode;
    let subject = find_or_keep(&twin, party)?;
    let (ending, wait) = course(subject.profile.name(), mode)?;
    let name = subject.profile.name().to_owned();
    let screening = Screening::new(subject.subject_id, name, terms, ending);
    let answer = match mode {
        Mode::Sync => json(StatusCode::OK, &screening.json()),
        Mode::Async => json(StatusCode::ACCEPTED, &screening.receipt()),
    };
    let screening_id = screening.screening_id.clone();
    twin.state().ledger.file(screening);
    if mode == Mode::Async {
        finish_soon(&twin, screening_id);
    }
    // Everything is done before the wait: a client that leaves meanwhile does not undo it.
    sleep(wait).await;
    Ok(answer)
}

async fn get_screening(
    State(twin): State<Arc<Twin>>,
    _: Admitted,
    screening_id: Result<Path<String>, PathRejection>,
) -> Result<Response, Refusal> {
    let screening_id = readable_id(screening_id)?;
    let (ended, screening) = twin
        .state()
        .ledger
        .screening_mut(&screening_id)
        .map(|screening| (screening.ask(), screening.json()))
        .ok_or_else(|| Refusal::not_found(format!("Screening {screening_id} not found")))?;
    if ended {
        tell_end(&twin, &screening);
    }
    Ok(json(StatusCode::OK, &screening))
}

async fn create_subject(
    State(twin): State<Arc<Twin>>,
    _: Admitted,
    JsonObject(fields): JsonObject,
) -> Result<Response, Refusal> {
    let profile = Profile::read(fields, "").map_err(invalid_subject)?;
    let subject = Subject::new(profile);
    let answer = json(StatusCode::CREATED, &subject.json());
    if !twin.state().ledger.register(subject) {
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            "CONFLICT",
            "A subject with this external_id exists",
        ));
    }
    Ok(answer)
}

async fn get_subject(
    State(twin): State<Arc<Twin>>,
    _: Admitted,
    subject_id: Result<Path<String>, PathRejection>,
) -> Result<Response, Refusal> {
    let subject = find_subject(&twin, &readable_id(subject_id)?)?;
    Ok(json(StatusCode::OK, &subject.json()))
}

/// 201 like the other creations. Kora does not document the status.
async fn create_subscription(
    State(twin): State<Arc<Twin>>,
    _: Admitted,
    JsonObject(fields): JsonObject,
) -> Result<Response, Refusal> {
    let subscription = Subscription::read(&fields)?;
    let answer = json(StatusCode::CREATED, &subscription.json());
    if !twin.state().webhooks.subscribe(subscription) {
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            "CONFLICT",
            "There are too many webhook subscriptions",
        ));
    }
    Ok(answer)
}

/// What a request gets that no route serves: the answer of a proxy, not of Kora.
async fn not_served() -> impl IntoResponse {
    (
        StatusCode::NOT_FOUND,
        Extension(FromProxy),
        "404 page not found",
    )
}

/// The subject to screen. One described in the request is kept, so that its id can be used
/// afterwards.
fn find_or_keep(twin: &Twin, party: Party) -> Result<Subject, Refusal> {
    match party {
        Party::ById(subject_id) => find_subject(twin, &subject_id),
        Party::Inline(profile) => {
            let subject = Subject::new(profile);
            twin.state().ledger.keep(subject.clone());
            Ok(subject)
        }
    }
}

fn find_subject(twin: &Twin, subject_id: &str) -> Result<Subject, Refusal> {
    twin.state()
        .ledger
        .subject(subject_id)
        .cloned()
        .ok_or_else(|| Refusal::not_found(format!("Subject {subject_id} not found")))
}

/// What becomes of a screening of this name, and how long the answer takes.
fn course(name: &str, mode: Mode) -> Result<(Ending, Duration), Refusal> {
    let at_once = |ending| Ok((ending, Duration::ZERO));
    match (Part::of(name), mode) {
        (Part::DecidesAfter(wait, verdict), Mode::Sync) => Ok((Ending::Decided(verdict), wait)),
        (Part::TakesTooLongForSync(_), Mode::Sync) => Err(screening_timeout(name)),
        (
            Part::Decides(verdict)
            | Part::DecidesAfter(_, verdict)
            | Part::TakesTooLongForSync(verdict),
            _,
        ) => at_once(Ending::Decided(verdict)),
        (Part::Fails, _) => at_once(Ending::Failed),
        (Part::BreaksDown, _) => Err(screening_failed(name)),
        (Part::RateLimited, _) => Err(Refusal::rate_limited(SANDBOX_RETRY_AFTER)),
    }
}

// Kora's messages are free text that may name the subject. These do, so that whoever passes them on
// is found out.

fn screening_timeout(name: &str) -> Refusal {
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "SCREENING_TIMEOUT",
        format!("Screening of {name} exceeded 30 seconds. Use ASYNC mode"),
    )
}

fn screening_failed(name: &str) -> Refusal {
    Refusal::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "SCREENING_FAILED",
        format!("Screening of {name} failed"),
    )
}

/// The id in a path, its percent signs decoded. One that is not text is nobody's.
fn readable_id(path: Result<Path<String>, PathRejection>) -> Result<String, Refusal> {
    path.map(|Path(id)| id)
        .map_err(|_| Refusal::not_found("No resource has this id"))
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: &Value) -> Response {
    (
        status,
        [(CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response()
}
