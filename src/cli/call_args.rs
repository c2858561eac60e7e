//! The flags of the verbs that call a gateway.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::gateway_args::GatewayArgs;
use crate::pb::{self, screen_request::Party};

/// Where the gateway is, how long to wait, and how to print.
#[derive(Args)]
pub(super) struct CallArgs {
    #[command(flatten)]
    pub(super) gateway: GatewayArgs,
    /// How long to wait for the answer
    #[arg(long, value_name = "DURATION", default_value = "35s", value_parser = humantime::parse_duration)]
    pub(super) timeout: Duration,
    /// Print the answer as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Who is screened or created.
#[derive(Args)]
pub(super) struct ProfileArgs {
    /// What kind of party it is
    #[arg(
        long = "type",
        value_enum,
        value_name = "TYPE",
        default_value = "individual"
    )]
    kind: SubjectType,
    /// The full name
    #[arg(long)]
    name: Option<String>,
    /// YYYY-MM-DD
    #[arg(long, value_name = "DATE")]
    date_of_birth: Option<String>,
    /// Two letters, such as GB
    #[arg(long, value_name = "COUNTRY")]
    nationality: Option<String>,
    /// Two letters, such as GB
    #[arg(long)]
    country: Option<String>,
    /// A document, as TYPE:VALUE or TYPE:VALUE:COUNTRY; can be given again
    #[arg(long = "identifier", value_name = "DOCUMENT", value_parser = identifier)]
    identifiers: Vec<pb::Identifier>,
    /// Your own id of the subject
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
}

#[derive(Args)]
pub(super) struct ScreenArgs {
    #[command(flatten)]
    call: CallArgs,
    /// Screen the subject that Kora has under this id, instead of one described here
    #[arg(long, value_name = "ID", conflicts_with_all = ["name", "kind", "date_of_birth", "nationality", "country", "identifiers", "external_id"])]
    subject_id: Option<String>,
    #[command(flatten)]
    profile: ProfileArgs,
    /// Why
    #[arg(long, value_enum, default_value = "onboarding")]
    purpose: Purpose,
    /// Against what
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "sanctions,pep,adverse-media"
    )]
    checks: Vec<Check>,
    /// Whether to wait for the result
    #[arg(long, value_enum, default_value = "sync")]
    mode: Mode,
    /// A UUID of your own for this request
    #[arg(long, value_name = "UUID")]
    request_id: Option<String>,
    /// What to do when Kora gives up on a SYNC screening
    #[arg(long, value_enum, default_value = "fail")]
    on_timeout: OnTimeout,
}

#[derive(Subcommand)]
pub(super) enum SubjectVerb {
    /// Create a subject
    Create(CreateSubjectArgs),
    /// Read a subject
    Get(GetSubjectArgs),
}

#[derive(Args)]
pub(super) struct CreateSubjectArgs {
    #[command(flatten)]
    call: CallArgs,
    #[command(flatten)]
    profile: ProfileArgs,
    /// A UUID of your own for this request
    #[arg(long, value_name = "UUID")]
    request_id: Option<String>,
}

#[derive(Subcommand)]
pub(super) enum RequestVerb {
    /// Tell what became of a Screen or CreateSubject that had a request_id
    Get(GetRequestArgs),
}

#[derive(Args)]
pub(super) struct GetRequestArgs {
    #[command(flatten)]
    call: CallArgs,
    /// The UUID that the request had
    request_id: String,
}

#[derive(Args)]
pub(super) struct GetSubjectArgs {
    #[command(flatten)]
    call: CallArgs,
    /// Kora's id of the subject
    subject_id: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum SubjectType {
    Individual,
    Entity,
}

#[derive(Clone, Copy, ValueEnum)]
enum Purpose {
    Onboarding,
    Periodic,
}

#[derive(Clone, Copy, ValueEnum)]
enum Check {
    Sanctions,
    Pep,
    AdverseMedia,
}

#[derive(Clone, Copy, ValueEnum)]
enum OnTimeout {
    Fail,
    ContinueAsync,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    Sync,
    Async,
}

impl From<ProfileArgs> for pb::SubjectProfile {
    fn from(args: ProfileArgs) -> Self {
        let kind = match args.kind {
            SubjectType::Individual => pb::SubjectType::Individual,
            SubjectType::Entity => pb::SubjectType::Entity,
        };
        pb::SubjectProfile {
            r#type: kind.into(),
            name: args.name.unwrap_or_default(),
            date_of_birth: args.date_of_birth.unwrap_or_default(),
            nationality: args.nationality.unwrap_or_default(),
            country: args.country.unwrap_or_default(),
            identifiers: args.identifiers,
            external_id: args.external_id.unwrap_or_default(),
            additional_fields: None,
        }
    }
}

impl ScreenArgs {
    /// How to call, and the request.
    pub(super) fn into_call(self) -> (CallArgs, pb::ScreenRequest) {
        let purpose = match self.purpose {
            Purpose::Onboarding => pb::ScreeningPurpose::Onboarding,
            Purpose::Periodic => pb::ScreeningPurpose::Periodic,
        };
        let mode = match self.mode {
            Mode::Sync => pb::ScreeningMode::Sync,
            Mode::Async => pb::ScreeningMode::Async,
        };
        let on_timeout = match self.on_timeout {
            OnTimeout::Fail => pb::TimeoutPolicy::Fail,
            OnTimeout::ContinueAsync => pb::TimeoutPolicy::ContinueAsync,
        };
        let checks = self.checks.into_iter().map(|check| match check {
            Check::Sanctions => pb::CheckType::Sanctions.into(),
            Check::Pep => pb::CheckType::Pep.into(),
            Check::AdverseMedia => pb::CheckType::AdverseMedia.into(),
        });
        let request = pb::ScreenRequest {
            party: Some(match self.subject_id {
                Some(id) => Party::SubjectId(id),
                None => Party::Subject(self.profile.into()),
            }),
            mode: mode.into(),
            purpose: purpose.into(),
            checks: checks.collect(),
            request_id: self.request_id.unwrap_or_default(),
            on_timeout: on_timeout.into(),
            ..Default::default()
        };
        (self.call, request)
    }
}

impl CreateSubjectArgs {
    /// How to call, and the request.
    pub(super) fn into_call(self) -> (CallArgs, pb::CreateSubjectRequest) {
        let request = pb::CreateSubjectRequest {
            subject: Some(self.profile.into()),
            request_id: self.request_id.unwrap_or_default(),
        };
        (self.call, request)
    }
}

impl GetSubjectArgs {
    /// How to call, and the request.
    pub(super) fn into_call(self) -> (CallArgs, pb::GetSubjectRequest) {
        let subject_id = self.subject_id;
        (self.call, pb::GetSubjectRequest { subject_id })
    }
}

impl GetRequestArgs {
    /// How to call, and the request.
    pub(super) fn into_call(self) -> (CallArgs, pb::GetRequestRequest) {
        let request_id = self.request_id;
        (self.call, pb::GetRequestRequest { request_id })
    }
}

fn identifier(text: &str) -> Result<pb::Identifier, String> {
    let mut parts = text.splitn(3, ':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(kind), Some(value), country) => Ok(pb::Identifier {
            r#type: kind.to_owned(),
            value: value.to_owned(),
            country: country.unwrap_or_default().to_owned(),
        }),
        _ => Err("give it as TYPE:VALUE or TYPE:VALUE:COUNTRY".to_owned()),
    }
}
