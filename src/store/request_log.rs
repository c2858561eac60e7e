//! The law of the request records.

use std::fmt;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use prost::Message;
use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

use super::{AppendError, ReadError};
use crate::{pb, screening::MAX_MESSAGE_BYTES};

/// The number of the form of a request record without a summary, and of one with it.
const FORMAT: u32 = 1;
const FORMAT_WITH_SUMMARY: u32 = 2;

/// One tenant's records of the requests that had a `request_id`. Every backend keeps this law:
///
/// 1. **Durable first.** `begin` and `finish` are answered only when what they wrote would survive a power
///    cut.
/// 2. **One at a time.** Of any number of `begin`s with one key, the first one wins, and the others are
///    told what is there. Only a record that says that it may be repeated gives its place to another
///    `begin`, and only to one with the same content.
/// 3. **Compare and set.** `finish` changes the record of its own attempt alone, and only once. It also replaces
///    the mark that this attempt was abandoned, which is not an end. The same `finish` again, whose first one may have
///    landed, is told that it did.
/// 4. **In order.** What one process asks for with one key happens in the order in which it asked.
/// 5. **Nothing damaged.** Each record has a checksum. A record that differs is never taken for an answer,
///    and stands in the way of every `begin`.
/// 6. **Kept for a while.** A record is removed once it ended longer ago than the retention. One that an earlier
///    process left open counts from the moment at which it was marked as abandoned. A record that is open in a
///    living process is never removed.
/// 7. **Bounded in size.** At the size bound stored answers are evicted, the oldest ends first: the record stays
///    with its summary. A record itself is never removed for its size. When records without their answers fill the
///    bound, `begin` of a new key is refused as `Full`; known keys and `finish` work as ever.
pub trait RequestLog: Send + Sync + 'static {
    /// Records that a request is about to be sent.
    ///
    /// # Errors
    /// See [`AppendError`]. After `Unavailable` nothing is recorded; after any other it may be all the same.
    fn begin(&self, intent: Intent) -> BoxFuture<'_, Result<Begun, AppendError>>;

    /// Records how a request ended. False if the record is not this attempt's, or has ended otherwise before.
    ///
    /// # Errors
    /// See [`AppendError`]; it may be recorded all the same.
    fn finish(&self, ending: Ending) -> BoxFuture<'_, Result<bool, AppendError>>;

    /// Reads what is known of a request.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn request(&self, key: RequestKey) -> BoxFuture<'_, Result<Option<StoredRequest>, ReadError>>;

    /// Whether there are records of this scope. It is asked once in a while, and looks at a bounded number of records: in
    /// a log with very many it can miss a scope that is neither among the oldest nor among the newest.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn has_scope(&self, scope: String) -> BoxFuture<'_, Result<bool, ReadError>>;

    /// How large the answer of an [`Ending`] may be, in bytes. A larger one may be refused.
    fn max_answer_bytes(&self) -> usize {
        MAX_MESSAGE_BYTES
    }
}

/// By what a request is known: the id is the caller's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestKey {
    /// The scope of the caller's ids: the name that it had when the first of them was recorded.
    pub caller: String,
    /// The caller's id of the request.
    pub request_id: Uuid,
}

/// A request that is about to be sent.
#[derive(Clone, Debug)]
pub struct Intent {
    /// By what it is known.
    pub key: RequestKey,
    /// Which RPC, and what its message means. Two requests with one key have to agree on it.
    pub content: RequestContent,
    /// Made up anew for each `begin`.
    pub attempt: Uuid,
}

/// What a request asks for, as far as a repetition is compared with it.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestContent {
    /// The RPC's name, such as `Screen`.
    pub rpc: String,
    /// SHA-256 over what the message means.
    pub fingerprint: [u8; 32],
}

/// How a request ended.
#[derive(Clone)]
pub struct Ending {
    /// By what it is known.
    pub key: RequestKey,
    /// That of its `begin`.
    pub attempt: Uuid,
    /// How.
    pub state: StoredState,
    /// What was answered.
    pub answer: Bytes,
    /// What stays when the answer is evicted.
    pub summary: Summary,
}

/// What stays of an answer that is evicted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Kora's id of the screening or subject; empty where there is none.
    pub result_id: String,
    /// The name of the error's reason; empty for a result.
    pub reason: String,
}

/// What became of a `begin`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one exists for a moment for each call, and is never kept"
)]
pub enum Begun {
    /// It is recorded, and may be sent.
    New,
    /// This is there, and it may not be sent.
    Found(StoredRequest),
    /// What is there is damaged, and it may not be sent.
    Damaged,
    /// The key is new, and records fill their size bound even without answers. Nothing is recorded, and it may not
    /// be sent.
    Full,
}

/// How far a recorded request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredState {
    /// Recorded, and perhaps sent.
    InFlight,
    /// Answered with a result.
    Succeeded,
    /// Answered with an error, for good.
    Failed,
    /// Answered with an error after which the same request may be sent again.
    MayBeRepeated,
    /// Left open by a process that is gone: it was perhaps sent, and nobody knows.
    Abandoned,
}

/// A recorded request.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredRequest {
    /// By what it is known.
    pub key: RequestKey,
    /// What it asked for.
    pub content: RequestContent,
    /// Which `begin` it is.
    pub attempt: Uuid,
    /// How far it is.
    pub state: StoredState,
    /// What was answered; empty while in flight, where it was abandoned, and where the answer was evicted.
    pub answer: Bytes,
    /// What stays when the answer is evicted; empty in records of older versions.
    pub summary: Summary,
    /// Whether there was an answer that was evicted.
    pub is_evicted: bool,
    /// When it was recorded, to the millisecond.
    pub create_time: Timestamp,
    /// When its end was recorded; `None` while in flight, and where it was abandoned.
    pub finish_time: Option<Timestamp>,
    /// Whether it is in flight at another process, which has said lately that it lives. It is found out when the
    /// record is read, and no part of it.
    pub is_held_elsewhere: bool,
}

