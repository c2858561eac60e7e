//! One webhook: checked, read, verified, kept, answered.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{Response, request::Parts},
};
use tokio::{task, time::Instant};

use super::{
    Config, Metrics,
    answer::Ending,
    body::{BodyReader, WholeBody},
    envelope::Envelope,
    head,
    signature::{ActiveVerifier, Signature},
    upload::Upload,
};
use crate::{
    event::{Identity, NewEvent, UNREADABLE},
    store::{Appended, EventLog},
};

/// How large a body may be that is verified and read right on the runtime. It is done in well under a
/// millisecond.
const MAX_INLINE_BYTES: usize = 64 << 10;

/// What every webhook needs.
pub(super) struct Intake {
    tenant: String,
    verifier: ActiveVerifier,
    bodies: BodyReader,
    log: Arc<dyn EventLog>,
    metrics: Metrics,
}

/// Answers a request. The work is done in a task of its own: an authentic event whose body is there is kept even
/// when its sender has left, and a panic is an answer.
pub(super) async fn receive(State(intake): State<Arc<Intake>>, request: Request) -> Response<Body> {
    let began = Instant::now();
    let metrics = intake.metrics.clone();
    let answered = tokio::spawn(intake.answer(request)).await;
    let (ending, closes) = answered.unwrap_or((Ending::Failed, true));
    metrics.observe(ending, began.elapsed());
    ending.into_response(closes)
}

impl Intake {
    pub(super) fn new(config: Config, log: Arc<dyn EventLog>, metrics: Metrics) -> Self {
        Intake {
            verifier: ActiveVerifier::new(config.secrets),
            bodies: BodyReader::new(config.max_bytes),
            tenant: config.tenant,
            log,
            metrics,
        }
    }

    /// How a request ends, and whether its connection ends with it.
    async fn answer(self: Arc<Self>, request: Request) -> (Ending, bool) {
        let (head, body) = request.into_parts();
        let mut upload = Upload::new(&head.headers, body);
        let ending = match self.receive(&head, &mut upload).await {
            Ok((signatures, body)) => self.verify_and_keep(signatures, body).await,
            Err(refused) => refused,
        };
        match ending {
            Ending::TooLarge => tracing::warn!("a webhook is too large"),
            Ending::Overloaded => tracing::warn!("no memory for a webhook"),
            Ending::Unauthentic => tracing::info!("a webhook is not signed by Kora"),
            _ => {}
        }
        (ending, upload.finish())
    }

    async fn receive(
        &self,
        head: &Parts,
        upload: &mut Upload,
    ) -> Result<(Vec<Signature>, WholeBody), Ending> {
        let signatures = head::check(head, &self.tenant)?;
        Ok((signatures, self.bodies.read(upload).await?))
    }

    async fn verify_and_keep(
        self: &Arc<Self>,
        signatures: Vec<Signature>,
        body: WholeBody,
    ) -> Ending {
        let WholeBody { bytes, place } = body;
        let event = match bytes.len() {
            ..=MAX_INLINE_BYTES => self.read(&signatures, &bytes),
            _ => {
                let intake = Arc::clone(self);
                let read = task::spawn_blocking(move || intake.read(&signatures, &bytes));
                match read.await {
                    Ok(event) => event,
                    Err(_) => return Ending::Failed,
                }
            }
        };
        let ending = match event {
            None => Ending::Unauthentic,
            Some(event) => self.keep(event).await,
        };
        drop(place);
        ending
    }

    /// The event, if Kora signed it.
    fn read(&self, signatures: &[Signature], body: &[u8]) -> Option<NewEvent> {
        if !self.verifier.now().is_authentic(body, signatures) {
            return None;
        }
        let envelope = Envelope::read(body);
        if envelope.is_payload_dropped {
            self.metrics.payloads_dropped.inc();
        }
        let Envelope {
            identity, content, ..
        } = envelope;
        Some(NewEvent::from_webhook(identity, content, body))
    }

    async fn keep(&self, event: NewEvent) -> Ending {
        let is_unreadable = event.keys.kind == UNREADABLE;
        let event_id = match &event.identity {
            Identity::Vendor(id) => id.clone(),
            Identity::Body(_) => String::new(),
        };
        match self.log.append(event).await {
            Ok(Appended::Duplicate) => Ending::Duplicate,
            Ok(Appended::New) if is_unreadable => {
                tracing::warn!("an authentic webhook cannot be read; it is kept as it is");
                Ending::Unreadable
            }
            Ok(Appended::New) => Ending::Accepted,
            Err(error) => {
                tracing::warn!(event_id, %error, "a webhook was not kept");
                Ending::StoreUnavailable
            }
        }
    }
}
