//! Kora's webhooks, byte for byte, on real sockets and a real log.

pub mod client;
mod door;
mod refusals;
mod slow_senders;

use serde_json::json;

use self::{
    client::{Client, chunked, post, sign, signed},
    door::{Act, Door, MAX_BYTES},
};

const BODY: &str =
    r#"{"id":"evt_1","event":"screening.completed","data":{"screening_id":"scr_1"}}"#;

#[tokio::test]
async fn an_authentic_event_is_in_the_log_when_kora_hears_ok() {
    let door = Door::open().await;
    let mut client = Client::connect(&door).await;
    client.send(&signed(BODY)).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"OK"[..]));
    let [record] = &door.records().await[..] else {
        panic!("not one record");
    };
    assert_eq!(record.event_id, "evt_1");
    assert_eq!(record.keys.kind, "screening.completed");
    assert_eq!(record.keys.screening_id, "scr_1");
    assert!(record.raw.ends_with(BODY.as_bytes()));

    client.send(&signed(BODY)).await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(door.records().await.len(), 1);
    door.expect_counts(&[("accepted", 1), ("duplicate", 1)]);
}

#[tokio::test]
async fn every_state_of_a_case_is_kept_although_all_have_one_id() {
    let door = Door::open().await;
    let body = |status| {
        format!(r#"{{"id":"cas_1","event":"case.updated","data":{{"status":"{status}"}}}}"#)
    };
    let statuses = ["OPEN", "IN_REVIEW", "CLOSED"];
    for status in statuses {
        assert_eq!(door.ask(&signed(&body(status))).await.status, 200);
    }
    let other_order =
        r#"{ "event": "case.updated", "data": { "status": "CLOSED" }, "id": "cas_1" }"#;
    for again in [&body("IN_REVIEW"), other_order] {
        assert_eq!(door.ask(&signed(again)).await.status, 200, "{again}");
    }
    let records = door.records().await;
    assert_eq!(records.len(), statuses.len());
    for (record, status) in records.iter().zip(statuses) {
        assert!(record.raw.ends_with(body(status).as_bytes()));
        let is_first = record.event_id == "cas_1";
        assert!(is_first || record.event_id.starts_with("cas_1~"));
    }
    door.expect_counts(&[("accepted", 3), ("duplicate", 2)]);
    assert!(door.metrics().contains("store_event_id_conflicts_total 2"));
}

#[tokio::test]
async fn what_kora_signed_is_kept_whatever_it_says() {
    let door = Door::open().await;
    let mut client = Client::connect(&door).await;
    for body in ["", "not json", "{}", r#"{"event":"something.new"}"#] {
        client.send(&signed(body)).await;
        assert_eq!(client.answer().await.status, 200, "{body}");
    }
    let records = door.records().await;
    let kinds: Vec<_> = records.iter().map(|it| it.keys.kind.as_str()).collect();
    let unreadable = "gateway.unreadable";
    assert_eq!(kinds, [unreadable, unreadable, unreadable, "something.new"]);
    assert!(records[1].raw.ends_with(b"not json"));
    assert!(records[1].event_id.starts_with("sha256-"));
    door.expect_counts(&[("accepted", 1), ("unreadable", 3)]);
}

#[tokio::test]
async fn a_payload_that_cannot_be_read_is_dropped_and_counted() {
    let door = Door::open().await;
    let body =
        json!({ "event": "screening.completed", "data": { "screening_id": "s", "status": 7 } });
    assert_eq!(door.ask(&signed(&body.to_string())).await.status, 200);
    assert!(door.metrics().contains("webhook_payloads_dropped_total 1"));
    door.expect_counts(&[("accepted", 1)]);
}

#[tokio::test]
async fn a_body_may_come_in_chunks_of_any_size() {
    let door = Door::open().await;
    let mut client = Client::connect(&door).await;
    for size in [1, 7, BODY.len()] {
        client.send(&chunked(BODY.as_bytes(), size)).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 200, "chunks of {size}");
        assert_eq!(answer.header("connection"), None);
    }
    assert_eq!(door.records().await.len(), 1);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let door = Door::open().await;
    let mut client = Client::connect(&door).await;
    let wrong = post("/webhooks/compliance", &[&sign("something else")], BODY);
    let all = [
        signed(BODY),
        wrong,
        signed("{}"),
        chunked(BODY.as_bytes(), 5),
    ];
    client.send(&all.concat()).await;
    for expected in [200, 401, 200, 200] {
        assert_eq!(client.answer().await.status, expected);
    }
    assert_eq!(door.records().await.len(), 2);
}

