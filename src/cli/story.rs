//! The onboarding story of the demo: every step a real call, checked against what it should show.

mod later;

use std::{net::SocketAddr, time::Duration};

use tonic::Status;
use tonic_types::StatusExt;

use super::{
    client::{Client, with_timeout},
    failure::{Failed, Kind},
    print, say,
};
use crate::pb::{self, screen_request::Party};

/// How long one step may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// Who comes to be screened, and what the emulator decides on each.
const PARTIES: [(&str, pb::SubjectType, &str, pb::Outcome); 5] = [
    (
        "Test Clean User",
        pb::SubjectType::Individual,
        "US",
        pb::Outcome::Approve,
    ),
    (
        "Test Monitored User",
        pb::SubjectType::Individual,
        "DE",
        pb::Outcome::ApproveWithMonitoring,
    ),
    (
        "Test PEP Person",
        pb::SubjectType::Individual,
        "NG",
        pb::Outcome::ReviewRequired,
    ),
    (
        "Test Sanctioned Entity",
        pb::SubjectType::Entity,
        "IR",
        pb::Outcome::Block,
    ),
    (
        "Test Unknown Decision",
        pb::SubjectType::Individual,
        "FR",
        pb::Outcome::Unrecognized,
    ),
];

/// Plays the story and prints every step as it happens.
///
/// # Errors
/// The first step that did not go as told.
pub(super) async fn tell(mut client: Client) -> Result<(), String> {
    row("CALL", "ABOUT", "ANSWER");
    let subject_id = create_subject(&mut client).await?;
    let known = Party::SubjectId(subject_id.clone());
    let about = format!("by id: {subject_id}");
    screen(&mut client, &about, known, pb::Outcome::Approve).await?;
    for (name, kind, country, expected) in PARTIES {
        let subject = pb::SubjectProfile {
            r#type: kind.into(),
            name: name.to_owned(),
            country: country.to_owned(),
            ..Default::default()
        };
        screen(&mut client, name, Party::Subject(subject), expected).await?;
    }
    refuse(&mut client).await?;
    later::screen(&mut client).await
}

/// A line for a shell that screens one of the parties through the gateway.
pub(super) fn grpcurl_line(grpc: SocketAddr) -> String {
    format!(
        "grpcurl -plaintext -d '{{\"subject\": {{\"type\": \"SUBJECT_TYPE_INDIVIDUAL\", \
         \"name\": \"Test PEP Person\", \"nationality\": \"NG\"}}, \
         \"purpose\": \"SCREENING_PURPOSE_ONBOARDING\", \"checks\": [\"CHECK_TYPE_PEP\"]}}' \
         {grpc} {}/Screen",
        pb::SERVICE_NAME
    )
}

async fn create_subject(client: &mut Client) -> Result<String, String> {
    let subject = pb::SubjectProfile {
        r#type: pb::SubjectType::Individual.into(),
        name: "Jane Smith".to_owned(),
        date_of_birth: "1985-03-20".to_owned(),
        nationality: "GB".to_owned(),
        identifiers: vec![pb::Identifier {
            r#type: "PASSPORT".to_owned(),
            value: "GB123456".to_owned(),
            country: "GB".to_owned(),
        }],
        ..Default::default()
    };
    let request = pb::CreateSubjectRequest {
        subject: Some(subject),
        request_id: String::new(),
    };
    let answer = client
        .create_subject(with_timeout(request, STEP_TIMEOUT))
        .await
        .map_err(|status| Failed::from(status).sentence(Kind::Paid))?;
    let created = answer.into_inner().subject.unwrap_or_default();
    row("CreateSubject", "Jane Smith", &created.subject_id);
    match created.subject_id.is_empty() {
        true => Err("CreateSubject answered no id".to_owned()),
        false => Ok(created.subject_id),
    }
}

