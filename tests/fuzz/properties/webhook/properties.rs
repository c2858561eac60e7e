//! What holds for every webhook.

mod events;
mod signatures;

pub use events::webhook_event;
pub use signatures::webhook_signature;
