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

/// After how long without a word from its majority a leader may have been deposed: then others begin an election.
const DEPOSED_AFTER: Duration = Duration::from_secs(4);

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
        let Some(leader) = cluster
            .leader
            .as_ref()
            .filter(|_| has_majority(info, HEARD_WITHIN))
        else {
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

/// Whether the leader that says this may have been deposed: it was cut off from the majority.
pub(super) fn may_be_deposed(info: &Info) -> bool {
    !has_majority(info, DEPOSED_AFTER)
}

fn has_majority(info: &Info, heard_within: Duration) -> bool {
    let replicas = info.cluster.iter().flat_map(|cluster| &cluster.replicas);
    let (mut all, mut heard) = (1, 1);
    for replica in replicas {
        all += 1;
        if !replica.offline && replica.active <= heard_within {
            heard += 1;
        }
    }
    heard > all / 2
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What a leader says of a stream, beside replicas that were heard from so long ago.
    fn info(leader: &str, replicas: &[Duration]) -> Info {
        let replica = |active: &Duration| -> Value {
            json!({"name": "r", "current": true, "active": active.as_nanos() as u64})
        };
        let replicas: Vec<_> = replicas.iter().map(replica).collect();
        serde_json::from_value(json!({
            "config": {"name": "S", "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0, "retention": "limits",
                       "storage": "file", "num_replicas": 3, "discard": "new"},
            "created": "2026-01-01T00:00:00Z",
            "state": {"messages": 0, "bytes": 0, "first_seq": 0, "first_ts": "2026-01-01T00:00:00Z", "last_seq": 0,
                      "last_ts": "2026-01-01T00:00:00Z", "consumer_count": 0},
            "cluster": {"name": "test", "leader": leader, "replicas": replicas},
        }))
        .unwrap()
    }

    const NOW: Duration = Duration::from_millis(100);
    const LONG_AGO: Duration = Duration::from_secs(8);

    #[tokio::test(start_paused = true)]
    async fn a_leader_with_its_majority_is_believed_once_it_has_said_so_for_some_time() {
        let doubts = Doubts::default();
        let settled = info("a", &[NOW, LONG_AGO]);
        assert!(!doubts.is_certain(&settled));
        tokio::time::advance(CERTAIN_AFTER - NOW).await;
        assert!(!doubts.is_certain(&settled));
        tokio::time::advance(NOW).await;
        assert!(doubts.is_certain(&settled));
    }

    #[tokio::test(start_paused = true)]
    async fn another_leader_a_lost_majority_or_a_better_answer_begins_anew() {
        let doubts = Doubts::default();
        let settled = info("a", &[NOW, NOW]);
        for between in [
            Some(info("b", &[NOW, NOW])),
            Some(info("a", &[LONG_AGO, LONG_AGO])),
            None,
        ] {
            assert!(!doubts.is_certain(&settled));
            tokio::time::advance(CERTAIN_AFTER).await;
            match between {
                Some(between) => assert!(!doubts.is_certain(&between)),
                None => doubts.dispel(),
            }
            assert!(!doubts.is_certain(&settled));
        }
    }

    #[test]
    fn a_leader_that_hears_from_nobody_may_be_deposed() {
        assert!(may_be_deposed(&info("a", &[LONG_AGO, LONG_AGO])));
        assert!(!may_be_deposed(&info("a", &[NOW, LONG_AGO])));
        assert!(!may_be_deposed(&info("a", &[])));
    }

    #[tokio::test(start_paused = true)]
    async fn the_only_server_that_has_a_stream_is_believed_at_once() {
        assert!(Doubts::default().is_certain(&info("a", &[])));
    }
}
