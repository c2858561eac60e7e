//! What can happen at Kora, and what it means for the callers of each RPC.

use serde_json::json;
use tonic::Code;

use crate::{
    call::{Rpc, SCREENING_ID},
    scripted_kora::Act,
};

/// What a caller must see: code, reason, and the outcome that a paid call reports.
pub type Expected = (Code, &'static str, &'static str);

/// A situation at Kora, and what it means for an RPC; `None` where it does not apply.
pub struct Row {
    pub situation: &'static str,
    pub act: Act,
    pub expected: fn(Rpc) -> Option<Expected>,
}

fn row(situation: &'static str, act: Act, expected: fn(Rpc) -> Option<Expected>) -> Row {
    Row {
        situation,
        act,
        expected,
    }
}

/// How many requests reach Kora if it goes on like that: what certainly did not happen is tried again, and
/// a read that failed at Kora.
pub fn attempts(rpc: Rpc, reason: &str) -> usize {
    match reason {
        "KORA_RATE_LIMITED" | "KORA_UNAVAILABLE" => 3,
        "KORA_INTERNAL" | "KORA_SCREENING_TIMEOUT" | "DEADLINE_EXCEEDED" if !rpc.is_paid() => 3,
        _ => 1,
    }
}

/// A failure on Kora's side or on the way back.
pub fn lost(rpc: Rpc) -> Option<Expected> {
    Some(match rpc.is_paid() {
        true => (Code::Unknown, "KORA_OUTCOME_UNKNOWN", "UNKNOWN"),
        false => (Code::Unavailable, "KORA_INTERNAL", ""),
    })
}

pub fn unreadable(_: Rpc) -> Option<Expected> {
    Some((Code::Internal, "KORA_RESPONSE_INVALID", "UNKNOWN"))
}

pub fn refused_content(_: Rpc) -> Option<Expected> {
    Some((Code::InvalidArgument, "KORA_VALIDATION", "REJECTED"))
}

fn route_not_found(_: Rpc) -> Option<Expected> {
    Some((Code::Internal, "KORA_ROUTE_NOT_FOUND", "REJECTED"))
}

fn conflict(_: Rpc) -> Option<Expected> {
    Some((Code::FailedPrecondition, "KORA_CONFLICT", "REJECTED"))
}

fn refused(_: Rpc) -> Option<Expected> {
    Some((Code::Internal, "KORA_REFUSED", "REJECTED"))
}

fn redirected(_: Rpc) -> Option<Expected> {
    Some((Code::Internal, "KORA_REDIRECT", "UNKNOWN"))
}

fn rate_limited(_: Rpc) -> Option<Expected> {
    Some((Code::ResourceExhausted, "KORA_RATE_LIMITED", "REJECTED"))
}

fn credential_rejected(_: Rpc) -> Option<Expected> {
    Some((Code::Internal, "KORA_CREDENTIAL_REJECTED", "REJECTED"))
}

fn forbidden(_: Rpc) -> Option<Expected> {
    Some((Code::Internal, "KORA_FORBIDDEN", "REJECTED"))
}

fn screening_timeout(_: Rpc) -> Option<Expected> {
    Some((Code::DeadlineExceeded, "KORA_SCREENING_TIMEOUT", "UNKNOWN"))
}

fn not_in_time(_: Rpc) -> Option<Expected> {
    Some((Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "UNKNOWN"))
}

pub fn bare(status: u16) -> Act {
    Act::Answer(status, vec![], b"<html>VENDOR-TEXT</html>".to_vec())
}

/// Every situation of the table.
pub fn all_rows() -> impl Iterator<Item = Row> {
    statuses().into_iter().chain(bodies()).chain(lost_answers())
}

