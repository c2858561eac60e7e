//! Who and what is refused, and the headers and envelope of an answer.

use std::time::{SystemTime, UNIX_EPOCH};

use super::*;
use crate::emulator::rate::REQUESTS_PER_MINUTE;

#[tokio::test]
async fn an_external_id_is_used_once() {
    let emulator = Emulator::start().await;
    assert_eq!(
        emulator.post("/subjects", &subject("a-1")).await.status(),
        StatusCode::CREATED
    );
    let answer = emulator.post("/subjects", &subject("a-1")).await;
    envelope(answer, 409, "CONFLICT").await;
    assert_eq!(
        emulator.post("/subjects", &subject("a-2")).await.status(),
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let emulator = Emulator::start().await;
    for path in [
        "/screenings/scr_none",
        "/subjects/subj_none",
        "/subjects/a%2Fb",
        "/subjects/%FF",
    ] {
        envelope(emulator.get(path).await, 404, "NOT_FOUND").await;
    }
    let request = json!({"purpose": "PERIODIC", "checks": ["PEP"], "subject_id": "subj_none"});
    envelope(
        emulator.post("/screenings", &request).await,
        404,
        "NOT_FOUND",
    )
    .await;
}

#[tokio::test]
async fn bad_fields_are_all_named() {
    let emulator = Emulator::start().await;
    let cases = [
        (
            json!({"mode": "LATER", "purpose": " ", "checks": [], "subject_id": "subj_1"}),
            "VALIDATION_ERROR",
            vec!["mode", "purpose", "checks"],
        ),
        (
            json!({}),
            "VALIDATION_ERROR",
            vec!["purpose", "checks", "subject"],
        ),
        (
            json!({"purpose": "X", "checks": ["X"]}),
            "VALIDATION_ERROR",
            vec!["subject"],
        ),
        (
            json!({"purpose": "X", "checks": ["X", 1], "subject": {}}),
            "VALIDATION_ERROR",
            vec!["checks", "subject.type", "subject.name"],
        ),
        (
            json!({"purpose": "X", "checks": ["X"], "subject_id": 7}),
            "VALIDATION_ERROR",
            vec!["subject_id"],
        ),
        (
            json!({"purpose": "X", "checks": ["X"], "subject": {}, "subject_id": "subj_1"}),
            "VALIDATION_ERROR",
            vec!["subject"],
        ),
        (
            json!({"purpose": "X", "checks": ["X"], "subject": {"type": "ENTITY"}}),
            "INVALID_SUBJECT",
            vec!["subject.name"],
        ),
        (
            json!({"purpose": "X", "checks": ["X"], "subject": {"type": "ROBOT", "name": "R"}}),
            "INVALID_SUBJECT",
            vec!["subject.type"],
        ),
        (
            json!({"purpose": "X", "checks": ["X"], "subject": "R"}),
            "INVALID_SUBJECT",
            vec!["subject"],
        ),
    ];
    for (request, code, fields) in cases {
        let answer = envelope(emulator.post("/screenings", &request).await, 400, code).await;
        assert_eq!(bad_fields(&answer), fields, "{request}");
    }
    let answer = emulator.post("/subjects", &json!({})).await;
    let answer = envelope(answer, 400, "INVALID_SUBJECT").await;
    assert_eq!(bad_fields(&answer), ["type", "name"]);
}

#[tokio::test]
async fn a_body_must_be_a_json_object_of_moderate_size() {
    let emulator = Emulator::start().await;
    let post = |content_type: &str, body: String| {
        let request = emulator.request(Method::POST, "/subjects");
        request
            .header("content-type", content_type)
            .body(body)
            .send()
    };
    for body in ["", "{", "[]", "7"] {
        let answer = post("application/json", body.to_owned()).await.unwrap();
        envelope(answer, 400, "BAD_REQUEST").await;
    }
    let answer = post("text/plain", subject("a").to_string()).await.unwrap();
    envelope(answer, 415, "BAD_REQUEST").await;
    let answer = post("Application/JSON; charset=utf-8", subject("a").to_string())
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    let answer = post("application/json", " ".repeat(3 * 1024 * 1024))
        .await
        .unwrap();
    envelope(answer, 413, "BAD_REQUEST").await;
}

#[tokio::test]
async fn only_the_right_key_and_tenant_are_let_in() {
    let emulator = Emulator::start().await;
    let get = || emulator.bare(Method::GET, "/api/v1/subjects/subj_1");
    let answer = get().header("X-Tenant-ID", TENANT_ID).send().await.unwrap();
    envelope(answer, 401, "UNAUTHORIZED").await;
    for wrong in ["Bearer wrong", "Bearer ", API_KEY, "Basic emulator-api-key"] {
        let request = get()
            .header("authorization", wrong)
            .header("X-Tenant-ID", TENANT_ID);
        envelope(request.send().await.unwrap(), 401, "UNAUTHORIZED").await;
    }
    let answer = get().bearer_auth(API_KEY).send().await.unwrap();
    envelope(answer, 403, "FORBIDDEN").await;
    let request = get().bearer_auth(API_KEY).header("X-Tenant-ID", "other");
    envelope(request.send().await.unwrap(), 403, "FORBIDDEN").await;
}

#[tokio::test]
async fn every_answer_of_koras_has_its_headers() {
    let emulator = Emulator::start().await;
    let good = emulator.post("/subjects", &subject("a")).await;
    let bad = emulator.get("/subjects/subj_none").await;
    let stranger = emulator
        .bare(Method::GET, "/api/v1/subjects/x")
        .send()
        .await
        .unwrap();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    for answer in [&good, &bad, &stranger] {
        let header = |name: &str| answer.headers()[name].to_str().unwrap();
        assert!(header("x-request-id").starts_with("req_"));
        assert_eq!(header("x-ratelimit-limit"), "10000");
        assert!(header("x-ratelimit-remaining").parse::<u32>().unwrap() <= 10_000);
        let reset: u64 = header("x-ratelimit-reset").parse().unwrap();
        assert!((now..=now + 61).contains(&reset), "{reset} at {now}");
        assert_eq!(header("strict-transport-security"), "max-age=31536000");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("x-frame-options"), "DENY");
    }
    assert_ne!(
        good.headers()["x-request-id"],
        bad.headers()["x-request-id"]
    );
}

