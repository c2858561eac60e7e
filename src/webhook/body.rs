//! Reads bodies, within limits of size, time and memory. Of the memory no tenant has more than half, where there is
//! another one: anybody can send what is yet to be verified to anybody's path. A body that needs memory evicts those that
//! are still coming in.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

use super::{
    answer::Ending,
    upload::Upload,
    uploads::{Evictable, Uploads},
};
use crate::listener::PlaceClaim;

/// How long a body may take in all, the wait for memory included.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of a body comes free, so that Kora is not shut out by those who fill the memory: all of most.
const FREE_BYTES: usize = 16 << 10;

/// How much memory what is larger of the bodies that are being read or appended may take together; one body of the
/// largest size always has room.
const BODY_MEMORY: usize = 64 << 20;

/// In what portions memory is given out.
const PORTION_BYTES: usize = 1 << 10;

/// How long a body waits for memory in all before others are evicted for it. What Kora sends is whole in less.
const EVICT_AFTER: Duration = Duration::from_secs(1);

/// How long to wait before more of them are: others can have taken what was freed.
const EVICT_AGAIN: Duration = Duration::from_millis(100);

/// Reads the bodies of one tenant.
pub(super) struct BodyReader {
    max_bytes: usize,
    /// What may be this tenant's of `memory`.
    quota: Memory,
    memory: Memory,
}

/// Memory that bodies share. Clones are the same.
#[derive(Clone)]
struct Memory {
    portions: Arc<Semaphore>,
    uploads: Uploads,
}

/// A whole body.
pub(super) struct WholeBody {
    /// Its bytes, as they came.
    pub(super) bytes: Bytes,
    /// Its place in memory. To be kept as long as the body.
    pub(super) place: BodyPlace,
}

/// A part of the memory, until it is dropped.
pub(super) struct BodyPlace {
    quota: OwnedSemaphorePermit,
    memory: OwnedSemaphorePermit,
}

impl BodyReader {
    /// One for each of so many tenants, which read bodies of up to `max_bytes`.
    pub(super) fn for_tenants(count: usize, max_bytes: usize) -> impl Iterator<Item = Self> {
        Self::with_memory(count, max_bytes, BODY_MEMORY.max(max_bytes))
    }

    fn with_memory(count: usize, max_bytes: usize, memory: usize) -> impl Iterator<Item = Self> {
        let quota = match count {
            ..=1 => memory,
            // A body of the largest size has room here too.
            _ => memory.div_ceil(2).max(max_bytes.saturating_sub(FREE_BYTES)),
        };
        let memory = Memory::new(memory);
        std::iter::repeat_with(move || BodyReader {
            max_bytes,
            quota: Memory::new(quota),
            memory: memory.clone(),
        })
        .take(count)
    }

    /// Reads a body to its end, which comes on the connection of this claim.
    ///
    /// # Errors
    /// How the webhook ends: too large, not in time, broken off, or no memory in time.
    pub(super) async fn read(
        &self,
        upload: &mut Upload,
        claim: Option<&PlaceClaim>,
    ) -> Result<WholeBody, Ending> {
        let deadline = Instant::now() + BODY_TIMEOUT;
        let announced = upload.announced_size();
        if announced.is_some_and(|size| size > self.max_bytes as u64) {
            return Err(Ending::TooLarge);
        }
        // Memory is taken as the bytes come: what is only announced costs nothing.
        let mut patience = EVICT_AFTER;
        let (mut bytes, mut place) = (BytesMut::new(), self.place(0, &mut patience).await);
        let mut evictable = Evictable::new(claim);
        loop {
            let next = tokio::select! {
                next = timeout_at(deadline, upload.next()) => next,
                () = evictable.evicted() => return Err(Ending::Overloaded),
            };
            let Some(data) = next.map_err(|_| Ending::TimedOut)?? else {
                let bytes = bytes.freeze();
                return Ok(WholeBody { bytes, place });
            };
            let size = bytes.len() + data.len();
            if size > self.max_bytes {
                return Err(Ending::TooLarge);
            }
            let portions = size.saturating_sub(FREE_BYTES).div_ceil(PORTION_BYTES);
            let more = portions - place.memory.num_permits();
            let more = tokio::select! {
                more = timeout_at(deadline, self.place(more, &mut patience)) => more,
                () = evictable.evicted() => return Err(Ending::Overloaded),
            };
            place.merge(more.map_err(|_| Ending::Overloaded)?);
            evictable.holds(portions, [&self.quota.uploads, &self.memory.uploads]);
            bytes.extend_from_slice(&data);
        }
    }

    /// Whoever waits for more than its tenant may have keeps nobody else waiting.
    async fn place(&self, portions: usize, patience: &mut Duration) -> BodyPlace {
        let portions = u32::try_from(portions).unwrap_or(u32::MAX);
        BodyPlace {
            quota: self.quota.acquire(portions, patience).await,
            memory: self.memory.acquire(portions, patience).await,
        }
    }
}

impl BodyPlace {
    fn merge(&mut self, more: BodyPlace) {
        self.quota.merge(more.quota);
        self.memory.merge(more.memory);
    }
}