async fn screen(
    client: &mut Client,
    about: &str,
    party: Party,
    expected: pb::Outcome,
) -> Result<(), String> {
    let request = pb::ScreenRequest {
        party: Some(party),
        purpose: pb::ScreeningPurpose::Onboarding.into(),
        checks: vec![pb::CheckType::Sanctions.into(), pb::CheckType::Pep.into()],
        ..Default::default()
    };
    let answer = client
        .screen(with_timeout(request, STEP_TIMEOUT))
        .await
        .map_err(|status| Failed::from(status).sentence(Kind::Paid))?;
    let screening = answer.into_inner().screening.unwrap_or_default();
    row("Screen", about, &print::decision(&screening));
    let outcome = screening.decision.as_ref().map(pb::Decision::outcome);
    match outcome == Some(expected) {
        true => Ok(()),
        false => Err(format!("{about} should be {}", expected.as_str_name())),
    }
}

/// A request with three bad fields: all are named at once, and nothing goes to Kora.
async fn refuse(client: &mut Client) -> Result<(), String> {
    let subject = pb::SubjectProfile {
        r#type: pb::SubjectType::Individual.into(),
        date_of_birth: "1985-02-30".to_owned(),
        nationality: "Britain".to_owned(),
        ..Default::default()
    };
    let request = pb::ScreenRequest {
        party: Some(Party::Subject(subject)),
        purpose: pb::ScreeningPurpose::Onboarding.into(),
        checks: vec![pb::CheckType::Sanctions.into()],
        ..Default::default()
    };
    let Err(status) = client.screen(with_timeout(request, STEP_TIMEOUT)).await else {
        return Err("a request with bad fields was accepted".to_owned());
    };
    let reason = status.get_details_error_info().map(|info| info.reason);
    let fields = bad_fields(&status);
    let mut answer = format!("{}:", reason.as_deref().unwrap_or("no reason"));
    for (field, description) in &fields {
        row(
            "Screen",
            "with bad fields",
            &format!("{answer} {field} {description}"),
        );
        answer.clear();
    }
    let named: Vec<_> = fields.iter().map(|(field, _)| field.as_str()).collect();
    let expected = [
        "subject.name",
        "subject.date_of_birth",
        "subject.nationality",
    ];
    match reason.as_deref() == Some("INVALID_REQUEST") && named == expected {
        true => Ok(()),
        false => Err(format!("the bad fields should be {}", expected.join(", "))),
    }
}

fn bad_fields(status: &Status) -> Vec<(String, String)> {
    status
        .get_details_bad_request()
        .into_iter()
        .flat_map(|bad| bad.field_violations)
        .map(|violation| (violation.field, violation.description))
        .collect()
}

fn row(call: &str, about: &str, answer: &str) {
    say(format_args!("{call:<14} {about:<46} {answer}"));
}

#[cfg(test)]
mod tests {
    use tonic::transport::Endpoint;

    use super::{super::client::connect, *};
    use crate::{
        app::{self, Listeners, Surroundings},
        clock::Clock,
        config::{Config, Environment},
        lifecycle::{Readiness, Reload, Shutdown},
    };

    #[tokio::test]
    async fn a_step_that_does_not_go_as_told_fails_the_story() {
        let data = tempfile::tempdir().unwrap();
        let flags = super::super::demo::flags(data.path());
        let loaded = Config::load(flags, &Environment::new(), true).unwrap();
        let listeners = Listeners::bind(&loaded.config).await.unwrap();
        let url = format!("http://{}", listeners.grpc.addr());
        let surroundings = Surroundings {
            clock: Clock::system(),
            readiness: Readiness::default(),
            shutdown: Shutdown::default(),
            reload: Reload::default(),
        };
        let shutdown = surroundings.shutdown.clone();
        let gateway = tokio::spawn(app::run(loaded.config, listeners, surroundings));
        let endpoint = Endpoint::from_shared(url).unwrap();
        let Ok(mut client) = connect(&endpoint).await else {
            panic!("the gateway does not answer");
        };
        let blocked = || {
            Party::Subject(pb::SubjectProfile {
                r#type: pb::SubjectType::Entity.into(),
                name: "Test Sanctioned Entity".to_owned(),
                ..Default::default()
            })
        };
        let as_told = screen(&mut client, "it", blocked(), pb::Outcome::Block).await;
        assert_eq!(as_told, Ok(()));
        let other = screen(&mut client, "it", blocked(), pb::Outcome::Approve).await;
        assert!(other.unwrap_err().contains("OUTCOME_APPROVE"));
        drop(client);
        shutdown.start();
        gateway.await.unwrap().unwrap();
    }
}
