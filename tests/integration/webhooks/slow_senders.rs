//! Senders that take their time, or none at all.

use std::time::Duration;

use kora_gateway::listener::Http1Patience;

use super::{
    BODY,
    client::{Client, chunked_head, signed},
    door::{Act, Door},
};

/// Short, because nothing waits for less than it.
const HEADER_TIMEOUT: Duration = Duration::from_millis(300);

/// Longer than a test waits.
const LONG: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_body_that_does_not_come_in_time_is_told_so() {
    let door = Door::open().await;
    let whole = signed(BODY);
    let mut announced = Client::connect(&door).await;
    announced.send(&whole[..whole.len() - 1]).await;
    let mut in_chunks = Client::connect(&door).await;
    in_chunks.send(&chunked_head(BODY.as_bytes())).await;
    for mut client in [announced, in_chunks] {
        let answer = client.answer().await;
        assert_eq!(
            (answer.status, answer.header("connection")),
            (408, Some("close"))
        );
        client.expect_end().await;
    }
    assert_eq!(door.records().await.len(), 0);
    door.expect_counts(&[("timeout", 2)]);
}

#[tokio::test]
async fn a_head_that_does_not_come_in_time_is_told_so() {
    let door = Door::open_for(Act::Append, HEADER_TIMEOUT).await;
    for part in [
        "P",
        "POST /webhooks/compliance HTTP/1.1\r\nhost: x\r\nx-webhook-sig",
    ] {
        let mut client = Client::connect(&door).await;
        client.send(part.as_bytes()).await;
        let answer = client.answer().await;
        assert_eq!(
            (answer.status, answer.header("connection")),
            (408, Some("close"))
        );
        client.expect_end().await;
    }
    // The next one on a connection.
    let mut client = Client::connect(&door).await;
    client.send(&signed(BODY)).await;
    assert_eq!(client.answer().await.status, 200);
    client.send(b"POST /webhooks").await;
    assert_eq!(client.answer().await.status, 408);
    client.expect_end().await;
}

#[tokio::test]
async fn a_late_sender_may_finish_writing_before_it_reads_why() {
    let door = Door::open_for(Act::Append, HEADER_TIMEOUT).await;
    let mut client = Client::connect(&door).await;
    client.send(b"POST /webhooks").await;
    client.stream.readable().await.unwrap();
    for _ in 0..100 {
        client.send(b"x").await;
    }
    assert_eq!(client.answer().await.status, 408);
}

#[tokio::test]
async fn a_connection_that_idles_is_closed_without_a_word() {
    let door = Door::open_for(Act::Append, HEADER_TIMEOUT).await;
    let mut silent = Client::connect(&door).await;
    let mut blank = Client::connect(&door).await;
    blank.send(b"\r\n").await;
    let mut used = Client::connect(&door).await;
    used.send(&signed(BODY)).await;
    assert_eq!(used.answer().await.status, 200);
    for client in [&mut silent, &mut blank, &mut used] {
        client.expect_end().await;
    }
}

#[tokio::test]
async fn a_connection_that_was_used_may_idle_for_longer_than_a_head_may_take() {
    let patience = Http1Patience {
        header: HEADER_TIMEOUT,
        idle: LONG,
    };
    let door = Door::open_patiently(Act::Append, patience).await;
    let mut used = Client::connect(&door).await;
    used.send(&signed(BODY)).await;
    assert_eq!(used.answer().await.status, 200);
    let mut silent = Client::connect(&door).await;
    // It is closed for its head, which is as late as one of the other's would be.
    silent.expect_end().await;
    used.send(&signed(BODY)).await;
    assert_eq!(used.answer().await.status, 200);
    // A head that has begun is late as ever.
    used.send(b"POST /webhooks").await;
    assert_eq!(used.answer().await.status, 408);
    used.expect_end().await;
}

#[tokio::test]
async fn a_connection_that_idles_for_too_long_is_closed_without_a_word() {
    let idle = Http1Patience {
        header: HEADER_TIMEOUT,
        idle: 2 * HEADER_TIMEOUT,
    };
    let door = Door::open_patiently(Act::Append, idle).await;
    let mut used = Client::connect(&door).await;
    used.send(&signed(BODY)).await;
    assert_eq!(used.answer().await.status, 200);
    used.expect_end().await;
}

#[tokio::test]
async fn a_stop_ends_idle_connections_and_answers_what_is_in_hand() {
    // Nothing but the stop ends an idle connection here.
    let mut door = Door::open_for(Act::Wait, LONG).await;
    let mut idle = Client::connect(&door).await;
    let mut busy = Client::connect(&door).await;
    busy.send(&signed(BODY)).await;
    door.appending(1).await;
    door.go_on();
    let stopped = door.stop();
    let (answer, ()) = tokio::join!(busy.answer(), stopped);
    assert_eq!(answer.status, 200);
    idle.expect_end().await;
}
