//! What holds for every message that callers get.

use prost::Message;
use prost_types::Timestamp;

use crate::pb;

/// The seconds of 0001-01-01T00:00:00Z and of 9999-12-31T23:59:59Z: what a `google.protobuf.Timestamp` may tell.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// How many bytes of a message one byte of JSON may become: a digit and a comma become a message of 11 bytes, and
/// the longest number that a short one is written as has 20 more.
const BYTES_PER_BYTE: usize = 16;

/// How many bytes a message may have beside that.
const OWN_BYTES: usize = 4096;

/// Clients can read it, and it is no bomb: its size follows from that of the JSON that it was made from.
pub(crate) fn check<M: Message + Default + PartialEq>(message: &M, json: &[u8]) {
    let encoded = message.encode_to_vec();
    assert!(M::decode(&encoded[..]).is_ok_and(|decoded| decoded == *message));
    assert!(encoded.len() <= BYTES_PER_BYTE * json.len() + OWN_BYTES);
}

/// Its outcome is the word that was decided, letter for letter.
pub(crate) fn check_screening(screening: &pb::Screening, decided: Option<&str>) {
    if let Some(decision) = &screening.decision {
        let code = decision.outcome_code.as_str();
        assert_eq!(Some(code), decided, "this was not decided");
        assert_eq!(screening.status(), pb::ScreeningStatus::Completed);
        let outcome = match code {
            "APPROVE" => pb::Outcome::Approve,
            "APPROVE_WITH_MONITORING" => pb::Outcome::ApproveWithMonitoring,
            "REVIEW_REQUIRED" => pb::Outcome::ReviewRequired,
            "BLOCK" => pb::Outcome::Block,
            _ => pb::Outcome::Unrecognized,
        };
        assert_eq!(decision.outcome(), outcome);
    }
    let score = screening.risk_score.unwrap_or_default();
    assert!((0..=1000).contains(&score), "a risk score of {score}");
    check_time(screening.create_time.as_ref());
    check_time(screening.complete_time.as_ref());
}

/// It is a time that protobuf has.
pub(crate) fn check_time(time: Option<&Timestamp>) {
    if let Some(Timestamp { seconds, nanos }) = time {
        assert!(SECONDS.contains(seconds), "{seconds} s is no time");
        assert!((0..1_000_000_000).contains(nanos), "{nanos} ns");
    }
}
