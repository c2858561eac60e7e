//! What goes wrong with webhooks, by command.

use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::emulator::scenario::read_delay;

/// The most extra copies of a delivery.
const MAX_DUPLICATES: u32 = 100;

/// The faults of all deliveries that begin while they are set. The document is replaced as a whole:
/// what it does not name is off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Faults {
    /// Extra copies of every delivery. All copies are sent at the same time.
    #[serde(deserialize_with = "read_duplicates")]
    pub(super) duplicates: u32,
    /// How long every delivery waits before its first attempt.
    #[serde(rename = "delay_milliseconds", deserialize_with = "read_delay")]
    pub(super) delay: Duration,
    /// Two deliveries that follow each other change places.
    pub(super) disorder: bool,
    /// So many deliveries are first signed wrongly. Whatever the answer is, they are repeated rightly.
    pub(super) bad_signature: u32,
    /// No id is made up for an event. One that was given by hand stays.
    pub(super) omit_id: bool,
    /// Nothing is sent.
    pub(super) withhold: bool,
}

impl Faults {
    /// Whether a delivery that begins now is first signed wrongly.
    pub(super) fn take_bad_signature(&mut self) -> bool {
        let taken = self.bad_signature > 0;
        self.bad_signature -= u32::from(taken);
        taken
    }
}

fn read_duplicates<'de, D: Deserializer<'de>>(number: D) -> Result<u32, D::Error> {
    let duplicates = u32::deserialize(number)?;
    if duplicates > MAX_DUPLICATES {
        let sentence = format!("there are at most {MAX_DUPLICATES} duplicates");
        return Err(D::Error::custom(sentence));
    }
    Ok(duplicates)
}
