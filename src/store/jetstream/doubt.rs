//! Whether what one server says of a stream is proof that something was lost.
//!
//! A leader that was just elected can be behind what its majority has, and one that was deposed answers until it notices.
//! So loss is certain only once one leader, which hears from a majority all the while, has said the same for some time.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_nats::jetstream::stream::Info;
use tokio::time::Instant;

/// For how long a leader has to say the same. A leader that is elected applies what it has within milliseconds, or
/// within seconds where its disk is slow.
const CERTAIN_AFTER: Duration = Duration::from_secs(5);

/// Within which time a leader has heard from a server that counts for its majority. Servers send heartbeats each second.
const HEARD_WITHIN: Duration = Duration::from_secs(3);

/// What is doubtful at present.
#[derive(Debug, Default)]
pub(super) struct Doubts(Mutex<Option<Doubt>>);

#[derive(Debug)]
struct Doubt {
    leader: String,
    since: Instant,
}

impl Doubts {
    /// A leader said what was expected.
    pub(super) fn dispel(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether this answer, which does not fit what was seen, is certain by now.
    pub(super) fn is_certain(&self, info: &Info) -> bool {
        let mut doubt = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(cluster) = &info.cluster else {
            return true;
        };
        if cluster.replicas.is_empty() {
            // The only server that has it.
            return true;
        }
        let Some(leader) = cluster.leader.as_ref().filter(|_| has_majority(info)) else {
            *doubt = None;
            return false;
        };
        match &*doubt {
            Some(known) if known.leader == *leader => known.since.elapsed() >= CERTAIN_AFTER,
            _ => {
                *doubt = Some(Doubt {
                    leader: leader.clone(),
                    since: Instant::now(),
                });
                false
            }
        }
    }
}

fn has_majority(info: &Info) -> bool {
    let replicas = info.cluster.iter().flat_map(|cluster| &cluster.replicas);
    let (mut all, mut heard) = (1, 1);
    for replica in replicas {
        all += 1;
        if !replica.offline && replica.active <= HEARD_WITHIN {
            heard += 1;
        }
    }
    heard > all / 2
}
