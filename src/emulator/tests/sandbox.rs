//! One test for each name with a part of its own.

use std::time::Instant;

use super::*;

async fn screen(name: &str, mode: &str) -> Response {
    let emulator = Emulator::start().await;
    emulator.post("/screenings", &screening(name, mode)).await
}

async fn completed(name: &str) -> Value {
    let answer = screen(name, "SYNC").await;
    assert_eq!(answer.status(), StatusCode::OK);
    let screening: Value = answer.json().await.unwrap();
    assert_eq!(screening["status"], "COMPLETED");
    screening
}

fn assert_verdict(screening: &Value, risk_band: &str, outcome: &str) {
    assert_eq!(screening["risk_band"], risk_band);
    assert_eq!(screening["decision"]["outcome"], outcome);
    assert!(screening["decision"]["explanation"].is_string());
    assert_eq!(
        screening["match_summary"]["total_matches"],
        screening["matches"].as_array().unwrap().len()
    );
}

#[tokio::test]
async fn an_ordinary_name_is_approved() {
    let screening = completed("Ada Example").await;
    assert_verdict(&screening, "LOW", "APPROVE");
    assert_eq!(screening["risk_score"], 150);
    assert_eq!(screening["matches"], json!([]));
    assert_eq!(screening["decision"]["triggered_rules"], json!([]));
}

#[tokio::test]
async fn a_name_matches_exactly_or_not_at_all() {
    assert_verdict(&completed("test sanctioned entity").await, "LOW", "APPROVE");
}

#[tokio::test]
async fn test_clean_user() {
    assert_verdict(&completed("Test Clean User").await, "LOW", "APPROVE");
}

#[tokio::test]
async fn test_sanctioned_entity() {
    let screening = completed("Test Sanctioned Entity").await;
    assert_verdict(&screening, "CRITICAL", "BLOCK");
    assert_eq!(
        screening["decision"]["triggered_rules"],
        json!(["SANCTIONS_MATCH"])
    );
    let found = &screening["matches"][0];
    assert_eq!(found["source"], "OFAC_SDN");
    assert_eq!(found["strength"], "EXACT");
    assert_eq!(found["score"], 1.0);
    assert!(found["match_id"].as_str().unwrap().starts_with("mat_"));
    assert_eq!(
        screening["match_summary"],
        json!({"total_matches": 1, "sanctions_matches": 1, "pep_matches": 0,
               "exact_matches": 1, "strong_matches": 0})
    );
}

#[tokio::test]
async fn test_pep_person() {
    let screening = completed("Test PEP Person").await;
    assert_verdict(&screening, "HIGH", "REVIEW_REQUIRED");
    assert_eq!(screening["matches"][0]["source"], "OS_GLOBAL_PEP");
    assert_eq!(screening["matches"][0]["strength"], "STRONG");
    assert_eq!(
        screening["match_summary"],
        json!({"total_matches": 1, "sanctions_matches": 0, "pep_matches": 1,
               "exact_matches": 0, "strong_matches": 1})
    );
}

#[tokio::test]
async fn test_monitored_user() {
    let screening = completed("Test Monitored User").await;
    assert_verdict(&screening, "MEDIUM", "APPROVE_WITH_MONITORING");
}

#[tokio::test]
async fn test_unknown_decision() {
    let screening = completed("Test Unknown Decision").await;
    assert_verdict(&screening, "MEDIUM", "ESCALATE_TO_REGULATOR");
}

#[tokio::test]
async fn test_failed_screening() {
    let answer = screen("Test Failed Screening", "SYNC").await;
    assert_eq!(answer.status(), StatusCode::OK);
    let screening: Value = answer.json().await.unwrap();
    assert_eq!(screening["status"], "FAILED");
    for absent in [
        "decision",
        "risk_score",
        "risk_band",
        "matches",
        "match_summary",
    ] {
        assert!(screening.get(absent).is_none(), "{absent} in {screening}");
    }
}

#[tokio::test]
async fn test_screening_error() {
    for mode in ["SYNC", "ASYNC"] {
        let answer = screen("Test Screening Error", mode).await;
        envelope(answer, 500, "SCREENING_FAILED").await;
    }
}

#[tokio::test]
async fn test_slow_screening() {
    let asked = Instant::now();
    let screening = completed("Test Slow Screening").await;
    assert!(asked.elapsed() >= Duration::from_secs(2));
    assert_verdict(&screening, "LOW", "APPROVE");

    let asked = Instant::now();
    let answer = screen("Test Slow Screening", "ASYNC").await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    assert!(asked.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn test_screening_timeout() {
    let asked = Instant::now();
    let answer = screen("Test Screening Timeout", "SYNC").await;
    envelope(answer, 503, "SCREENING_TIMEOUT").await;
    assert!(asked.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn test_screening_timeout_completes_when_asynchronous() {
    let emulator = Emulator::start().await;
    let request = screening("Test Screening Timeout", "ASYNC");
    let receipt: Value = emulator
        .post("/screenings", &request)
        .await
        .json()
        .await
        .unwrap();
    let path = format!("/screenings/{}", receipt["screening_id"].as_str().unwrap());
    emulator.get(&path).await;
    emulator.get(&path).await;
    let screening: Value = emulator.get(&path).await.json().await.unwrap();
    assert_verdict(&screening, "LOW", "APPROVE");
}

#[tokio::test]
async fn test_rate_limited() {
    let answer = screen("Test Rate Limited", "SYNC").await;
    assert_eq!(answer.headers()["retry-after"], "1");
    let envelope = envelope(answer, 429, "RATE_LIMITED").await;
    assert!(envelope.get("details").is_none());
}
