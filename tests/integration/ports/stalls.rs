//! Clients that ask and do not take the answer.

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::Request;
use kora_gateway::pb;
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::timeout,
};

use crate::{
    deliveries::Webhooks,
    harness::Gateway,
    subscriber::{PATIENCE, from_earliest},
};

/// How long a test's gateway waits for a client that takes nothing.
const STALL: Duration = Duration::from_secs(3);

async fn gateway() -> Gateway {
    Gateway::start_with("http://127.0.0.1:1/api/v1", &[], |config| {
        config.grpc_listener.patience.stall = STALL;
    })
    .await
}

fn watch() -> Request<()> {
    Request::post("http://gateway/kora.compliance.v1.ComplianceService/WatchEvents")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

fn frame(message: &impl Message) -> Bytes {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0], &length[..], &bytes].concat().into()
}

#[tokio::test]
async fn a_stream_that_stands_still_is_reset_and_the_others_of_its_connection_go_on() {
    let gateway = gateway().await;
    let webhooks = Webhooks::to(gateway.webhook);
    webhooks.deliver_event("evt_first", "case.closed").await;
    let socket = TcpStream::connect(gateway.grpc).await.unwrap();
    // Less than any message has.
    let built = h2::client::Builder::new()
        .initial_window_size(16)
        .handshake::<_, Bytes>(socket);
    let (mut client, connection) = built.await.unwrap();
    let connection = tokio::spawn(connection);
    let mut open = async || {
        let (answer, mut request) = client.send_request(watch(), false).unwrap();
        request.send_data(frame(&from_earliest()), true).unwrap();
        answer.await.unwrap().into_body()
    };
    let (mut still, mut reading) = (open().await, open().await);
    let (read, mut has_read) = watch::channel(Vec::new());
    let reader = tokio::spawn(async move {
        while let Some(Ok(data)) = reading.data().await {
            reading.flow_control().release_capacity(data.len()).unwrap();
            read.send_modify(|all| all.extend(data));
        }
    });
    // One message more than what it was handed and does not take.
    webhooks.deliver_event("evt_more", "case.closed").await;
    // What had come before is there; then comes the reset.
    let reset = loop {
        match timeout(PATIENCE, still.data()).await.unwrap().unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(reset.reason(), Some(Reason::CANCEL));
    gateway.wait_for_metric("streams_stalled_total 1\n").await;
    gateway.wait_for_metric("watch_streams_open 1\n").await;
    webhooks.deliver_event("evt_last", "case.closed").await;
    let is_there = |all: &Vec<u8>| all.windows(8).any(|part| part == b"evt_last");
    let last = has_read.wait_for(is_there);
    timeout(PATIENCE, last).await.unwrap().unwrap();
    reader.abort();
    connection.abort();
    gateway.stop().await;
}

/// Quiet is not stuck: nothing was there to be taken.
#[tokio::test]
async fn a_stream_without_events_is_left_alone() {
    let gateway = gateway().await;
    let subscriber = crate::subscriber::Subscriber::connect(gateway.grpc).await;
    let mut stream = subscriber.watch(from_earliest()).await.unwrap();
    stream.past().await;
    tokio::time::sleep(3 * STALL).await;
    Webhooks::to(gateway.webhook)
        .deliver_event("late", "case.closed")
        .await;
    assert_eq!(stream.message().await.events[0].event_id, "late");
    gateway.stop().await;
}

/// The socket itself is full, not one stream's window.
#[tokio::test]
async fn a_connection_that_is_not_read_is_closed() {
    let gateway = gateway().await;
    let webhooks = Webhooks::to(gateway.webhook);
    let mut socket = TcpStream::connect(gateway.grpc).await.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\x7f\xff\xff\xff";
    socket.write_all(preface).await.unwrap();
    // As much more for the connection as for its streams.
    socket
        .write_all(b"\0\0\x04\x08\0\0\0\0\0\x7f\x00\x00\x00")
        .await
        .unwrap();
    let mut headers = vec![0x83, 0x86];
    for (name, value) in [
        (":path", "/kora.compliance.v1.ComplianceService/WatchEvents"),
        (":authority", "gateway"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        headers.extend([0, name.len() as u8]);
        headers.extend(name.as_bytes());
        headers.push(value.len() as u8);
        headers.extend(value.as_bytes());
    }
    let request = frame(&pb::WatchEventsRequest {
        include_raw_json: true,
        ..from_earliest()
    });
    let raw_frame = |kind: u8, flags: u8, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    };
    socket.write_all(&raw_frame(1, 4, &headers)).await.unwrap();
    socket.write_all(&raw_frame(0, 1, &request)).await.unwrap();
    gateway.wait_for_metric("watch_streams_open 1\n").await;
    // More than the buffers of both sockets hold.
    let body = |number: usize| {
        let data = serde_json::json!({"padding": "x".repeat(1 << 20), "number": number});
        serde_json::json!({"event": "case.closed", "data": data}).to_string()
    };
    for number in 0..16 {
        webhooks.deliver(body(number).as_bytes()).await;
    }
    gateway.wait_for_metric("watch_streams_open 0\n").await;
    let mut rest = Vec::new();
    // What is in the buffers, and then the end.
    let end = timeout(PATIENCE, socket.read_to_end(&mut rest)).await;
    assert!(end.is_ok());
    gateway.stop().await;
}
