//! Webhooks: what happens is told to those who subscribed, signed, until they answer 200.
//!
//! Kora's docs name the events, the signature's header and the answers. Retries, timeouts, order and
//! duplicates are not documented: here a delivery is repeated with growing pauses, and no order is
//! kept. Receivers are on loopback, by http: nothing is ever posted to another machine.

mod delivery;
pub(super) mod door;
mod event;
mod faults;
mod journal;
mod order;
mod post;
mod subscription;
mod target;

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::Value;
use tokio::time::sleep;

use super::{Twin, Webhook};
use delivery::{Copy, Delivery};
use event::Event;
use faults::Faults;
use journal::{Journal, Progress};
use order::{Order, Turn};

pub(super) use subscription::Subscription;
pub(super) use target::{NOT_A_TARGET, Target};

/// Subscriptions of one emulator.
pub(super) const MAX_SUBSCRIPTIONS: usize = 100;

/// When an ASYNC screening that nobody asks for is over, where there is somebody to tell.
const FINISHES_AFTER: Duration = Duration::from_millis(200);

/// Everything about webhooks that changes.
#[derive(Default)]
pub(super) struct Webhooks {
    subscriptions: Vec<Arc<Subscription>>,
    faults: Faults,
    order: Order,
    journal: Journal,
}

/// Whom an event goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    /// Those who subscribed to it.
    Subscribed,
    /// All who subscribed to anything.
    All,
}

/// The deliveries of one event.
#[derive(Default)]
struct Planned {
    /// Their numbers in the journal, those that are withheld too.
    numbers: Vec<u64>,
    deliveries: Vec<Delivery>,
}

impl Webhooks {
    /// With a subscription to all events. `None` when its URL is not one that is posted to.
    pub(super) fn with_preset(webhook: &Webhook) -> Option<Self> {
        let target = Target::read(&webhook.url)?;
        let preset = Subscription::preset(webhook.url.clone(), target, webhook.secret.clone());
        Some(Self {
            subscriptions: vec![Arc::new(preset)],
            ..Self::default()
        })
    }

    /// Adds a subscription. `false`, and nothing added, when there are too many.
    pub(super) fn subscribe(&mut self, subscription: Subscription) -> bool {
        let has_room = self.subscriptions.len() < MAX_SUBSCRIPTIONS;
        if has_room {
            self.subscriptions.push(Arc::new(subscription));
        }
        has_room
    }

    fn has_subscriptions(&self) -> bool {
        !self.subscriptions.is_empty()
    }

    /// Replaces the faults. Deliveries that let another one pass go on.
    fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
        self.order = Order::default();
    }

    /// The newest deliveries, those under way too, as the door lists them.
    pub(super) fn deliveries(&self) -> Value {
        self.journal.json()
    }

    /// An id for the next event, unless ids are to be omitted.
    fn new_event_id(&self) -> Option<String> {
        (!self.faults.omit_id).then(event::new_id)
    }

    fn note_attempt(&mut self, number: u64, status: Option<StatusCode>, progress: Progress) {
        self.journal.note(number, status, progress);
    }

    /// Lists the deliveries of an event and returns those that are to be made.
    fn plan(&mut self, event: &Event, to: To) -> Planned {
        let mut planned = Planned::default();
        for subscription in self.subscriptions.clone() {
            if to == To::Subscribed && !subscription.wants(&event.name) {
                continue;
            }
            if self.faults.withhold {
                let number = self
                    .journal
                    .open(&subscription.id, event, Progress::Withheld);
                planned.numbers.push(number);
                continue;
            }
            let delivery = self.delivery(event, subscription);
            planned.numbers.extend(delivery.numbers());
            planned.deliveries.push(delivery);
        }
        planned
    }

    /// A delivery with the faults that it meets.
    fn delivery(&mut self, event: &Event, subscription: Arc<Subscription>) -> Delivery {
        let copies = (0..=self.faults.duplicates).map(|_| Copy {
            number: self
                .journal
                .open(&subscription.id, event, Progress::Pending),
            bad_signature: self.faults.take_bad_signature(),
        });
        Delivery {
            event: event.clone(),
            copies: copies.collect(),
            delay: self.faults.delay,
            turn: match self.faults.disorder {
                true => self.order.next(&subscription.id),
                false => Turn::AtOnce,
            },
            subscription,
        }
    }

    fn overflow(&mut self, numbers: impl Iterator<Item = u64>) {
        for number in numbers {
            self.journal.overflow(number);
        }
    }
}

/// Lets an ASYNC screening finish by itself after a moment. Where nobody has subscribed, only looking
/// at it moves it on.
pub(super) fn finish_soon(twin: &Arc<Twin>, screening_id: String) {
    if !twin.state().webhooks.has_subscriptions() {
        return;
    }
    let finishing = finish(Arc::clone(twin), screening_id);
    if !twin.background.start(finishing) {
        tracing::warn!("emulator has too much pending: a screening will not finish by itself");
    }
}

async fn finish(twin: Arc<Twin>, screening_id: String) {
    sleep(FINISHES_AFTER).await;
    // The lock is released at the end of the statement.
    let ended = twin
        .state()
        .ledger
        .screening_mut(&screening_id)
        .and_then(|screening| screening.finish().then(|| screening.json()));
    if let Some(screening) = ended {
        tell_end(&twin, &screening);
    }
}

/// Tells the subscribers how a screening ended. `screening` is its JSON.
pub(super) fn tell_end(twin: &Arc<Twin>, screening: &Value) {
    for (name, data) in event::of_ended(screening) {
        let id = twin.state().webhooks.new_event_id();
        send(twin, Event::new(name, id, &data), To::Subscribed);
    }
}

/// Starts the deliveries of an event and returns their numbers in the journal.
fn send(twin: &Arc<Twin>, event: Event, to: To) -> Vec<u64> {
    let planned = twin.state().webhooks.plan(&event, to);
    for delivery in planned.deliveries {
        let numbers: Vec<_> = delivery.numbers().collect();
        if !twin.background.start(delivery.run(Arc::clone(twin))) {
            tracing::warn!("emulator has too much pending: a webhook is not sent");
            twin.state().webhooks.overflow(numbers.into_iter());
        }
    }
    planned.numbers
}
