//! Streams of events: every start and every ending, with markers in what is asked for.

use kora_gateway::pb::{self, watch_events_request::Start};
use prost_types::Timestamp;
use serde_json::json;
use tonic::{Code, Request};

use super::{
    deliveries::event,
    launch::Launch,
    marked::{self, METADATA, NAME, WEBHOOK_SECRET},
    outputs::Outputs,
    process::Running,
};
use crate::{
    call::SCREENING_ID,
    deliveries::{Webhooks, signature_by},
    subscriber::{Subscriber, after, assert_failure, from_earliest},
};

/// Nothing asks Kora here.
const NO_KORA: &str = "http://127.0.0.1:9/api/v1";

/// Events of such a size that the log keeps one or two of them.
const LARGE: usize = 50_000;

async fn deliver(gateway: &Running, body: &[u8]) {
    let signature = signature_by(WEBHOOK_SECRET, body);
    let answer = Webhooks::to(gateway.webhook())
        .offer_signed(body, signature)
        .await;
    assert_eq!(answer.status(), 200);
}

fn asking(request: pb::WatchEventsRequest) -> Request<pb::WatchEventsRequest> {
    let mut request = Request::new(request);
    for name in ["authorization", "x-marker"] {
        request
            .metadata_mut()
            .insert(name, METADATA.parse().unwrap());
    }
    request
}

/// A filter of nothing but markers, some of which there are.
fn filter() -> pb::EventFilter {
    pb::EventFilter {
        types: vec![NAME.to_owned(), format!("{NAME}.*")],
        subject_ids: vec![NAME.to_owned(), "MARKER of nobody".to_owned()],
        screening_ids: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_subscribers_ask_for_is_not_logged() {
    let mut outputs = Outputs::default();
    let gateway = Launch::gateway(NO_KORA).start().await;
    deliver(
        &gateway,
        &event("evt_1", NAME, json!({"subject_id": NAME, NAME: NAME})),
    )
    .await;
    deliver(
        &gateway,
        &event(
            "evt_2",
            "screening.completed",
            marked::completed(SCREENING_ID),
        ),
    )
    .await;
    let subscriber = Subscriber::connect(gateway.grpc()).await;
    let start = |start| pb::WatchEventsRequest {
        start: Some(start),
        include_raw_json: true,
        ..Default::default()
    };
    let mut stream = subscriber
        .watch_with(asking(from_earliest()))
        .await
        .unwrap();
    let token = stream.message().await.resume_token;
    let long_ago = Timestamp {
        seconds: 1,
        nanos: 0,
    };
    for (asked, count) in [
        (from_earliest(), 2),
        (start(Start::FromTime(long_ago)), 2),
        (start(Start::ResumeToken(token.clone())), 2),
        (start(Start::Position(pb::StartPosition::Latest.into())), 0),
        (pb::WatchEventsRequest::default(), 0),
        (
            pb::WatchEventsRequest {
                filter: Some(filter()),
                ..from_earliest()
            },
            1,
        ),
    ] {
        let events = subscriber
            .watch_with(asking(asked))
            .await
            .unwrap()
            .past()
            .await;
        assert_eq!(events.len(), count);
    }
    let other = Launch::gateway(NO_KORA).start().await;
    let foreign = Subscriber::connect(other.grpc()).await;
    let foreign = foreign
        .watch(from_earliest())
        .await
        .unwrap()
        .message()
        .await
        .resume_token;
    let bad_filter = pb::EventFilter {
        types: vec![format!("*{NAME}"), format!("{NAME}.*.{NAME}")],
        ..filter()
    };
    for (asked, code, reason) in [
        (
            start(Start::ResumeToken(NAME.to_owned())),
            Code::InvalidArgument,
            "TOKEN_INVALID",
        ),
        (
            start(Start::ResumeToken(NAME.repeat(50))),
            Code::InvalidArgument,
            "TOKEN_INVALID",
        ),
        (
            start(Start::ResumeToken(foreign)),
            Code::OutOfRange,
            "TOKEN_FOREIGN",
        ),
        (
            pb::WatchEventsRequest {
                filter: Some(bad_filter),
                ..after(NAME)
            },
            Code::InvalidArgument,
            "INVALID_REQUEST",
        ),
        (
            start(Start::FromTime(Timestamp {
                seconds: i64::MAX,
                nanos: -1,
            })),
            Code::InvalidArgument,
            "INVALID_REQUEST",
        ),
    ] {
        let Err(status) = subscriber.watch_with(asking(asked)).await else {
            panic!("{reason} is a stream");
        };
        assert_failure(&status, code, reason);
        outputs.add_status("a refusal", &status);
    }
    // Its caller says when a stream ends.
    let mut short = asking(from_earliest());
    short.set_timeout(std::time::Duration::from_millis(1500));
    let mut short = subscriber.watch_with(short).await.unwrap();
    let status = loop {
        if let Err(status) = short.next().await {
            break status;
        }
    };
    assert_eq!(status.code(), Code::DeadlineExceeded);
    outputs.add_status("a deadline", &status);
    drop(stream);
    other.end(&mut outputs).await;
    let log = gateway.end(&mut outputs).await;
    assert_eq!(log.matches("method=\"WatchEvents\"").count(), 6);
    outputs.look();
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_end_say_why_and_nothing_else() {
    let mut outputs = Outputs::default();
    let gateway = Launch::gateway(NO_KORA)
        .flag("retention-size", "64KiB")
        .start()
        .await;
    let subscriber = Subscriber::connect(gateway.grpc()).await;
    let mut stream = subscriber.watch(from_earliest()).await.unwrap();
    let oldest = stream.message().await.resume_token;
    for number in 0..4 {
        let data = json!({"screening_id": SCREENING_ID, "name": NAME.repeat(LARGE / NAME.len())});
        deliver(&gateway, &event(&format!("evt_{number}"), NAME, data)).await;
    }
    let Err(status) = subscriber.watch(after(&oldest)).await else {
        panic!("nothing was trimmed");
    };
    assert_failure(&status, Code::OutOfRange, "TOKEN_EXPIRED");
    outputs.add_status("an old token", &status);
    // Told to stop in the middle of it.
    let mut open = subscriber.watch(from_earliest()).await.unwrap();
    open.message().await;
    let ending = tokio::spawn(async move {
        loop {
            if let Err(status) = open.next().await {
                return status;
            }
        }
    });
    drop(stream);
    let log = gateway.end(&mut outputs).await;
    let status = ending.await.unwrap();
    assert_failure(&status, Code::Unavailable, "STREAM_DRAINED");
    outputs.add_status("a drained stream", &status);
    assert!(log.contains("TOKEN_EXPIRED") && log.contains("STREAM_DRAINED"));
    outputs.look();
}
