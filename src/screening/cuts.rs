//! What was left out of a message that was too large.

use std::{collections::BTreeSet, fmt};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

/// A part of a message that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Kora's body.
    RawJson,
    /// The fields of matches that have no field of their own.
    MatchFields,
    /// Matches.
    Matches,
    /// The end of a decision's explanation.
    Explanation,
    /// Rules of a decision, or their ends.
    TriggeredRules,
    /// A subject's profile.
    Profile,
    /// The fields of an event that have no field of their own.
    EventFields,
    /// The whole payload of an event.
    Payload,
}

/// What was left out of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts(BTreeSet<Part>);

/// Counts messages that were too large, by what was left out of them.
pub type CutCounter = Family<PartLabel, Counter>;

/// What was left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PartLabel {
    part: &'static str,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::RawJson => "raw_json",
            Part::MatchFields => "match_fields",
            Part::Matches => "matches",
            Part::Explanation => "explanation",
            Part::TriggeredRules => "triggered_rules",
            Part::Profile => "profile",
            Part::EventFields => "event_fields",
            Part::Payload => "payload",
        }
    }
}

impl Cuts {
    /// This was left out.
    pub fn add(&mut self, part: Part) {
        self.0.insert(part);
    }

    /// These were left out, too.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether nothing was left out.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counts each part.
    pub fn count(&self, counter: &CutCounter) {
        for part in &self.0 {
            let part = part.name();
            counter.get_or_create(&PartLabel { part }).inc();
        }
    }
}

impl fmt::Display for Cuts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, part) in self.0.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            write!(out, "{comma}{}", part.name())?;
        }
        Ok(())
    }
}
