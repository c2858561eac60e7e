//! What holds for every input from outside, whatever its bytes are.
//!
//! Each target takes bytes and panics where a property does not hold. The fuzzer calls them (`tests/fuzz/run`), and
//! the tests call them with the kept corpus. They are compiled for these two alone.

pub(crate) mod input;
pub(crate) mod members;
pub(crate) mod message;
#[cfg(test)]
mod replay;
mod resume_token;

pub use crate::{
    kora::properties::{kora_answer, retry_after},
    store::properties::stored_record,
    webhook::properties::{webhook_event, webhook_signature},
};
pub use resume_token::resume_token;

/// A target's name, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target. Each has a program in `targets` and a folder in `corpus`.
pub const TARGETS: [Target; 6] = [
    ("kora_answer", kora_answer),
    ("resume_token", resume_token),
    ("retry_after", retry_after),
    ("stored_record", stored_record),
    ("webhook_event", webhook_event),
    ("webhook_signature", webhook_signature),
];
