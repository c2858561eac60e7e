//! The end of the story: a screening whose result comes as an event.

use tokio::time::timeout;
use tonic::Status;

use super::{
    super::{
        client::{Client, with_timeout},
        failure::{Failed, Kind},
        print,
    },
    STEP_TIMEOUT, row,
};
use crate::pb::{self, screen_request::Party};

/// An asynchronous screening: its answer says only that it was taken, and the result comes on the stream.
pub(super) async fn screen(client: &mut Client) -> Result<(), String> {
    let read = |status: Status| Failed::from(status).sentence(Kind::Reading);
    let events = client
        .watch_events(pb::WatchEventsRequest::default())
        .await
        .map_err(read)?;
    let mut events = events.into_inner();
    let subject = pb::SubjectProfile {
        r#type: pb::SubjectType::Entity.into(),
        name: "Test Sanctioned Entity".to_owned(),
        country: "IR".to_owned(),
        ..Default::default()
    };
    let request = pb::ScreenRequest {
        party: Some(Party::Subject(subject)),
        mode: pb::ScreeningMode::Async.into(),
        purpose: pb::ScreeningPurpose::Periodic.into(),
        checks: vec![pb::CheckType::Sanctions.into()],
        ..Default::default()
    };
    let answer = client
        .screen(with_timeout(request, STEP_TIMEOUT))
        .await
        .map_err(|status| Failed::from(status).sentence(Kind::Paid))?;
    let taken = answer.into_inner().screening.unwrap_or_default();
    row("Screen", "asynchronously", &print::decision(&taken));
    if taken.decision.is_some() {
        return Err("an asynchronous screening was decided at once".to_owned());
    }
    let result = async {
        while let Some(message) = events.message().await.map_err(read)? {
            for event in &message.events {
                if let Some(screening) = told(event, &taken.screening_id) {
                    return Ok(screening.decision.as_ref().map(pb::Decision::outcome));
                }
            }
        }
        Err("the stream ended before the result".to_owned())
    };
    let outcome = timeout(STEP_TIMEOUT, result)
        .await
        .map_err(|_| "no event told of the asynchronous result in time".to_owned())??;
    match outcome {
        Some(pb::Outcome::Block) => Ok(()),
        _ => Err("the asynchronous result should be OUTCOME_BLOCK".to_owned()),
    }
}

/// Prints an event, and hands out what it says if it is the end of the screening.
fn told<'a>(event: &'a pb::Event, screening_id: &str) -> Option<&'a pb::Screening> {
    let news = match &event.payload {
        Some(pb::event::Payload::ScreeningUpdate(update)) => update.screening.as_ref(),
        _ => None,
    };
    let answer = match (news, &event.payload) {
        (Some(screening), _) => print::decision(screening),
        (None, Some(pb::event::Payload::MatchFound(found))) => {
            let found = found.r#match.as_ref();
            format!(
                "a match on {}",
                found.map_or("a list", |found| &found.source)
            )
        }
        _ => String::new(),
    };
    row("WatchEvents", &event.r#type, &answer);
    news.filter(|_| event.r#type == "screening.completed" && event.screening_id == screening_id)
}
