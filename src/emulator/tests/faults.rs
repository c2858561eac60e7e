//! Every kind of fault: what the client sees, whether the work was done, what the list of requests
//! shows.

use std::time::Instant;

use super::*;

/// The bodies of the requests received.
async fn bodies(emulator: &Emulator) -> Vec<Value> {
    let (requests, _) = emulator.received().await;
    requests
        .into_iter()
        .map(|request| request["body"].clone())
        .collect()
}

/// Waits until this many requests are listed.
async fn listed(emulator: &Emulator, count: usize) {
    while emulator.received().await.0.len() < count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn delay_answers_late_and_normally() {
    let emulator = Emulator::start().await;
    emulator
        .set_scenario(json!({"next": 1, "fault": {"kind": "delay", "milliseconds": 300}}))
        .await;
    let asked = Instant::now();
    let answer = emulator.post("/subjects", &subject("a")).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert!(asked.elapsed() >= Duration::from_millis(300));
    assert_eq!(bodies(&emulator).await, [subject("a")]);
}

#[tokio::test]
async fn fail_with_a_code_answers_the_envelope_and_does_no_work() {
    let emulator = Emulator::start().await;
    let fault = json!({"kind": "fail", "status": 503, "code": "SERVICE_UNAVAILABLE",
                       "retry_after_seconds": 7});
    emulator
        .set_scenario(json!({"next": 1, "fault": fault}))
        .await;
    let answer = emulator.post("/subjects", &subject("a")).await;
    assert_eq!(answer.headers()["retry-after"], "7");
    envelope(answer, 503, "SERVICE_UNAVAILABLE").await;
    assert_eq!(bodies(&emulator).await, [subject("a")]);
    assert!(!emulator.is_taken("a").await);
}

#[tokio::test]
async fn fail_without_a_code_answers_a_page() {
    let emulator = Emulator::start().await;
    let fault = json!({"kind": "fail", "status": 502, "retry_after_seconds": 2});
    emulator
        .set_scenario(json!({"next": 1, "fault": fault}))
        .await;
    let answer = emulator.post("/subjects", &subject("a")).await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert!(
        answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    assert_eq!(answer.headers()["retry-after"], "2");
    assert!(!answer.headers().contains_key("x-request-id"));
    assert!(answer.text().await.unwrap().starts_with("<html>"));
}

#[tokio::test]
async fn hang_does_the_work_and_never_answers() {
    let emulator = Emulator::start().await;
    emulator
        .set_scenario(json!({"next": 1, "fault": {"kind": "hang"}}))
        .await;
    let mut stream = emulator.send_raw("/subjects", &subject("a")).await;
    listed(&emulator, 1).await;
    assert!(emulator.is_taken("a").await);
    assert_eq!(bodies(&emulator).await[0], subject("a"));
    let mut byte = [0];
    let answer = timeout(Duration::from_millis(100), stream.read(&mut byte)).await;
    assert!(answer.is_err(), "{answer:?}");
}

#[tokio::test]
async fn cut_before_reading_does_no_work() {
    let emulator = Emulator::start().await;
    emulator
        .set_scenario(json!({"next": 1, "fault": {"kind": "cut_before_reading"}}))
        .await;
    let stream = emulator.send_raw("/subjects", &subject("a")).await;
    assert_eq!(read_to_end(stream).await, b"");
    assert_eq!(bodies(&emulator).await, [Value::Null]);
    assert!(!emulator.is_taken("a").await);
}

#[tokio::test]
async fn cut_before_reading_does_not_wait_for_the_body() {
    let emulator = Emulator::start().await;
    emulator
        .set_scenario(json!({"next": 1, "fault": {"kind": "cut_before_reading"}}))
        .await;
    let mut stream = TcpStream::connect(emulator.address).await.unwrap();
    let head = "POST /api/v1/subjects HTTP/1.1\r\nhost: emulator\r\ncontent-length: 100\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read_to_end(stream).await, b"");
    assert_eq!(
        emulator.received().await.0[0]["headers"]["content-length"],
        "100"
    );
}

#[tokio::test]
async fn cut_after_reading_does_the_work() {
    let emulator = Emulator::start().await;
    emulator
        .set_scenario(json!({"next": 1, "fault": {"kind": "cut_after_reading"}}))
        .await;
    let stream = emulator.send_raw("/subjects", &subject("a")).await;
    assert_eq!(read_to_end(stream).await, b"");
    assert_eq!(bodies(&emulator).await, [subject("a")]);
    assert!(emulator.is_taken("a").await);
}

#[tokio::test]
async fn cut_mid_answer_sends_half_of_what_it_announced() {
    let emulator = Emulator::start().await;
    emulator
        .set_scenario(json!({"next": 1, "fault": {"kind": "cut_mid_answer"}}))
        .await;
    let stream = emulator.send_raw("/subjects", &subject("a")).await;
    let answer = String::from_utf8(read_to_end(stream).await).unwrap();
    let (head, half) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 201 "), "{head}");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    assert_eq!(half.len(), length.parse::<usize>().unwrap() / 2);
    assert!(half.starts_with('{'));
    assert_eq!(bodies(&emulator).await, [subject("a")]);
    assert!(emulator.is_taken("a").await);
}

#[tokio::test]
async fn junk_does_the_work_and_answers_what_is_not_json() {
    let emulator = Emulator::start().await;
    emulator
        .set_scenario(json!({"next": 1, "fault": {"kind": "junk"}}))
        .await;
    let answer = emulator.post("/subjects", &subject("a")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let body = answer.text().await.unwrap();
    assert!(serde_json::from_str::<Value>(&body).is_err(), "{body}");
    assert_eq!(bodies(&emulator).await, [subject("a")]);
    assert!(emulator.is_taken("a").await);
}

#[tokio::test]
async fn junk_can_be_given_word_for_word() {
    let emulator = Emulator::start().await;
    let given = "{\"decision\":{},\"decision\":{}}";
    emulator
        .set_scenario(json!({"next": 1, "fault": {"kind": "junk", "body": given}}))
        .await;
    let answer = emulator.get("/subjects/subj_none").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.text().await.unwrap(), given);
}

#[tokio::test]
async fn a_fault_meets_as_many_requests_as_it_says() {
    let emulator = Emulator::start().await;
    emulator
        .set_scenario(json!({"next": 2, "fault": {"kind": "fail", "status": 500}}))
        .await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(emulator.get("/subjects/subj_none").await.status().as_u16());
    }
    assert_eq!(statuses, [500, 500, 404]);
}

#[tokio::test]
async fn a_fault_can_be_limited_to_an_endpoint() {
    let emulator = Emulator::start().await;
    let endpoints = [
        ("POST /screenings", Method::POST, "/screenings"),
        ("GET /screenings/{id}", Method::GET, "/screenings/scr_none"),
        ("POST /subjects", Method::POST, "/subjects"),
        ("GET /subjects/{id}", Method::GET, "/subjects/subj_none"),
        (
            "POST /webhooks/subscriptions",
            Method::POST,
            "/webhooks/subscriptions",
        ),
    ];
    for (limit, ..) in &endpoints {
        let fault = json!({"kind": "fail", "status": 599});
        emulator
            .set_scenario(json!({"next": 1, "endpoint": limit, "fault": fault}))
            .await;
        for (endpoint, method, path) in &endpoints {
            let answer = emulator.request(method.clone(), path).send().await.unwrap();
            assert_eq!(
                answer.status() == 599,
                limit == endpoint,
                "{limit}: {endpoint}"
            );
        }
    }
}

#[tokio::test]
async fn a_new_scenario_replaces_the_old_one_and_next_zero_clears() {
    let emulator = Emulator::start().await;
    let fail = |status| json!({"next": 9, "fault": {"kind": "fail", "status": status}});
    emulator.set_scenario(fail(500)).await;
    emulator.set_scenario(fail(501)).await;
    assert_eq!(emulator.get("/subjects/subj_none").await.status(), 501);
    emulator.set_scenario(json!({"next": 0})).await;
    assert_eq!(emulator.get("/subjects/subj_none").await.status(), 404);
}
