//! Answers as tables for people and as JSON for machines.

use std::sync::LazyLock;

use comfy_table::{Table, presets};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use prost_types::FileDescriptorSet;
use tonic_types::RpcStatusExt;

use crate::pb;

/// What stands in the place of a decision that is not there.
pub(super) const NO_DECISION: &str = "none yet: not an approval";

/// The file of Google's messages that are details of errors.
const ERROR_DETAILS: &str = "error_details.proto";

const STANDARD_IS_VALID: &str = "the descriptors are the standard's";

/// The API's messages, by name.
static MESSAGES: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let mut messages = DescriptorPool::decode(pb::DESCRIPTORS)
        .expect("the descriptors were encoded by the compiler that checked them");
    // What the details of an error are made of; the rest of that set is here already.
    let standard =
        FileDescriptorSet::decode(tonic_types::pb::FILE_DESCRIPTOR_SET).expect(STANDARD_IS_VALID);
    let details = standard.file.into_iter();
    messages
        .add_file_descriptor_protos(details.filter(|file| file.name() == ERROR_DETAILS))
        .expect(STANDARD_IS_VALID);
    messages
});

/// A screening as a table.
pub(super) fn screening(screening: &pb::Screening) -> String {
    let mut table = rows();
    add_row(&mut table, ["screening", &screening.screening_id]);
    if !screening.subject_id.is_empty() {
        add_row(&mut table, ["subject", &screening.subject_id]);
    }
    add_row(
        &mut table,
        [
            "status",
            short(screening.status().as_str_name(), "SCREENING_STATUS_"),
        ],
    );
    add_row(&mut table, ["decision", &decision(screening)]);
    if let Some(decision) = &screening.decision {
        if !decision.triggered_rules.is_empty() {
            add_row(&mut table, ["rules", &decision.triggered_rules.join(", ")]);
        }
        if !decision.explanation.is_empty() {
            add_row(&mut table, ["explanation", &decision.explanation]);
        }
    }
    if let Some(score) = screening.risk_score {
        add_row(
            &mut table,
            ["risk", &format!("{score} {}", screening.risk_band_code)],
        );
    }
    for found in &screening.matches {
        let score = found
            .score
            .map(|score| format!(" {score}"))
            .unwrap_or_default();
        add_row(
            &mut table,
            [
                "match",
                &format!("{} {}{score}", found.source, found.strength),
            ],
        );
    }
    table.to_string()
}

/// The decision in words: it lets a customer in or it does not.
pub(super) fn decision(screening: &pb::Screening) -> String {
    let Some(decision) = &screening.decision else {
        return NO_DECISION.to_owned();
    };
    match decision.outcome() {
        pb::Outcome::Approve | pb::Outcome::ApproveWithMonitoring => {
            format!("{}: go on", decision.outcome_code)
        }
        pb::Outcome::Unrecognized | pb::Outcome::Unspecified => {
            format!("{} (unknown word): not an approval", decision.outcome_code)
        }
        pb::Outcome::ReviewRequired | pb::Outcome::Block => {
            format!("{}: not an approval", decision.outcome_code)
        }
    }
}

/// A subject as a table.
pub(super) fn subject(subject: &pb::Subject) -> String {
    let mut table = rows();
    add_row(&mut table, ["subject", &subject.subject_id]);
    if let Some(profile) = &subject.profile {
        let kind = short(profile.r#type().as_str_name(), "SUBJECT_TYPE_");
        for (name, value) in [
            ("type", kind),
            ("name", &profile.name),
            ("date of birth", &profile.date_of_birth),
            ("nationality", &profile.nationality),
            ("country", &profile.country),
            ("external id", &profile.external_id),
        ] {
            if !value.is_empty() {
                add_row(&mut table, [name, value]);
            }
        }
        for identifier in &profile.identifiers {
            let text = format!(
                "{} {} {}",
                identifier.r#type, identifier.value, identifier.country
            );
            add_row(&mut table, ["identifier", text.trim_end()]);
        }
    }
    if !subject.risk_band_code.is_empty() {
        add_row(&mut table, ["risk", &subject.risk_band_code]);
    }
    table.to_string()
}

/// What became of a request, as a table, with what was answered.
pub(super) fn request_record(record: &pb::RequestRecord) -> String {
    let mut table = rows();
    let state = short(record.state().as_str_name(), "REQUEST_STATE_");
    let time = |time: &Option<prost_types::Timestamp>| {
        time.as_ref().map(ToString::to_string).unwrap_or_default()
    };
    let reason = record.error.as_ref().map(reason).unwrap_or_default();
    for (name, value) in [
        ("request", record.request_id.as_str()),
        (
            "method",
            record.method.rsplit('/').next().unwrap_or_default(),
        ),
        ("state", state),
        ("error", &reason),
        ("created", &time(&record.create_time)),
        ("finished", &time(&record.finish_time)),
    ] {
        if !value.is_empty() {
            add_row(&mut table, [name, value]);
        }
    }
    let answer = match &record.result {
        Some(pb::request_record::Result::Screening(answer)) => screening(answer),
        Some(pb::request_record::Result::Subject(answer)) => subject(answer),
        None => return table.to_string(),
    };
    format!("{table}\n{answer}")
}

/// The reason of a recorded error, and its sentence.
fn reason(error: &tonic_types::pb::Status) -> String {
    let info = error.get_details_error_info();
    let reason = info.map(|info| info.reason).unwrap_or_default();
    format!("{reason}: {}", error.message)
}

/// A message of the API in protobuf's JSON form, field names as in the protos.
pub(super) fn json(message_name: &str, message: &impl prost::Message) -> String {
    let mut json = serde_json::Serializer::pretty(Vec::new());
    serialize(message_name, message, &mut json)
        .expect("a protobuf message has a JSON form, and a Vec takes it");
    String::from_utf8_lossy(&json.into_inner()).into_owned()
}

/// The same on one line.
///
/// # Errors
/// If the message has no JSON form: it holds a number or a time that JSON cannot say.
pub(super) fn json_line(
    message_name: &str,
    message: &impl prost::Message,
) -> Result<String, serde_json::Error> {
    let mut json = serde_json::Serializer::new(Vec::new());
    serialize(message_name, message, &mut json)?;
    Ok(String::from_utf8_lossy(&json.into_inner()).into_owned())
}

fn serialize<S: serde::Serializer>(
    message_name: &str,
    message: &impl prost::Message,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let descriptor = MESSAGES
        .get_message_by_name(&format!("{}.{message_name}", pb::PACKAGE))
        .expect("the name is one of the API's messages");
    let mut dynamic = DynamicMessage::new(descriptor);
    dynamic
        .transcode_from(message)
        .expect("the message was encoded from the same protos");
    dynamic.serialize_with_options(
        serializer,
        &SerializeOptions::new().use_proto_field_name(true),
    )
}

fn add_row(table: &mut Table, cells: [&str; 2]) {
    table.add_row(cells.map(plain));
}

fn rows() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

/// Kora's and callers' words as a terminal may show them: a control character could rewrite what stands there.
pub(super) fn plain(text: &str) -> String {
    let is_plain = |letter: char| !letter.is_control();
    text.chars()
        .map(|letter| if is_plain(letter) { letter } else { '\u{fffd}' })
        .collect()
}

/// The name of an enum's value without the prefix that all of its values have.
pub(super) fn short<'a>(name: &'a str, prefix: &str) -> &'a str {
    name.strip_prefix(prefix).unwrap_or(name)
}