#[tokio::test]
async fn a_client_that_waits_for_a_word_gets_it() {
    let door = Door::open().await;
    let mut client = Client::connect(&door).await;
    let head = |size: usize| {
        format!(
            "POST /webhooks/compliance HTTP/1.1\r\nhost: x\r\n{}\r\nexpect: 100-continue\r\n\
             content-length: {size}\r\n\r\n",
            sign(BODY)
        )
    };
    client.send(head(BODY.len()).as_bytes()).await;
    assert_eq!(client.answer().await.status, 100);
    client.send(BODY.as_bytes()).await;
    assert_eq!(client.answer().await.status, 200);

    client.send(head(MAX_BYTES + 1).as_bytes()).await;
    assert_eq!(client.answer().await.status, 413);
    client.expect_end().await;
}

#[tokio::test]
async fn older_clients_and_those_that_have_no_more_to_send_are_answered() {
    let door = Door::open_with(Act::Wait).await;
    door.go_on();
    let old = String::from_utf8(signed(BODY))
        .unwrap()
        .replace("HTTP/1.1", "HTTP/1.0");
    let mut client = Client::connect(&door).await;
    client.send(old.as_bytes()).await;
    assert_eq!(client.answer().await.status, 200);
    client.expect_end().await;

    let mut client = Client::connect(&door).await;
    client.send(&signed(BODY)).await;
    client.send_no_more().await;
    door.appending(2).await;
    door.go_on();
    assert_eq!(client.answer().await.status, 200);
    client.expect_end().await;
}

#[tokio::test]
async fn the_tenants_own_path_is_the_same() {
    let door = Door::open().await;
    for path in [
        "/webhooks/compliance/tenant-1",
        "/webhooks/compliance/tenant%2D1?x=y",
    ] {
        let request = post(path, &[&sign(BODY)], BODY);
        assert_eq!(door.ask(&request).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn one_authentic_signature_under_either_secret_is_enough() {
    let door = Door::open().await;
    let other = sign("another body");
    for good in [
        sign(BODY),
        client::sign_with("whsec_next", BODY),
        sign(BODY).replace("re: ", "re: sha256="),
        client::upper_case(&sign(BODY)),
    ] {
        let request = post("/webhooks/compliance", &[&other, &good], BODY);
        assert_eq!(door.ask(&request).await.status, 200, "{good}");
    }
}

#[tokio::test]
async fn a_log_that_does_not_take_it_is_kora_told_to_come_again() {
    for act in [Act::TooSlow, Act::Unavailable, Act::Broken] {
        let door = Door::open_with(act).await;
        let answer = door.ask(&signed(BODY)).await;
        assert_eq!((answer.status, answer.body.len()), (503, 0));
        assert_eq!(answer.header("retry-after"), Some("5"));
        door.expect_counts(&[("store_unavailable", 1)]);
    }
}

#[tokio::test]
async fn a_defect_is_answered_as_the_gateways_own() {
    let door = Door::open_with(Act::Panic).await;
    let answer = door.ask(&signed(BODY)).await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("5"))
    );
    // How far the request was read is not known.
    assert_eq!(answer.header("connection"), Some("close"));
    door.expect_counts(&[("failed", 1)]);
}

#[tokio::test]
async fn an_event_that_is_there_is_kept_though_its_sender_has_left() {
    let mut door = Door::open_with(Act::Wait).await;
    let mut client = Client::connect(&door).await;
    client.send(&signed(BODY)).await;
    door.appending(1).await;
    client.reset();
    // Nothing is left of the connection after that.
    door.cut().await;
    assert_eq!(door.records().await.len(), 0);
    door.go_on();
    door.wait_for_records(1).await;
}
