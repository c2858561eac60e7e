//! What operators see of the ports.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// The counters of all ports.
#[derive(Clone, Debug)]
pub struct Metrics {
    open: Family<PortLabels, Gauge>,
    unopened: Family<UnopenedLabels, Counter>,
    stalled: Counter,
    reset_too_often: Family<PortLabels, Counter>,
}

/// Why a connection ended before its client had spoken as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unopened {
    /// It took too long.
    Late,
    /// TLS failed, or the client speaks something else, or went away.
    Failed,
    /// Its place was wanted for somebody else.
    Evicted,
}

/// One connection, counted until it is dropped.
#[derive(Debug)]
pub(super) struct OpenConnection(Gauge);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PortLabels {
    listener: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UnopenedLabels {
    listener: &'static str,
    reason: &'static str,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::unseen();
        registry.register(
            "connections_open",
            "Connections that are open, by listener",
            metrics.open.clone(),
        );
        registry.register(
            "connections_unopened",
            "Connections that ended for want of an opening or of room, by listener and reason",
            metrics.unopened.clone(),
        );
        registry.register(
            "streams_stalled",
            "Answers that were cut because their client did not take them",
            metrics.stalled.clone(),
        );
        registry.register(
            "connections_reset_too_often",
            "HTTP/2 connections that took no new calls because their client had reset too many, by listener",
            metrics.reset_too_often.clone(),
        );
        metrics
    }

    /// Counters that nobody sees.
    pub(super) fn unseen() -> Self {
        Metrics {
            open: Family::default(),
            unopened: Family::default(),
            stalled: Counter::default(),
            reset_too_often: Family::default(),
        }
    }

    pub(super) fn open(&self, listener: &'static str) -> OpenConnection {
        let gauge = self.open.get_or_create_owned(&PortLabels { listener });
        gauge.inc();
        OpenConnection(gauge)
    }

    pub(super) fn unopened(&self, listener: &'static str, reason: Unopened) {
        let reason = match reason {
            Unopened::Late => "late",
            Unopened::Failed => "failed",
            Unopened::Evicted => "evicted",
        };
        let labels = UnopenedLabels { listener, reason };
        self.unopened.get_or_create_owned(&labels).inc();
    }

    pub(super) fn stalled(&self) {
        self.stalled.inc();
    }

    pub(super) fn reset_too_often(&self, listener: &'static str) {
        let labels = PortLabels { listener };
        self.reset_too_often.get_or_create_owned(&labels).inc();
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}
