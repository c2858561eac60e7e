//! What a message brings is printed first, and only then is its token remembered.

use std::io::{self, Write};

use thiserror::Error;

use super::{
    super::print,
    lines,
    place::{Place, PlaceError},
    seen::Seen,
};
use crate::pb;

/// How an event is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A line for people.
    Line,
    /// A JSON object.
    Json,
}

/// Where the events go.
pub(super) struct Delivery {
    out: Box<dyn Write + Send + Sync>,
    form: Form,
    place: Option<Place>,
    seen: Seen,
}

/// Why a message was not delivered.
#[derive(Debug, Error)]
pub(super) enum Undelivered {
    /// Whoever read the events has gone away.
    #[error("nobody reads the events any more")]
    ReaderGone,
    /// They cannot be printed.
    #[error("cannot print the events: {0}")]
    Print(io::Error),
    /// This one cannot be printed as JSON.
    #[error("the event {event_id} has no JSON form ({source}): watch it without --json")]
    NoJson {
        event_id: String,
        source: serde_json::Error,
    },
    /// The place cannot be remembered.
    #[error(transparent)]
    Place(#[from] PlaceError),
}

impl Delivery {
    /// Prints to `out` in this form, and remembers the place, where there is one to remember it in.
    pub(super) fn new(
        out: Box<dyn Write + Send + Sync>,
        form: Form,
        place: Option<Place>,
    ) -> Delivery {
        Delivery {
            out,
            form,
            place,
            seen: Seen::default(),
        }
    }

    /// Where the place is remembered.
    pub(super) fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// Prints those of the message's events that were not printed yet, then remembers its token. Blocks.
    ///
    /// # Errors
    /// If an event is not printed, and then its token is not remembered; or if the token is not.
    pub(super) fn deliver(&mut self, message: &pb::WatchEventsResponse) -> Result<(), Undelivered> {
        let mut text = String::new();
        for event in &message.events {
            if self.seen.is_new(&event.event_id) {
                text.push_str(&self.form.of(event)?);
                text.push('\n');
            }
        }
        if !text.is_empty() {
            self.out.write_all(text.as_bytes())?;
            self.out.flush()?;
        }
        if let Some(place) = &mut self.place
            && !message.resume_token.is_empty()
        {
            place.store(&message.resume_token)?;
        }
        Ok(())
    }
}

impl Form {
    fn of(self, event: &pb::Event) -> Result<String, Undelivered> {
        match self {
            Form::Line => Ok(lines::event(event)),
            Form::Json => print::json_line("Event", event).map_err(|source| Undelivered::NoJson {
                event_id: print::plain(&event.event_id),
                source,
            }),
        }
    }
}

impl From<io::Error> for Undelivered {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Undelivered::ReaderGone,
            _ => Undelivered::Print(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breach(score: f64) -> pb::Event {
        let number = prost_types::Value {
            kind: Some(prost_types::value::Kind::NumberValue(score)),
        };
        let breach = pb::RiskThresholdBreached {
            subject_id: "sub\n1".to_owned(),
            fields: Some(prost_types::Struct {
                fields: [("score".to_owned(), number)].into(),
            }),
            ..Default::default()
        };
        pb::Event {
            event_id: "evt_1".to_owned(),
            r#type: "risk.threshold_breached".to_owned(),
            source: pb::EventSource::Webhook.into(),
            raw_json: b"{}".to_vec(),
            payload: Some(pb::event::Payload::RiskThresholdBreached(breach)),
            ..Default::default()
        }
    }

    #[test]
    fn json_is_one_line_with_the_protos_names() {
        assert_eq!(
            Form::Json.of(&breach(1.5)).unwrap(),
            r#"{"event_id":"evt_1","type":"risk.threshold_breached","source":"EVENT_SOURCE_WEBHOOK","raw_json":"e30=","risk_threshold_breached":{"subject_id":"sub\n1","fields":{"score":1.5}}}"#
        );
    }

    #[test]
    fn what_json_cannot_say_is_an_error_with_a_way_out() {
        let problem = Form::Json.of(&breach(f64::NAN)).unwrap_err().to_string();
        assert!(problem.starts_with("the event evt_1 has no JSON form"));
        assert!(problem.ends_with("watch it without --json"), "{problem}");
        assert!(Form::Line.of(&breach(f64::NAN)).is_ok());
    }
}
