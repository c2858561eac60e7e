//! What operators see: logs on stderr and metrics.

mod output;
mod throttle;

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    panic,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text},
    metrics::counter::ConstCounter,
    registry::Registry,
};
use tracing_subscriber::{EnvFilter, Layer, filter, layer::SubscriberExt, util::SubscriberInitExt};

pub use throttle::Throttle;

use output::Output;

/// Where logs go, once there are any.
static STDERR: OnceLock<Output> = OnceLock::new();

/// Where [`print`] writes, once it has.
static STDOUT: OnceLock<Option<Output>> = OnceLock::new();

/// The prefix of every metric's name.
const METRIC_PREFIX: &str = "kora_gateway";

/// Upper bounds, in seconds, of the duration histograms: from a fast refusal to Kora's limit of 30 s and beyond.
pub const DURATION_BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0,
];

/// Says whose a gauge is. What is counted adds up over all tenants.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TenantLabel {
    /// The tenant's name.
    pub tenant: String,
}

/// The metrics of one gateway, once every room has registered its own.
#[derive(Clone, Default)]
pub struct Metrics(Arc<OnceLock<Registry>>);

impl TenantLabel {
    /// The label of the tenant with this name.
    pub fn of(tenant: &str) -> Self {
        TenantLabel {
            tenant: tenant.to_owned(),
        }
    }
}

impl Metrics {
    /// An empty registry for the rooms to register in.
    pub fn registry() -> Registry {
        let mut registry = Registry::with_prefix(METRIC_PREFIX);
        registry.register_collector(Box::new(DroppedLines));
        registry
    }

    /// Shows what is registered. Before that there is nothing to see.
    pub fn show(&self, registry: Registry) {
        // Nobody shows a second one.
        let _ = self.0.set(registry);
    }

    /// The present values in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let nothing = Registry::default();
        text::encode(&mut text, self.0.get().unwrap_or(&nothing))
            .expect("writing to a string does not fail");
        text
    }
}

/// Reads the directives of `RUST_LOG`; `info` where there are none.
///
/// # Errors
/// What is wrong with them, for people.
pub fn log_filter(directives: Option<&str>) -> Result<EnvFilter, String> {
    let directives = directives.filter(|text| !text.is_empty()).unwrap_or("info");
    EnvFilter::try_new(directives).map_err(|_| "RUST_LOG is not a log filter".to_owned())
}

/// Sends the logs that `chosen` lets through to stderr without ever blocking, and panics too, by their place alone: their text could
/// quote anything.
///
/// Of other crates only errors are kept, whatever is chosen: at finer levels HTTP libraries write headers and frames,
/// which hold keys and personal data, and their warnings quote what strangers send.
///
/// # Errors
/// If logs go somewhere already.
pub fn init_logging(chosen: EnvFilter) -> Result<(), String> {
    let ours_or_serious = filter::filter_fn(|metadata| {
        metadata.target().starts_with(env!("CARGO_CRATE_NAME"))
            || *metadata.level() == tracing::Level::ERROR
    });
    let output = Output::start("stderr", io::stderr(), |lines| {
        tracing::warn!(lines, "log lines were dropped: nobody read stderr");
    });
    let output = output.map_err(|error| error.to_string())?;
    let to_stderr = tracing_subscriber::fmt::layer()
        .with_writer({
            let output = output.clone();
            move || output.clone()
        })
        .with_ansi(io::stderr().is_terminal())
        .with_filter(ours_or_serious);
    tracing_subscriber::registry()
        .with(chosen)
        .with(to_stderr)
        .try_init()
        .map_err(|error| error.to_string())?;
    // It is the first one: there is one subscriber.
    let _ = STDERR.set(output);
    panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(place, "a task panicked");
    }));
    Ok(())
}

/// Writes a complaint to stderr, a line each. It blocks nobody where logs go there already.
pub fn complain(complaint: impl fmt::Display) {
    for line in complaint.to_string().lines() {
        let line = format!("error: {line}\n").into_bytes();
        match STDERR.get() {
            Some(output) => output.write_line(line),
            None => drop(io::stderr().write_all(&line)),
        }
    }
}

/// Prints a line on stdout without ever blocking: a pipe that nobody reads must not hold a server up.
pub fn print(line: impl fmt::Display) {
    let output = STDOUT.get_or_init(|| Output::start("stdout", io::stdout(), |_| {}).ok());
    let line = format!("{line}\n").into_bytes();
    match output {
        Some(output) => output.write_line(line),
        None => drop(io::stdout().write_all(&line)),
    }
}

/// Waits until everything that was logged and printed is written, at most this long. Called before the process ends.
pub fn flush(within: Duration) {
    let deadline = Instant::now() + within;
    let stdout = STDOUT.get().and_then(Option::as_ref);
    for output in stdout.into_iter().chain(STDERR.get()) {
        output.flush(deadline.saturating_duration_since(Instant::now()));
    }
}

/// Counts what stderr did not take.
#[derive(Debug)]
struct DroppedLines;

impl Collector for DroppedLines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let dropped = ConstCounter::new(STDERR.get().map_or(0, Output::dropped));
        let metric = encoder.encode_descriptor(
            "log_lines_dropped",
            "Log lines that were dropped because nobody read stderr",
            None,
            dropped.metric_type(),
        )?;
        dropped.encode(metric)
    }
}
