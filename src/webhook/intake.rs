//! One webhook: checked, read, verified, kept, answered.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{Response, request::Parts},
};
use tokio::{task, time::Instant};

use super::{
    Metrics,
    answer::Ending,
    body::WholeBody,
    envelope::Envelope,
    head,
    signature::Signature,
    tenant::{Recipient, Tenants},
    upload::Upload,
};
use crate::{event::NewEvent, listener::PlaceClaim, telemetry::Throttle};

static EVENT_CUT: Throttle = Throttle::new("parts of a webhook's event were left out");

/// How large a body may be that is verified and read right on the runtime. It is done in well under a
/// millisecond.
const MAX_INLINE_BYTES: usize = 64 << 10;

/// What every webhook needs.
pub(super) struct Intake {
    tenants: Tenants,
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
    pub(super) fn new(tenants: Tenants, metrics: Metrics) -> Self {
        Intake { tenants, metrics }
    }

    /// How a request ends, and whether its connection ends with it.
    async fn answer(self: Arc<Self>, request: Request) -> (Ending, bool) {
        let (head, body) = request.into_parts();
        let mut upload = Upload::new(&head.headers, body);
        let ending = match self.tenants.on(head.uri.path()) {
            Some(recipient) => {
                let recipient = Arc::clone(recipient);
                let ending = self.receive(&recipient, &head, &mut upload).await;
                recipient.tell(ending);
                ending
            }
            None => Ending::NotFound,
        };
        (ending, upload.finish())
    }

    async fn receive(
        self: &Arc<Self>,
        recipient: &Arc<Recipient>,
        head: &Parts,
        upload: &mut Upload,
    ) -> Ending {
        let signatures = match head::check(head) {
            Ok(signatures) => signatures,
            Err(refused) => return refused,
        };
        let claim = head.extensions.get::<PlaceClaim>();
        let body = match recipient.bodies.read(upload, claim).await {
            Ok(body) => body,
            Err(refused) => return refused,
        };
        self.verify_and_keep(recipient, signatures, body, claim)
            .await
    }

    async fn verify_and_keep(
        self: &Arc<Self>,
        recipient: &Arc<Recipient>,
        signatures: Vec<Signature>,
        body: WholeBody,
        claim: Option<&PlaceClaim>,
    ) -> Ending {
        let WholeBody { bytes, place } = body;
        let event = match bytes.len() {
            ..=MAX_INLINE_BYTES => self.read(recipient, &signatures, &bytes),
            _ => {
                let (intake, of) = (Arc::clone(self), Arc::clone(recipient));
                let read = task::spawn_blocking(move || intake.read(&of, &signatures, &bytes));
                match read.await {
                    Ok(event) => event,
                    Err(_) => return Ending::Failed,
                }
            }
        };
        let ending = match event {
            None => Ending::Unauthentic,
            Some(event) => {
                if let Some(claim) = claim {
                    claim.prove();
                }
                recipient.keep(event).await
            }
        };
        drop(place);
        ending
    }

    /// The event, if Kora signed it for this tenant.
    fn read(
        &self,
        recipient: &Recipient,
        signatures: &[Signature],
        body: &[u8],
    ) -> Option<NewEvent> {
        if !recipient.verifier.now().is_authentic(body, signatures) {
            return None;
        }
        let envelope = Envelope::read(body);
        if envelope.is_payload_dropped {
            self.metrics.payloads_dropped.inc();
        }
        if envelope.is_contradictory {
            self.metrics.contradictory.inc();
            let (tenant, kind) = (&recipient.name, &envelope.content.keys.kind);
            tracing::warn!(
                tenant,
                kind,
                "a webhook contradicts itself; it ends no screening"
            );
        }
        self.metrics.left_out(&envelope.odd_fields);
        let Envelope {
            identity, content, ..
        } = envelope;
        let event = NewEvent::from_webhook(identity, content, body);
        if !event.cuts.is_empty() {
            let (tenant, cuts) = (&recipient.name, &event.cuts);
            let screening_id = &event.keys.screening_id;
            if EVENT_CUT.allows() {
                tracing::warn!(tenant, screening_id, %cuts, "parts of an event were left out: it was too large for clients");
            }
            cuts.count(&self.metrics.events_cut);
        }
        Some(event)
    }
}