#[tokio::test]
async fn an_unknown_route_gets_a_proxys_answer() {
    let emulator = Emulator::start().await;
    let unknown = [
        (Method::GET, "/nothing"),
        (Method::POST, "/api/v1/nothing"),
        (Method::DELETE, "/api/v1/screenings"),
        (Method::GET, "/api/v1/screenings/"),
    ];
    for (method, path) in unknown {
        let answer = emulator.bare(method, path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        assert!(
            answer.headers()["content-type"]
                .to_str()
                .unwrap()
                .starts_with("text/plain")
        );
        assert!(!answer.headers().contains_key("x-request-id"));
        assert_eq!(answer.text().await.unwrap(), "404 page not found");
    }
}

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_to_wait() {
    let emulator = Emulator::start().await;
    let client = Client::new();
    let url = format!("http://{}/api/v1/subjects/subj_none", emulator.address);
    // The minute may turn once while the window fills up. It does not turn twice.
    for _ in 0..=2 * REQUESTS_PER_MINUTE {
        let request = client
            .get(&url)
            .bearer_auth(API_KEY)
            .header("X-Tenant-ID", TENANT_ID);
        let answer = request.send().await.unwrap();
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(answer.headers()["x-ratelimit-remaining"], "0");
            let wait: u64 = answer.headers()["retry-after"]
                .to_str()
                .unwrap()
                .parse()
                .unwrap();
            assert!((1..=60).contains(&wait), "{wait}");
            let envelope = envelope(answer, 429, "RATE_LIMITED").await;
            assert!(envelope.get("details").is_none());
            return;
        }
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        answer.bytes().await.unwrap();
    }
    panic!("never told to wait");
}
