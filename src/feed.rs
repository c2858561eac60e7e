//! The stream of events: from where a caller left off through the past into the present.
//!
//! A [`Subscription`] is asked for its next [`Message`] whenever the caller has room for one, and reads from
//! the log then: a slow caller costs one page of memory and delays nobody. Nothing is decoded or encoded on
//! the way but the token.

mod concerned;
mod message;
mod metrics;
mod start;
mod subscription;

use std::{sync::Arc, time::Duration};

pub use message::Message;
pub use metrics::Metrics;
pub use subscription::Subscription;

use crate::{
    error::{CallError, Reason},
    event::{NoRoomForFilter, SharedWordSets, WatchRequest},
    lifecycle::Shutdown,
    memory::Allowance,
    store::{EventLog, ReadError},
};

/// When to come back for a stream that the log could not serve.
const COME_BACK_AFTER: Duration = Duration::from_secs(5);

/// The shortest and the longest wait before a client comes back whose stream was drained. Each stream has one of its own,
/// at random: clients that lost their gateway together do not come to another one together.
const MIN_RETURN: Duration = Duration::from_millis(200);
const MAX_RETURN: Duration = Duration::from_secs(5);

/// One tenant's feed. Clones share everything.
#[derive(Clone)]
pub struct Feed {
    log: Arc<dyn EventLog>,
    metrics: Metrics,
    filters: SharedWordSets,
}

/// What a stream may charge to the memory budget.
#[derive(Clone, Debug)]
pub struct StreamMemory {
    /// For what it reads and sends.
    pub messages: Allowance,
    /// For its filter.
    pub filters: Allowance,
}

impl Feed {
    /// The feed of a log.
    pub fn new(log: Arc<dyn EventLog>, metrics: Metrics) -> Self {
        Feed {
            log,
            metrics,
            filters: SharedWordSets::default(),
        }
    }

    /// Opens a stream, which ends by the order to `stop`. What it reads and sends is charged to `memory`.
    ///
    /// # Errors
    /// `TOO_MANY_STREAMS` where there is no memory for its filter. `TOKEN_EXPIRED` and `TOKEN_FOREIGN` where a gap is to fail; `STORE_CORRUPT` and
    /// `STORE_UNAVAILABLE`.
    pub async fn open(
        &self,
        mut request: WatchRequest,
        memory: StreamMemory,
        stop: Shutdown,
    ) -> Result<Subscription, CallError> {
        for values in request.filter.word_sets() {
            let shared = self.filters.share(values, &memory.filters);
            shared.map_err(|NoRoomForFilter| CallError {
                retry_after: Some(COME_BACK_AFTER),
                ..CallError::new(Reason::TooManyStreams).because("no memory for the filter")
            })?;
        }
        let memory = memory.messages;
        let begin = start::begin(&*self.log, &request, &memory).await?;
        Ok(Subscription::new(
            Arc::clone(&self.log),
            request,
            memory,
            begin,
            self.metrics.open_stream(),
            stop,
        ))
    }
}

/// What a caller is told of a log that cannot be read.
fn read_failed(error: ReadError) -> CallError {
    match error {
        ReadError::Corrupt { .. } => CallError::new(Reason::StoreCorrupt).because(error),
        ReadError::Unavailable(_) | ReadError::Newer { .. } | ReadError::Trimmed(_) => CallError {
            retry_after: Some(COME_BACK_AFTER),
            ..CallError::new(Reason::StoreUnavailable).because(error)
        },
    }
}
