//! Reading what memory does not have: record by record from the stream's leader.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};

use super::{end::End, events::Events, payload::Placed};
use crate::{
    event::Position,
    memory::Allowance,
    store::{
        HotTail, Metrics, Page, ReadError,
        hot_tail::{PAGE_BYTES, PAGE_RECORDS},
    },
};

/// How many records one reader asks for at a time.
const CONCURRENT_GETS: usize = 16;

/// How long a read may take.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to leave NATS alone when it cannot be read.
const PAUSE: Duration = Duration::from_millis(200);

/// Reads one log. Clones share everything.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    events: Arc<Events>,
    tail: Arc<HotTail>,
    metrics: Metrics,
    /// Whoever reads a record that is not charged.
    uncharged: Arc<Mutex<()>>,
}

impl Reader {
    pub(super) fn new(events: Arc<Events>, tail: Arc<HotTail>, metrics: Metrics) -> Self {
        Reader {
            events,
            tail,
            metrics,
            uncharged: Arc::default(),
        }
    }

    /// The page after `sequence`. Nothing tells how large its records are before they are read, so the largest page is
    /// charged to `memory` before, and what is not needed is released. Where there is no room for that, small records
    /// come one by one.
    pub(super) async fn page(
        &self,
        sequence: u64,
        memory: Option<&Allowance>,
    ) -> Result<Page, ReadError> {
        let Some(memory) = memory else {
            return self
                .in_time(|| self.read_page(sequence, PAGE_RECORDS))
                .await;
        };
        let largest = PAGE_BYTES + self.events.connection.max_payload();
        let mut charge = match memory.try_charge(largest) {
            Some(charge) => charge,
            None => {
                if let Some(page) = self.small_page(sequence).await? {
                    return Ok(page);
                }
                memory.charge(largest).await?
            }
        };
        let page = self.in_time(|| self.read_page(sequence, PAGE_RECORDS));
        let mut page = page.await?;
        for record in &mut page {
            if record.large_bytes() > 0 {
                Arc::make_mut(record).attach(&mut charge);
            }
        }
        Ok(page)
    }

    /// The record after `sequence` as a page of its own, if it is small. One of them is read at a time.
    async fn small_page(&self, sequence: u64) -> Result<Option<Page>, ReadError> {
        let _turn = self.uncharged.lock().await;
        let page = self.in_time(|| self.read_page(sequence, 1)).await?;
        let is_small = page.iter().all(|record| record.large_bytes() == 0);
        Ok(is_small.then_some(page))
    }

    /// The position before the first record of `time` or later.
    pub(super) async fn position_before(&self, time: Timestamp) -> Result<Position, ReadError> {
        self.in_time(|| self.search(time)).await
    }

    /// Reads again and again while NATS is away, so that a short outage ends no stream.
    async fn in_time<T, R>(&self, mut read: impl FnMut() -> R) -> Result<T, ReadError>
    where
        R: Future<Output = Result<T, ReadError>>,
    {
        let answered = async {
            loop {
                match read().await {
                    Err(ReadError::Unavailable(_)) if !self.events.is_broken() => {
                        sleep(PAUSE).await
                    }
                    result => return result,
                }
            }
        };
        let result = timeout(READ_TIMEOUT, answered)
            .await
            .unwrap_or_else(|_| Err(ReadError::Unavailable("NATS did not answer".to_owned())));
        if let Err(ReadError::Corrupt { .. }) = result {
            self.metrics.corrupt.inc();
        }
        result
    }

    /// No further than what is shown, so that nobody has a position that the log does not tell of yet.
    async fn read_page(&self, sequence: u64, max_records: usize) -> Result<Page, ReadError> {
        let bounds = self.tail.bounds();
        if sequence < bounds.trimmed.sequence {
            return Err(ReadError::Trimmed(bounds.trimmed));
        }
        let wanted = (sequence + 1..=bounds.head.sequence).take(max_records);
        let gets: Vec<_> = wanted.map(|next| self.get(next)).collect();
        let mut found = stream::iter(gets).buffered(CONCURRENT_GETS);
        let (mut page, mut bytes) = (Page::new(), 0);
        while bytes < PAGE_BYTES
            && let Some((next, record)) = found.next().await
        {
            let failure = match record {
                Ok(Some(placed)) => {
                    bytes += placed.record.size();
                    page.push(Arc::new(placed.record));
                    continue;
                }
                Ok(None) => self.missing(next).await,
                Err(error) => error,
            };
            // The records before are sound.
            return if page.is_empty() {
                Err(failure)
            } else {
                Ok(page)
            };
        }
        Ok(page)
    }

    async fn get(&self, sequence: u64) -> (u64, Result<Option<Placed>, ReadError>) {
        (sequence, self.events.record(sequence).await)
    }

    /// By halves: `receive_time` never goes back.
    async fn search(&self, time: Timestamp) -> Result<Position, ReadError> {
        let bounds = self.tail.bounds();
        let (mut before, mut after) = (bounds.trimmed, bounds.head.sequence + 1);
        if before.sequence > 0 && self.newest_trimmed().await? >= time {
            return Err(ReadError::Trimmed(before));
        }
        while before.sequence + 1 < after {
            let middle = before.sequence + (after - before.sequence) / 2;
            let Some(placed) = self.events.record(middle).await? else {
                return Err(self.missing(middle).await);
            };
            match placed.record.receive_time < time {
                true => before = placed.record.position(),
                false => after = middle,
            }
        }
        Ok(before)
    }

    /// When the newest record was received that is not kept any more.
    pub(super) async fn newest_trimmed(&self) -> Result<Timestamp, ReadError> {
        let bounds = self.tail.bounds();
        if bounds.trimmed.sequence == bounds.head.sequence {
            return Ok(bounds.head_time);
        }
        let oldest = bounds.trimmed.sequence + 1;
        match self.events.record(oldest).await? {
            Some(placed) => Ok(placed.before.receive_time),
            None => Err(self.missing(oldest).await),
        }
    }

    /// Why a record that should be there is not.
    async fn missing(&self, sequence: u64) -> ReadError {
        let bounds = self.tail.bounds();
        let head = End {
            position: bounds.head,
            receive_time: bounds.head_time,
            end_offset: 0,
        };
        let trimmed = match self.events.state(bounds.head.sequence).await {
            Ok(state) => self.events.trimmed(&state, head).await,
            Err(error) => Err(error),
        };
        match trimmed {
            Ok(trimmed) if trimmed.sequence >= sequence => ReadError::Trimmed(trimmed),
            Ok(_) => ReadError::Corrupt {
                sequence,
                what: "it is missing",
            },
            Err(error) => error,
        }
    }
}
