//! What operators see of the log.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{
    screening::CutCounter,
    telemetry::{DURATION_BUCKETS, TenantLabel},
};

/// The metrics of the store. Each log has its own gauges, see [`Metrics::of_tenant`].
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Records appended.
    pub(super) appended: Counter,
    /// Records that were not kept any longer.
    pub(super) trimmed: Counter,
    /// Reads that met a record which is not what was written.
    pub(super) corrupt: Counter,
    /// 1 while appends succeed.
    pub(super) writable: Gauge,
    /// Screenings that wait to be polled.
    pub(super) polls: Gauge,
    /// How large the write-ahead log's file is.
    pub(super) wal_bytes: Gauge,
    /// For how long a reader has kept the write-ahead log from being written back.
    pub(super) wal_held: Gauge,
    /// Request records that are kept.
    pub(super) request_records: Gauge,
    /// What they take, in bytes.
    pub(super) request_bytes: Gauge,
    /// What they may take, in bytes.
    pub(super) request_bytes_limit: Gauge,
    /// Answers of request records that were evicted at the size bound.
    pub(super) answers_evicted: Counter,
    /// Webhooks that told another end than the RECONCILED event that they replace.
    pub(super) disputed: Counter,
    /// Events whose id an event with another body has.
    pub(super) id_conflicts: Counter,
    /// Events that were too large for NATS, by what was left out of them.
    pub(super) cuts: CutCounter,
    /// How long a commit takes, the sync included.
    pub(super) commit: Histogram,
    /// How far the clock of NATS is ahead of this machine's, in seconds.
    pub(super) nats_clock_offset: Gauge,
    /// How large a message may be at NATS, in bytes.
    pub(super) nats_max_payload: Gauge,
    all_writable: Family<TenantLabel, Gauge>,
    all_polls: Family<TenantLabel, Gauge>,
    all_wal_bytes: Family<TenantLabel, Gauge>,
    all_wal_held: Family<TenantLabel, Gauge>,
    all_request_records: Family<TenantLabel, Gauge>,
    all_request_bytes: Family<TenantLabel, Gauge>,
    all_request_bytes_limits: Family<TenantLabel, Gauge>,
}

impl Metrics {
    /// Registers the metrics, once for all tenants. The gauges of no tenant are seen by nobody.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Metrics {
            appended: Counter::default(),
            trimmed: Counter::default(),
            corrupt: Counter::default(),
            writable: Gauge::default(),
            polls: Gauge::default(),
            wal_bytes: Gauge::default(),
            wal_held: Gauge::default(),
            request_records: Gauge::default(),
            request_bytes: Gauge::default(),
            request_bytes_limit: Gauge::default(),
            answers_evicted: Counter::default(),
            disputed: Counter::default(),
            id_conflicts: Counter::default(),
            cuts: CutCounter::default(),
            commit: Histogram::new(DURATION_BUCKETS),
            nats_clock_offset: Gauge::default(),
            nats_max_payload: Gauge::default(),
            all_writable: Family::default(),
            all_polls: Family::default(),
            all_wal_bytes: Family::default(),
            all_wal_held: Family::default(),
            all_request_records: Family::default(),
            all_request_bytes: Family::default(),
            all_request_bytes_limits: Family::default(),
        };
        metrics.register_request_records(registry);
        metrics.register_write_ahead_log(registry);
        registry.register(
            "store_events_appended",
            "Events appended to the log",
            metrics.appended.clone(),
        );
        registry.register(
            "store_events_trimmed",
            "Events removed by age or size",
            metrics.trimmed.clone(),
        );
        registry.register(
            "store_corrupt_reads",
            "Reads that met a damaged record",
            metrics.corrupt.clone(),
        );
        registry.register(
            "store_nats_clock_offset_seconds",
            "How far the clock of NATS is ahead of this machine's",
            metrics.nats_clock_offset.clone(),
        );
        registry.register(
            "store_nats_max_payload_bytes",
            "How large a message may be at NATS (max_payload); 0 on the embedded log",
            metrics.nats_max_payload.clone(),
        );
        registry.register(
            "store_writable",
            "1 while the last append succeeded, else 0, by tenant",
            metrics.all_writable.clone(),
        );
        registry.register(
            "store_polls_waiting",
            "Screenings that Kora took and whose end is not known yet, by tenant",
            metrics.all_polls.clone(),
        );
        registry.register(
            "store_reconciled_disputed",
            "Webhooks that told another end than the RECONCILED event that they replace",
            metrics.disputed.clone(),
        );
        registry.register(
            "store_event_id_conflicts",
            "Events with an id that an event with another body has; kept as ID~HASH",
            metrics.id_conflicts.clone(),
        );
        registry.register(
            "store_events_cut",
            "Events that were too large for NATS, by the part that was left out",
            metrics.cuts.clone(),
        );
        registry.register_with_unit(
            "store_commit",
            "How long one durable commit took",
            Unit::Seconds,
            metrics.commit.clone(),
        );
        metrics
    }

    fn register_request_records(&self, registry: &mut Registry) {
        registry.register(
            "store_request_records",
            "Request records that are kept, by tenant",
            self.all_request_records.clone(),
        );
        registry.register(
            "store_request_bytes",
            "What request records take, in bytes, by tenant",
            self.all_request_bytes.clone(),
        );
        registry.register(
            "store_request_bytes_limit",
            "What request records may take, in bytes (--request-size), by tenant",
            self.all_request_bytes_limits.clone(),
        );
        registry.register(
            "store_request_answers_evicted",
            "Answers of request records that were evicted at the size bound; their records stay",
            self.answers_evicted.clone(),
        );
    }

    fn register_write_ahead_log(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "store_wal",
            "How large the file of the embedded log's write-ahead log is, by tenant",
            Unit::Bytes,
            self.all_wal_bytes.clone(),
        );
        registry.register_with_unit(
            "store_wal_held",
            "For how long a reader of the file has kept the write-ahead log from being written back, by tenant",
            Unit::Seconds,
            self.all_wal_held.clone(),
        );
    }

    /// Those of the tenant with this name.
    #[must_use]
    pub fn of_tenant(&self, name: &str) -> Self {
        let label = TenantLabel::of(name);
        Metrics {
            writable: self.all_writable.get_or_create_owned(&label),
            polls: self.all_polls.get_or_create_owned(&label),
            wal_bytes: self.all_wal_bytes.get_or_create_owned(&label),
            wal_held: self.all_wal_held.get_or_create_owned(&label),
            request_records: self.all_request_records.get_or_create_owned(&label),
            request_bytes: self.all_request_bytes.get_or_create_owned(&label),
            request_bytes_limit: self.all_request_bytes_limits.get_or_create_owned(&label),
            ..self.clone()
        }
    }
}
