//! What operators see of the streams.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// The counters of the feed.
#[derive(Clone, Debug)]
pub struct Metrics {
    open: Gauge,
    delivered: Counter,
    gaps: Counter,
    ended: Family<EndLabels, Counter>,
    without_bodies: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    reason: &'static str,
}

/// How a stream ends whose caller goes away.
const CANCELLED: &str = "CANCELLED";

/// One open stream, counted until it is dropped.
#[derive(Debug)]
pub(super) struct OpenStream {
    metrics: Metrics,
    end: &'static str,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Metrics {
            open: Gauge::default(),
            delivered: Counter::default(),
            gaps: Counter::default(),
            ended: Family::default(),
            without_bodies: Counter::default(),
        };
        registry.register(
            "watch_streams_open",
            "Streams of events that are open",
            metrics.open.clone(),
        );
        registry.register(
            "watch_events_sent",
            "Events sent on streams",
            metrics.delivered.clone(),
        );
        registry.register(
            "watch_gaps",
            "Times that a stream missed events which are not kept any more",
            metrics.gaps.clone(),
        );
        registry.register(
            "watch_streams_ended",
            "Streams that ended, by reason",
            metrics.ended.clone(),
        );
        registry.register(
            "watch_bodies_omitted",
            "Events sent without the body that was asked for, because clients could not have taken them with it",
            metrics.without_bodies.clone(),
        );
        metrics
    }

    pub(super) fn open_stream(&self) -> OpenStream {
        self.open.inc();
        OpenStream {
            metrics: self.clone(),
            end: CANCELLED,
        }
    }
}

impl OpenStream {
    pub(super) fn sent(&self, events: usize) {
        self.metrics.delivered.inc_by(events as u64);
    }

    /// An event was sent without its body.
    pub(super) fn sent_without_body(&self) {
        self.metrics.without_bodies.inc();
    }

    /// How many streams are open.
    pub(super) fn open_streams(&self) -> u32 {
        self.metrics.open.get().try_into().unwrap_or(u32::MAX)
    }

    pub(super) fn missed(&self) {
        self.metrics.gaps.inc();
    }

    /// The stream ends, for this reason.
    pub(super) fn ends(&mut self, reason: &'static str) {
        self.end = reason;
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.metrics.open.dec();
        let labels = EndLabels { reason: self.end };
        self.metrics.ended.get_or_create(&labels).inc();
    }
}
