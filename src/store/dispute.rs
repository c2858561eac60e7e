//! Whether two events tell different ends of a screening.

use prost::Message;

use crate::pb::{self, event::Payload};

/// Whether both of these encoded events tell a decision, and not the same one.
pub(super) fn decisions_differ(reconciled: &[u8], webhook: &[u8]) -> bool {
    let told = |event| Some(decision_of(event)?.outcome_code);
    matches!((told(reconciled), told(webhook)), (Some(one), Some(other)) if one != other)
}

fn decision_of(event: &[u8]) -> Option<pb::Decision> {
    match pb::Event::decode(event).ok()?.payload? {
        Payload::ScreeningUpdate(update) => update.screening?.decision,
        _ => None,
    }
}
