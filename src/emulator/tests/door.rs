//! The control door.

use super::*;
use crate::emulator::received::MAX_REQUESTS;

#[tokio::test]
async fn a_scenario_that_cannot_be_read_is_refused_with_a_sentence() {
    let emulator = Emulator::start().await;
    emulator
        .set_scenario(json!({"next": 1, "fault": {"kind": "fail", "status": 500}}))
        .await;
    let unreadable = [
        "",
        "{}",
        r#"{"next": 1}"#,
        r#"{"next": -1, "fault": {"kind": "hang"}}"#,
        r#"{"next": 1, "fault": {"kind": "explode"}}"#,
        r#"{"next": 1, "fault": {"kind": "hang"}, "colour": 1}"#,
        r#"{"next": 1, "fault": {"kind": "hang", "colour": 1}}"#,
        r#"{"next": 1, "fault": {"kind": "fail", "status": 500, "colour": 1}}"#,
        r#"{"next": 1, "fault": {"kind": "fail", "status": 200}}"#,
        r#"{"next": 1, "fault": {"kind": "fail", "status": 600}}"#,
        r#"{"next": 1, "fault": {"kind": "delay"}}"#,
        r#"{"next": 1, "fault": {"kind": "delay", "milliseconds": 600001}}"#,
        r#"{"next": 1, "endpoint": "GET /everything", "fault": {"kind": "hang"}}"#,
    ];
    for document in unreadable {
        let request = emulator
            .bare(Method::PUT, "/__emulator/scenario")
            .body(document);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{document}");
        let sentence = answer.text().await.unwrap();
        assert!(
            sentence.ends_with('.') && sentence.contains(' '),
            "{sentence}"
        );
    }
    // The scenario from before is still in place.
    assert_eq!(emulator.get("/subjects/subj_none").await.status(), 500);
}

#[tokio::test]
async fn requests_are_listed_in_order_with_what_matters() {
    let emulator = Emulator::start().await;
    let request = emulator
        .request(Method::POST, "/subjects")
        .json(&subject("a"));
    let request = request
        .header("Idempotency-Key", "key-1")
        .header("User-Agent", "test/1");
    request.header("Cookie", "secret").send().await.unwrap();
    let request = emulator
        .bare(Method::GET, "/api/v1/subjects/subj_1?x=1")
        .bearer_auth("wrong");
    request.send().await.unwrap();
    emulator
        .bare(Method::POST, "/nothing")
        .body("not json")
        .send()
        .await
        .unwrap();

    let (requests, dropped) = emulator.received().await;
    assert_eq!(dropped, 0);
    let length = subject("a").to_string().len().to_string();
    assert_eq!(
        requests,
        [
            json!({
                "method": "POST", "path": "/api/v1/subjects", "authorization": "valid", "body": subject("a"),
                "headers": {
                    "content-type": "application/json", "idempotency-key": "key-1", "x-tenant-id": TENANT_ID,
                    "user-agent": "test/1", "content-length": length,
                },
            }),
            json!({
                "method": "GET", "path": "/api/v1/subjects/subj_1?x=1", "authorization": "wrong", "body": null,
                "headers": {},
            }),
            json!({
                "method": "POST", "path": "/nothing", "authorization": "missing", "body": "not json",
                "headers": {"content-length": "8"},
            }),
        ]
    );
}

#[tokio::test]
async fn a_streamed_body_shows_its_transfer_encoding() {
    let emulator = Emulator::start().await;
    let mut stream = TcpStream::connect(emulator.address).await.unwrap();
    let request = "POST /api/v1/subjects HTTP/1.1\r\nhost: emulator\r\nconnection: close\r\n\
                   transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    read_to_end(stream).await;
    let (requests, _) = emulator.received().await;
    assert_eq!(
        requests[0]["headers"],
        json!({"transfer-encoding": "chunked"})
    );
    assert_eq!(requests[0]["body"], json!({}));
}

#[tokio::test]
async fn the_list_can_be_emptied_and_does_not_list_the_door() {
    let emulator = Emulator::start().await;
    emulator.get("/subjects/subj_none").await;
    let request = emulator.bare(Method::DELETE, "/__emulator/requests");
    assert_eq!(
        request.send().await.unwrap().status(),
        StatusCode::NO_CONTENT
    );
    emulator
        .set_scenario(json!({"next": 1, "fault": {"kind": "fail", "status": 500}}))
        .await;
    let mistyped = emulator
        .bare(Method::GET, "/__emulator/request")
        .send()
        .await
        .unwrap();
    assert_eq!(mistyped.status(), StatusCode::NOT_FOUND);
    assert_eq!(emulator.received().await, (Vec::new(), 0));
    assert_eq!(emulator.get("/subjects/subj_none").await.status(), 500);
}

#[tokio::test]
async fn the_list_keeps_the_newest_and_counts_the_rest() {
    let emulator = Emulator::start().await;
    let client = Client::new();
    for number in 0..MAX_REQUESTS + 3 {
        let url = format!("http://{}/{number}", emulator.address);
        client.get(url).send().await.unwrap().bytes().await.unwrap();
    }
    let (requests, dropped) = emulator.received().await;
    assert_eq!(dropped, 3);
    assert_eq!(requests.len(), MAX_REQUESTS);
    assert_eq!(requests[0]["path"], "/3");
    assert_eq!(
        requests[MAX_REQUESTS - 1]["path"],
        format!("/{}", MAX_REQUESTS + 2)
    );
}
