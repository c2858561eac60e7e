//! How much there may be at a time: calls that send something, repeats of known requests, and records that are still
//! to be written.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::access::{Claimant, Full, Share, Shares};

/// How long a call waits for a permit, where its caller and tenant have less than their share of them.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// The permits of one gateway, for all of its tenants. Clones share them.
#[derive(Clone, Debug)]
pub struct Permits {
    calls: Shares,
    repeats: Shares,
    records: Shares,
}

/// One call's access to them.
#[derive(Clone, Debug)]
pub struct CallPermits {
    permits: Permits,
    /// Whose call it is.
    claimant: Claimant,
    /// When the call has to be answered.
    answer_by: Instant,
}

/// What a call may leave to be written, its record and the poll of its screening, until the last of them is.
#[derive(Clone, Debug)]
pub(super) struct RecordPermit {
    _permit: Arc<Share>,
}

impl Permits {
    /// For so many calls in flight. As many repeats are served beside them, and as many calls may have records that
    /// the store has not taken yet.
    pub fn new(max_calls: usize) -> Self {
        Permits {
            calls: Shares::new(max_calls),
            repeats: Shares::new(max_calls),
            records: Shares::new(max_calls),
        }
    }

    /// The access of a call of this claimant.
    pub fn of_call(&self, claimant: Claimant, answer_by: Instant) -> CallPermits {
        CallPermits {
            permits: self.clone(),
            claimant,
            answer_by,
        }
    }
}

impl CallPermits {
    /// A permit for a call that sends or reads something, at once.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn try_call(&self) -> Result<Share, Full> {
        self.permits.calls.take(&self.claimant, 1)
    }

    /// The same. A caller that has less than its share waits for one.
    ///
    /// # Errors
    /// If there is none in time.
    pub async fn call(&self) -> Result<Share, Full> {
        let wait_until = self.answer_by.min(Instant::now() + MAX_WAIT);
        let calls = &self.permits.calls;
        calls.take_by(&self.claimant, wait_until).await
    }

    /// A permit for what sends nothing: a look-up, a repeat or a join.
    ///
    /// # Errors
    /// If there is none.
    pub fn repeat(&self) -> Result<Share, Full> {
        self.permits.repeats.take(&self.claimant, 1)
    }

    /// A permit for a call that will have a record or a poll.
    ///
    /// # Errors
    /// If too many calls have records that the store has not taken yet.
    pub(super) fn record(&self) -> Result<RecordPermit, Full> {
        let permit = Arc::new(self.permits.records.take(&self.claimant, 1)?);
        Ok(RecordPermit { _permit: permit })
    }
}
