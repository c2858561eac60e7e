//! One webhook: checked, read, verified, kept, answered.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{Response, request::Parts},
};
use tokio::{
    task,
    time::{Instant, timeout_at},
};

use super::{
    Metrics,
    answer::Ending,
    body::{BodyPlace, WholeBody},
    envelope::{Detail, Envelope},
    head,
    parse_cost::parse_cost,
    signature::Signature,
    tenant::{Recipient, Tenants},
    upload::Upload,
};
use crate::{event::NewEvent, listener::PlaceClaim, memory::Pool, telemetry::Throttle};

static EVENT_CUT: Throttle = Throttle::new("parts of a webhook's event were left out");

/// How large a body may be that is verified and read right on the runtime. It is done in well under a
/// millisecond.
const MAX_INLINE_BYTES: usize = 64 << 10;

/// What every webhook needs.
pub(super) struct Intake {
    tenants: Tenants,
    /// For large bodies while they are parsed.
    parsing: Pool,
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
    pub(super) fn new(tenants: Tenants, parsing: Pool, metrics: Metrics) -> Self {
        Intake {
            tenants,
            parsing,
            metrics,
        }
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
        let read = if body.bytes.len() <= MAX_INLINE_BYTES {
            self.read_small(recipient, &signatures, body, claim)
        } else {
            self.read_large(recipient, signatures, body, claim).await
        };
        match read {
            Err(ending) => ending,
            Ok((event, place)) => {
                let ending = recipient.keep(event).await;
                drop(place);
                ending
            }
        }
    }

    /// The event and its memory, if Kora signed it for this tenant.
    fn read_small(
        &self,
        recipient: &Recipient,
        signatures: &[Signature],
        body: WholeBody,
        claim: Option<&PlaceClaim>,
    ) -> Result<(NewEvent, BodyPlace), Ending> {
        if !recipient
            .verifier
            .now()
            .is_authentic(&body.bytes, signatures)
        {
            return Err(Ending::Unauthentic);
        }
        if let Some(claim) = claim {
            claim.prove();
        }
        let event = self.read_event(recipient, &body.bytes, Detail::Full);
        Ok((event, body.place))
    }

    /// The same on threads that may block. Parsing waits until there is memory for what the body becomes. The body is
    /// gone afterwards: its event has it.
    async fn read_large(
        self: &Arc<Self>,
        recipient: &Arc<Recipient>,
        signatures: Vec<Signature>,
        body: WholeBody,
        claim: Option<&PlaceClaim>,
    ) -> Result<(NewEvent, BodyPlace), Ending> {
        let WholeBody {
            bytes,
            place,
            deadline,
        } = body;
        let (verifier, signed) = (recipient.verifier.now(), bytes.clone());
        let verify = move || {
            let is_authentic = verifier.is_authentic(&signed, &signatures);
            is_authentic.then(|| parse_cost(&signed))
        };
        let cost = task::spawn_blocking(verify).await;
        let cost = cost.map_err(|_| Ending::Failed)?;
        let cost = cost.ok_or(Ending::Unauthentic)?;
        if let Some(claim) = claim {
            claim.prove();
        }
        let memory = timeout_at(deadline, self.parsing.charge(cost)).await;
        let memory = memory.map_err(|_| {
            self.parsing.count_refusal();
            Ending::Overloaded
        })?;
        let detail = if cost <= self.parsing.size() {
            Detail::Full
        } else {
            Detail::Reduced
        };
        let (intake, of) = (Arc::clone(self), Arc::clone(recipient));
        let read = move || {
            let event = intake.read_event(&of, &bytes, detail);
            drop((bytes, memory));
            event
        };
        let event = task::spawn_blocking(read).await;
        Ok((event.map_err(|_| Ending::Failed)?, place))
    }

    /// The event of an authentic body.
    fn read_event(&self, recipient: &Recipient, body: &[u8], detail: Detail) -> NewEvent {
        let envelope = Envelope::read(body, detail);
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
        event
    }
}