impl Memory {
    fn new(bytes: usize) -> Self {
        Memory {
            portions: Arc::new(Semaphore::new(bytes.div_ceil(PORTION_BYTES))),
            uploads: Uploads::default(),
        }
    }

    /// So many portions, as soon as they are there. When `patience` is used up, bodies that are still coming in are evicted
    /// for it.
    async fn acquire(&self, portions: u32, patience: &mut Duration) -> OwnedSemaphorePermit {
        let acquired = Arc::clone(&self.portions).acquire_many_owned(portions);
        tokio::pin!(acquired);
        let began = Instant::now();
        let mut wait = *patience;
        loop {
            let acquired = timeout(wait, &mut acquired).await;
            *patience = patience.saturating_sub(began.elapsed());
            if let Ok(acquired) = acquired {
                return acquired.expect("the semaphore is never closed");
            }
            self.uploads.evict(portions as usize);
            wait = EVICT_AGAIN;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::{body::Body, http::HeaderMap};
    use futures_util::stream;

    use super::*;

    fn whole(bytes: impl Into<Body>) -> Upload {
        Upload::new(&HeaderMap::new(), bytes.into())
    }

    /// A body without an announced size.
    fn streamed(parts: &'static [&'static str]) -> Upload {
        let parts = parts.iter().map(|part| Ok::<_, Infallible>(*part));
        whole(Body::from_stream(stream::iter(parts)))
    }

    fn endless() -> Upload {
        let parts = stream::pending::<Result<&str, Infallible>>();
        whole(Body::from_stream(parts))
    }

    fn reader(max_bytes: usize) -> BodyReader {
        BodyReader::for_tenants(1, max_bytes).next().unwrap()
    }

    async fn ending_of(reader: &BodyReader, mut upload: Upload) -> Option<Ending> {
        reader.read(&mut upload, None).await.err()
    }

    #[tokio::test]
    async fn a_body_of_the_largest_size_fits_and_one_byte_more_does_not() {
        let reader = reader(4);
        for (mut upload, read) in [
            (whole("abcd"), Some("abcd")),
            (whole("abcde"), None),
            (streamed(&["abc", "d"]), Some("abcd")),
            (streamed(&["abc", "de"]), None),
            (streamed(&[]), Some("")),
        ] {
            match (reader.read(&mut upload, None).await, read) {
                (Ok(whole), Some(expected)) => assert_eq!(whole.bytes, expected),
                (Err(ending), None) => assert_eq!(ending, Ending::TooLarge),
                (got, expected) => panic!("{:?} for {expected:?}", got.err()),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_come_in_time_is_given_up() {
        let reader = reader(4);
        let began = Instant::now();
        assert_eq!(ending_of(&reader, endless()).await, Some(Ending::TimedOut));
        assert_eq!(began.elapsed().as_secs(), BODY_TIMEOUT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_held_until_the_body_is_done_with() {
        let memory = 4 * PORTION_BYTES;
        let size = FREE_BYTES + memory;
        let reader = BodyReader::with_memory(1, size, memory).next().unwrap();
        let mut first = whole(vec![0; FREE_BYTES + 3]);
        let held = reader.read(&mut first, None).await.ok().unwrap();
        let began = Instant::now();
        let ending = ending_of(&reader, whole(vec![0; size])).await;
        assert_eq!(ending, Some(Ending::Overloaded));
        assert_eq!(began.elapsed().as_secs(), BODY_TIMEOUT.as_secs());
        // What was not needed was given back.
        let rest = whole(vec![0; size - PORTION_BYTES]);
        assert_eq!(ending_of(&reader, rest).await, None);
        drop(held);
        let all = reader.read(&mut whole(vec![0; size]), None).await;
        let began = Instant::now();
        assert_eq!(ending_of(&reader, whole(vec![0; FREE_BYTES])).await, None);
        assert_eq!(began.elapsed(), Duration::ZERO);
        drop(all);
        assert_eq!(ending_of(&reader, whole(vec![0; size])).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_to_one_tenant_leave_half_of_the_memory_to_another() {
        let portions = 4;
        let size = FREE_BYTES + PORTION_BYTES;
        let mut readers = BodyReader::with_memory(2, size, portions * PORTION_BYTES);
        let [flooded, other] = [(); 2].map(|()| readers.next().unwrap());
        let mut held = Vec::new();
        for reader in [&flooded, &other] {
            for _ in 0..portions / 2 {
                let read = reader.read(&mut whole(vec![0; size]), None).await;
                held.push(read.ok().unwrap());
            }
            let one_more = ending_of(reader, whole(vec![0; size])).await;
            assert_eq!(one_more, Some(Ending::Overloaded));
        }
        held.pop();
        assert_eq!(ending_of(&other, whole(vec![0; size])).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn senders_that_say_nothing_do_not_shut_kora_out() {
        let reader = Arc::new(reader(4 << 20));
        for _ in 0..128 {
            let reader = Arc::clone(&reader);
            tokio::spawn(async move { ending_of(&reader, endless()).await });
        }
        tokio::task::yield_now().await;
        let began = Instant::now();
        assert_eq!(ending_of(&reader, whole("{}")).await, None);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
