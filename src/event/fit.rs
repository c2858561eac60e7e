//! Makes the payload of an event fit into so many bytes.

use prost::Message;

use crate::{
    pb::{self, event::Payload},
    screening::{Cuts, Part, fit_screening},
};

/// Makes an event fit into `room` bytes. A payload that does not, whatever is left out of it, goes.
pub(super) fn fit_event(event: &mut pb::Event, room: usize) -> Cuts {
    let mut cuts = Cuts::default();
    let size = event.encoded_len();
    match &mut event.payload {
        Some(Payload::ScreeningUpdate(update)) => {
            if let Some(screening) = &mut update.screening {
                let around = size - screening.encoded_len();
                cuts.extend(fit_screening(screening, room.saturating_sub(around)));
            }
        }
        Some(Payload::MatchFound(found)) if size > room => {
            if let Some(found) = &mut found.r#match {
                found.fields = None;
                found.fields_omitted = true;
                cuts.add(Part::MatchFields);
            }
        }
        Some(Payload::RiskThresholdBreached(breach)) if size > room => {
            breach.fields = None;
            breach.fields_omitted = true;
            cuts.add(Part::EventFields);
        }
        Some(Payload::MatchFound(_) | Payload::RiskThresholdBreached(_)) | None => {}
    }
    if event.encoded_len() > room && event.payload.take().is_some() {
        event.payload_omitted = true;
        cuts.add(Part::Payload);
    }
    cuts
}