fn statuses() -> Vec<Row> {
    vec![
        row(
            "VALIDATION_ERROR",
            Act::error(400, "VALIDATION_ERROR"),
            refused_content,
        ),
        row("422", Act::error(422, "VALIDATION_ERROR"), refused_content),
        row(
            "INVALID_SUBJECT",
            Act::error(400, "INVALID_SUBJECT"),
            refused_content,
        ),
        row(
            "BAD_REQUEST",
            Act::error(400, "BAD_REQUEST"),
            refused_content,
        ),
        row("400 of a proxy", bare(400), refused_content),
        row(
            "UNAUTHORIZED",
            Act::error(401, "UNAUTHORIZED"),
            credential_rejected,
        ),
        row("401 of a proxy", bare(401), credential_rejected),
        row("FORBIDDEN", Act::error(403, "FORBIDDEN"), forbidden),
        row("403 of a proxy", bare(403), forbidden),
        row("NOT_FOUND", Act::error(404, "NOT_FOUND"), |rpc| {
            Some(match rpc {
                Rpc::GetScreening => (Code::NotFound, "SCREENING_NOT_FOUND", ""),
                Rpc::GetSubject => (Code::NotFound, "SUBJECT_NOT_FOUND", ""),
                // Nothing was named that could be missing.
                Rpc::Screen | Rpc::CreateSubject => return route_not_found(rpc),
            })
        }),
        row("404 of a proxy", bare(404), route_not_found),
        row("CONFLICT", Act::error(409, "CONFLICT"), |rpc| {
            Some(match rpc {
                Rpc::CreateSubject => (Code::AlreadyExists, "SUBJECT_EXISTS", "REJECTED"),
                _ => return conflict(rpc),
            })
        }),
        row(
            "another 409",
            Act::error(409, "CASE_ALREADY_CLOSED"),
            conflict,
        ),
        row("409 of a proxy", bare(409), conflict),
        row("413", bare(413), |_| {
            Some((Code::InvalidArgument, "KORA_TOO_LARGE", "REJECTED"))
        }),
        row(
            "RATE_LIMITED",
            Act::error(429, "RATE_LIMITED"),
            rate_limited,
        ),
        row(
            "429 of a proxy",
            bare(429).with_header("retry-after", "7"),
            rate_limited,
        ),
        row("another 4xx", bare(418), refused),
        row("405", bare(405), refused),
        row(
            "another code with 4xx",
            Act::error(402, "PAYMENT_REQUIRED"),
            refused,
        ),
        row("408", bare(408), lost),
        row(
            "SERVICE_UNAVAILABLE",
            Act::error(503, "SERVICE_UNAVAILABLE"),
            |rpc| match rpc.is_paid() {
                true => lost(rpc),
                false => Some((Code::Unavailable, "KORA_UNAVAILABLE", "")),
            },
        ),
        row("503 of a proxy", bare(503), lost),
        row(
            "SCREENING_TIMEOUT",
            Act::error(503, "SCREENING_TIMEOUT"),
            screening_timeout,
        ),
        row(
            "SCREENING_FAILED",
            Act::error(500, "SCREENING_FAILED"),
            |rpc| match rpc {
                Rpc::Screen => Some((Code::Aborted, "SCREENING_FAILED", "ACCEPTED")),
                _ => lost(rpc),
            },
        ),
        row("INTERNAL_ERROR", Act::error(500, "INTERNAL_ERROR"), lost),
        row(
            "a code that is none",
            Act::error(500, "VENDOR-TEXT of Jane Smith"),
            lost,
        ),
        row("500 of a proxy", bare(500), lost),
        row("502 of a proxy", bare(502), lost),
        row("504 of a proxy", bare(504), lost),
        row(
            "301",
            bare(301).with_header("location", "http://127.0.0.1:1/"),
            redirected,
        ),
        row(
            "307",
            bare(307).with_header("location", "http://127.0.0.1:1/"),
            redirected,
        ),
        row(
            "308",
            bare(308).with_header("location", "/elsewhere"),
            redirected,
        ),
    ]
}

fn bodies() -> Vec<Row> {
    let failed = json!({"screening_id": SCREENING_ID, "status": "FAILED"});
    let other =
        json!({"screening_id": "scr_other", "subject_id": "subj_other", "status": "COMPLETED"});
    let twice = br#"{"screening_id":"scr_1","subject_id":"subj_1","status":"PENDING","status":"COMPLETED"}"#;
    let headers = || vec![("x-request-id", "req_header".to_owned())];
    let large = Act::Answer(200, headers(), vec![b' '; 200_000]);
    vec![
        row("no body", Act::Answer(200, headers(), vec![]), unreadable),
        row(
            "no JSON",
            Act::Answer(200, headers(), b"VENDOR-TEXT".to_vec()),
            unreadable,
        ),
        row(
            "half a body of JSON",
            Act::Answer(200, headers(), b"{\"screening_id\": \"s".to_vec()),
            unreadable,
        ),
        row("an array", Act::json(200, &json!([])), unreadable),
        row(
            "no id",
            Act::json(200, &json!({"status": "COMPLETED"})),
            unreadable,
        ),
        row(
            "an error envelope with 200",
            Act::error(200, "INTERNAL_ERROR"),
            unreadable,
        ),
        row(
            "a repeated key",
            Act::Answer(200, headers(), twice.to_vec()),
            |rpc| match rpc {
                Rpc::CreateSubject | Rpc::GetSubject => None,
                _ => unreadable(rpc),
            },
        ),
        row("another id", Act::json(200, &other), |rpc| match rpc {
            Rpc::GetScreening | Rpc::GetSubject => unreadable(rpc),
            Rpc::Screen | Rpc::CreateSubject => None,
        }),
        row("larger than allowed", large, unreadable),
        row("status FAILED", Act::json(200, &failed), |rpc| match rpc {
            Rpc::Screen => Some((Code::Aborted, "SCREENING_FAILED", "ACCEPTED")),
            _ => None,
        }),
    ]
}

fn lost_answers() -> Vec<Row> {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"screening_id\":";
    let half_refusal =
        "HTTP/1.1 400 Bad\r\ncontent-length: 100\r\n\r\n{\"code\":\"VALIDATION_ERROR\"";
    vec![
        row("closed after the head", Act::CloseAfterHead, lost),
        row("closed after the request", Act::CloseAfterRequest, lost),
        row(
            "half a status line",
            Act::Write(b"HTTP/1.1 20".to_vec()),
            lost,
        ),
        row("no HTTP", Act::Write(b"VENDOR-TEXT\r\n\r\n".to_vec()), lost),
        row("half an answer", Act::Write(half.as_bytes().to_vec()), lost),
        row(
            "half a refusal",
            Act::Write(half_refusal.as_bytes().to_vec()),
            lost,
        ),
        row("no answer", Act::Hang, not_in_time),
    ]
}