impl StoredState {
    /// Its number in a file.
    pub(super) fn number(self) -> i64 {
        match self {
            StoredState::InFlight => 1,
            StoredState::Succeeded => 2,
            StoredState::Failed => 3,
            StoredState::MayBeRepeated => 4,
            StoredState::Abandoned => 5,
        }
    }

    /// The state of a number.
    pub(super) fn from_number(number: i64) -> Option<Self> {
        [
            StoredState::InFlight,
            StoredState::Succeeded,
            StoredState::Failed,
            StoredState::MayBeRepeated,
            StoredState::Abandoned,
        ]
        .into_iter()
        .find(|state| state.number() == number)
    }
}

impl StoredRequest {
    /// Whether it is what an earlier try with this ending wrote, whatever was evicted since.
    pub(super) fn has_ended_so(&self, ending: &Ending) -> bool {
        self.attempt == ending.attempt
            && self.state == ending.state
            && self.summary == ending.summary
            && (self.is_evicted || self.answer == ending.answer)
    }

    /// The same request, left open by a process that is gone.
    pub(super) fn abandoned(self) -> Self {
        StoredRequest {
            state: StoredState::Abandoned,
            is_held_elsewhere: false,
            ..self
        }
    }

    /// The same record without its answer; `None` if it has none that could be evicted. Records of older versions
    /// have no summary: that of a result is read from its message.
    pub(super) fn evicted(mut self) -> Option<Self> {
        if self.is_evicted {
            return None;
        }
        match self.state {
            StoredState::InFlight | StoredState::Abandoned => return None,
            StoredState::Succeeded if self.summary.result_id.is_empty() => {
                self.summary.result_id = id_in(&self.content.rpc, &self.answer)?;
            }
            StoredState::Succeeded => {}
            StoredState::Failed | StoredState::MayBeRepeated => {
                if self.summary.reason.is_empty() {
                    return None;
                }
            }
        }
        Some(StoredRequest {
            answer: Bytes::new(),
            is_evicted: true,
            ..self
        })
    }

    /// Over all of it, each part with its length, so that no two records make the same text. Without a summary it
    /// is the checksum that older versions stored.
    pub(super) fn checksum(&self) -> u64 {
        let mut hash = Xxh3::new();
        let has_summary = self.is_evicted || self.summary != Summary::default();
        let format = if has_summary {
            FORMAT_WITH_SUMMARY
        } else {
            FORMAT
        };
        hash.update(&format.to_le_bytes());
        let finish_time = self.finish_time.map(Timestamp::as_millisecond);
        for part in [
            self.key.caller.as_bytes(),
            self.key.request_id.as_bytes(),
            self.content.rpc.as_bytes(),
            &self.content.fingerprint,
            self.attempt.as_bytes(),
            &self.state.number().to_le_bytes(),
            &self.answer,
            &self.create_time.as_millisecond().to_le_bytes(),
            &finish_time.map_or([0; 8], i64::to_le_bytes),
        ] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        if has_summary {
            for part in [
                self.summary.result_id.as_bytes(),
                self.summary.reason.as_bytes(),
                &[u8::from(self.is_evicted)],
            ] {
                hash.update(&(part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        hash.digest()
    }
}

/// Kora's id in an encoded result.
fn id_in(rpc: &str, answer: &Bytes) -> Option<String> {
    let id = match rpc {
        "Screen" => pb::Screening::decode(answer.clone()).ok()?.screening_id,
        "CreateSubject" => pb::Subject::decode(answer.clone()).ok()?.subject_id,
        _ => return None,
    };
    (!id.is_empty()).then_some(id)
}

impl fmt::Debug for StoredRequest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("StoredRequest")
            .field("key", &self.key)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// Of personal data even a hash can be guessed.
impl fmt::Debug for RequestContent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RequestContent")
            .field("rpc", &self.rpc)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Ending {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Ending")
            .field("key", &self.key)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_what_was_asked_nor_the_answer_is_printed() {
        let key = || RequestKey {
            caller: "a".to_owned(),
            request_id: Uuid::nil(),
        };
        let content = || RequestContent {
            rpc: "Screen".to_owned(),
            fingerprint: [77; 32],
        };
        let ending = Ending {
            key: key(),
            attempt: Uuid::nil(),
            state: StoredState::Succeeded,
            answer: "MARKER".into(),
            summary: Summary::default(),
        };
        let stored = StoredRequest {
            key: key(),
            content: content(),
            attempt: Uuid::nil(),
            state: StoredState::Succeeded,
            answer: "MARKER".into(),
            summary: Summary::default(),
            is_evicted: false,
            create_time: Timestamp::UNIX_EPOCH,
            finish_time: None,
            is_held_elsewhere: false,
        };
        let intent = Intent {
            key: key(),
            content: content(),
            attempt: Uuid::nil(),
        };
        for printed in [
            format!("{ending:?}"),
            format!("{intent:?}"),
            format!("{:?}", Begun::Found(stored)),
        ] {
            assert!(
                !printed.contains("MARKER") && !printed.contains("77"),
                "{printed}"
            );
        }
    }
}
