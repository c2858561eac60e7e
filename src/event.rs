//! Events: what Kora reports by webhook, which of them a caller wants, and where a stream of them stands.
//!
//! An event is encoded once, when it arrives, as the message that callers get: see [`NewEvent`]. From then on
//! it is bytes, beside the few words of it that a filter looks at.

mod body;
mod content;
mod filter;
mod fit;
mod position;
mod token;
mod watch;
mod word_set;

pub use body::{BodyHash, are_bodies_equal};
pub use content::{
    BODY_ID_PREFIX, Content, Identity, MAX_EVENT_BYTES, NewEvent, Payload, RAW_JSON_TAG,
    RECONCILED_ID_PREFIX, reconciled_id,
};
pub use filter::{Filter, FilterKeys, Keys};
pub use position::{LogId, Position};
pub use token::{MalformedToken, ResumeToken};
pub use watch::{OnGap, Start, WatchRequest};
pub use word_set::{NoRoomForFilter, SharedWordSets, WordSet};

/// The type of the event that tells a screening's result.
pub const SCREENING_COMPLETED: &str = "screening.completed";

/// The type of the event that tells that Kora gave a screening up.
pub const SCREENING_FAILED: &str = "screening.failed";

/// The type of an authentic event that cannot be read.
pub const UNREADABLE: &str = "gateway.unreadable";
