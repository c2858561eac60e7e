//! What a stream looks at next, and how it waits for it.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use super::{MAX_EVENTS, Stage, Subscription};
use crate::{
    event::Position,
    feed::{
        concerned::{Look, Scan},
        message::{MAX_BYTES, MAX_COPIED_BYTES},
    },
    memory::{Allowance, Charge, FREE_BYTES},
    store::{EventLog, Page, ReadError},
};

/// After a message, the events of the present are gathered for so long for each stream that is open, so that those
/// that come fast share the next one: a message costs much more than one more event in it.
const GATHERING_PER_STREAM: Duration = Duration::from_micros(10);

/// Within these bounds.
const MIN_GATHERING: Duration = Duration::from_millis(2);
const MAX_GATHERING: Duration = Duration::from_millis(50);

/// What a stream looks at next.
pub(super) struct Ahead {
    pub(super) page: Page,
    /// Where it stands after the page, if that is not behind its last record.
    pub(super) then: Option<Position>,
    /// There was nothing behind the page.
    pub(super) is_at_head: bool,
    pub(super) memory: MessageMemory,
}

/// What the next message may copy.
pub(super) struct MessageMemory {
    /// None where the budget has no room: then messages are as small as what is free.
    pub(super) charge: Option<Charge>,
}

/// A page that is being read.
pub(super) struct PendingRead {
    after: u64,
    page: BoxFuture<'static, Result<Page, ReadError>>,
}

impl PendingRead {
    fn begin(log: Arc<dyn EventLog>, after: u64, memory: Allowance) -> Self {
        PendingRead {
            after,
            page: Box::pin(async move { log.read_charged(after, Some(&memory)).await }),
        }
    }
}

impl MessageMemory {
    /// Charged before the message is built. A stream never waits for it, so small events always flow.
    fn take(allowance: &Allowance) -> Self {
        MessageMemory {
            charge: allowance.try_charge(MAX_COPIED_BYTES),
        }
    }

    /// After how many bytes a message ends that is not of one event alone.
    pub(super) fn max_bytes(&self) -> usize {
        if self.charge.is_some() {
            MAX_BYTES
        } else {
            FREE_BYTES
        }
    }
}

impl Subscription {
    /// What there is to look at.
    pub(super) async fn look_ahead(&mut self) -> Result<Ahead, ReadError> {
        let tail = self.log.tail();
        let position = self.position.sequence;
        let memory = MessageMemory::take(&self.memory);
        let max_bytes = memory.max_bytes();
        let look = self.concerned.as_mut();
        let look = look.map(|way| way.look(tail, position, max_bytes));
        let scan = match look {
            Some(Look::At(page, then)) => {
                return Ok(Ahead {
                    page,
                    then,
                    is_at_head: false,
                    memory,
                });
            }
            Some(Look::Nothing(head)) => {
                return Ok(Ahead {
                    page: Page::new(),
                    then: Some(head),
                    is_at_head: true,
                    memory,
                });
            }
            Some(Look::Through(scan)) => scan,
            None => Scan {
                after: position,
                to: match self.stage {
                    Stage::Past => self.opened_at.head.sequence,
                    _ => u64::MAX,
                },
            },
        };
        // Not held while the read waits for memory: the two could wait for one another.
        drop(memory);
        Ok(Ahead {
            page: self.read(scan).await?,
            then: None,
            is_at_head: scan.after >= self.log.tail().bounds().head.sequence,
            memory: MessageMemory::take(&self.memory),
        })
    }

    pub(super) fn gathering(&self) -> Duration {
        let all = GATHERING_PER_STREAM.saturating_mul(self.stream.open_streams());
        all.clamp(MIN_GATHERING, MAX_GATHERING)
    }

    /// Lets events come together where there is one and not a message full of them, unless the order to stop comes.
    pub(super) async fn gather(&mut self) {
        if Instant::now() >= self.gather_until || !self.has_few() {
            return;
        }
        tokio::select! {
            () = sleep_until(self.gather_until) => {}
            () = self.stop.started() => {}
        }
    }

    fn has_few(&self) -> bool {
        match &self.concerned {
            Some(concerned) => concerned.has_news(),
            None => {
                let head = self.log.tail().bounds().head.sequence;
                let ahead = head.saturating_sub(self.position.sequence);
                (1..MAX_EVENTS as u64).contains(&ahead)
            }
        }
    }

    /// Waits for a record, for the time of a heartbeat, or for the order to stop.
    pub(super) async fn wait(&mut self) {
        let news = async {
            match &self.concerned {
                Some(concerned) => concerned.noted().await,
                // The log outlives its streams, so this never fails.
                None => drop(self.head.changed().await),
            }
        };
        tokio::select! {
            () = news => {}
            () = sleep_until(self.heartbeat_at) => {}
            () = self.stop.started() => {}
        }
    }

    /// The next page; empty if the disk takes so long that a heartbeat or the end is due. Then the read goes on, and is
    /// waited for the next time: a stream that began another one would lose its turn to every other that reads.
    async fn read(&mut self, scan: Scan) -> Result<Page, ReadError> {
        let mut page = match self.log.tail().page(scan.after) {
            Some(page) => page,
            None => self.read_from_disk(scan.after).await?,
        };
        page.retain(|record| record.sequence <= scan.to);
        Ok(page)
    }

    async fn read_from_disk(&mut self, after: u64) -> Result<Page, ReadError> {
        let mut pending = match self.reading.take() {
            Some(pending) if pending.after == after => pending,
            _ => PendingRead::begin(Arc::clone(&self.log), after, self.memory.clone()),
        };
        tokio::select! {
            biased;
            read = &mut pending.page => return read,
            () = sleep_until(self.heartbeat_at) => {}
            () = self.stop.started() => {}
        }
        self.reading = Some(pending);
        Ok(Page::new())
    }
}
