//! Reads bodies, within limits of size, time and memory. Of the memory no tenant has more than half, where there is
//! another one: anybody can send what is yet to be verified to anybody's path. A body that needs memory evicts those that
//! are still coming in.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::{
    answer::Ending,
    upload::Upload,
    uploads::{Evictable, Uploads},
};
use crate::{
    listener::PlaceClaim,
    memory::{Charge, FREE_BYTES, PORTION_BYTES, Pool},
};

/// How long a body may take in all, the wait for memory included.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What a byte of a body costs until the body is appended: its buffer grows by doubling, and then the event is beside
/// it, which has the body as a field.
const BYTES_PER_BYTE: usize = 2;

/// How long a body waits for memory in all before others are evicted for it. What Kora sends is whole in less.
const EVICT_AFTER: Duration = Duration::from_secs(1);

/// Reads the bodies of one tenant.
pub(super) struct BodyReader {
    max_bytes: usize,
    /// What may be this tenant's of `memory`.
    quota: Arc<Semaphore>,
    quota_portions: u32,
    /// The bodies that hold some of `quota`.
    quota_uploads: Uploads,
    memory: Pool,
    /// The bodies of all tenants that hold some of `memory`.
    uploads: Uploads,
}

/// A whole body.
pub(super) struct WholeBody {
    /// Its bytes, as they came.
    pub(super) bytes: Bytes,
    /// Its place in memory. To be kept as long as the body.
    pub(super) place: BodyPlace,
    /// When the webhook is answered at the latest, unless it is being appended.
    pub(super) deadline: Instant,
}

/// A part of the memory, until it is dropped.
#[derive(Default)]
pub(super) struct BodyPlace {
    memory: Charge,
    quota: Option<OwnedSemaphorePermit>,
}

impl BodyReader {
    /// One for each of so many tenants, which read bodies of up to `max_bytes`. One of the largest size always has room.
    pub(super) fn for_tenants(
        count: usize,
        max_bytes: usize,
        memory: &Pool,
    ) -> impl Iterator<Item = Self> {
        let quota = match count {
            ..=1 => memory.size(),
            _ => (memory.size() / 2).max(cost(max_bytes)).min(memory.size()),
        };
        let quota_portions = u32::try_from(quota.div_ceil(PORTION_BYTES)).unwrap_or(u32::MAX);
        let (memory, uploads) = (memory.clone(), Uploads::default());
        std::iter::repeat_with(move || BodyReader {
            max_bytes,
            quota: Arc::new(Semaphore::new(quota_portions as usize)),
            quota_portions,
            quota_uploads: Uploads::default(),
            uploads: uploads.clone(),
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
        let (mut bytes, mut place) = (BytesMut::new(), BodyPlace::default());
        let mut evictable = Evictable::new(claim);
        loop {
            let next = tokio::select! {
                next = timeout_at(deadline, upload.next()) => next,
                () = evictable.evicted() => return Err(Ending::Overloaded),
            };
            let Some(data) = next.map_err(|_| Ending::TimedOut)?? else {
                let bytes = bytes.freeze();
                return Ok(WholeBody {
                    bytes,
                    place,
                    deadline,
                });
            };
            let size = bytes.len() + data.len();
            if size > self.max_bytes {
                return Err(Ending::TooLarge);
            }
            let cost = cost(size);
            let more = tokio::select! {
                more = timeout_at(deadline, self.grow(&mut place, cost, &mut patience)) => more,
                () = evictable.evicted() => return Err(Ending::Overloaded),
            };
            more.map_err(|_| {
                self.memory.count_refusal();
                Ending::Overloaded
            })?;
            let portions = cost.div_ceil(PORTION_BYTES);
            evictable.holds(portions, [&self.quota_uploads, &self.uploads]);
            bytes.extend_from_slice(&data);
        }
    }

    /// Whoever waits for more than its tenant may have keeps nobody else waiting.
    async fn grow(&self, place: &mut BodyPlace, cost: usize, patience: &mut Duration) {
        let portions = u32::try_from(cost.div_ceil(PORTION_BYTES)).unwrap_or(u32::MAX);
        let has = place
            .quota
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        let more = portions.min(self.quota_portions) as usize;
        let more = more.saturating_sub(has);
        if more == 0 {
            return;
        }
        let quota = acquire(&self.quota, more as u32);
        let quota = self.quota_uploads.make_room(more, patience, quota).await;
        let memory = self.memory.charge(more * PORTION_BYTES);
        let memory = self.uploads.make_room(more, patience, memory).await;
        place.memory.merge(memory);
        match &mut place.quota {
            Some(has) => has.merge(quota),
            none => *none = Some(quota),
        }
    }
}

/// What a body of this size is charged.
fn cost(size: usize) -> usize {
    size.saturating_sub(FREE_BYTES) * BYTES_PER_BYTE
}

async fn acquire(semaphore: &Arc<Semaphore>, portions: u32) -> OwnedSemaphorePermit {
    Arc::clone(semaphore)
        .acquire_many_owned(portions)
        .await
        .expect("the semaphore is never closed")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::{body::Body, http::HeaderMap};
    use futures_util::stream;

    use super::*;
    use crate::memory::Budget;

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
        BodyReader::for_tenants(1, max_bytes, &Budget::default().webhook_bodies)
            .next()
            .unwrap()
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
        let pool = Pool::new("test", 8 * PORTION_BYTES);
        let size = FREE_BYTES + 4 * PORTION_BYTES;
        let reader = BodyReader::for_tenants(1, size, &pool).next().unwrap();
        let mut first = whole(vec![0; FREE_BYTES + 3]);
        let held = reader.read(&mut first, None).await.ok().unwrap();
        assert_eq!(pool.used(), PORTION_BYTES);
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
        assert_eq!(pool.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_to_one_tenant_leave_half_of_the_memory_to_another() {
        let pool = Pool::new("test", 4 * BYTES_PER_BYTE * PORTION_BYTES);
        let size = FREE_BYTES + PORTION_BYTES;
        let mut readers = BodyReader::for_tenants(2, size, &pool);
        let [flooded, other] = [(); 2].map(|()| readers.next().unwrap());
        let mut held = Vec::new();
        for reader in [&flooded, &other] {
            for _ in 0..2 {
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
