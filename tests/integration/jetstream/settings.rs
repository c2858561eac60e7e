//! What somebody else set, and what the gateway makes of it.

use std::time::Duration;

use async_nats::jetstream::stream::{self, Config, DiscardPolicy, RetentionPolicy, StorageType};
use kora_gateway::store::{
    EventLog,
    jetstream::{self, OpenError},
};

use crate::log_laws::{NatsPlace, Place, TENANT, all_after, append, named};

const EVENTS: &str = "kora-gateway-tenant-events";
const RECORDS: &str = "KV_kora-gateway-tenant-records";
const REQUESTS: &str = "KV_kora-gateway-tenant-requests";

/// A setting's name, and how it breaks a promise.
type Harm = (&'static str, fn(&mut Config));

const HARM: &[Harm] = &[
    ("retention", |config| {
        config.retention = RetentionPolicy::Interest;
    }),
    ("storage", |config| config.storage = StorageType::Memory),
    ("max_msgs", |config| config.max_messages = 1000),
    ("max_msg_size", |config| config.max_message_size = 1000),
    ("max_age", |config| {
        config.max_age = Duration::from_secs(29 * 86_400);
    }),
    ("max_bytes", |config| config.max_bytes = (1 << 30) - 1),
    ("discard", |config| config.discard = DiscardPolicy::New),
    ("max_msgs_per_subject", |config| {
        config.max_messages_per_subject = 1;
    }),
    ("subjects", |config| {
        config.subjects.pop();
    }),
    ("duplicate_window", |config| {
        config.duplicate_window = Duration::from_secs(120);
    }),
    ("no_ack", |config| config.no_ack = true),
    ("deny_delete", |config| config.deny_delete = false),
    ("allow_direct", |config| config.allow_direct = true),
];

/// The settings of a stream that the gateway made, and a place without it.
async fn made_and_deleted(name: &str) -> (NatsPlace, Config) {
    let place = NatsPlace::new().await;
    place.open().await.close().await;
    let client = place.server.client().await;
    let made = client.get_stream(name).await.unwrap();
    let config = made.cached_info().config.clone();
    for name in [EVENTS, RECORDS] {
        client.delete_stream(name).await.unwrap();
    }
    (place, config)
}

#[tokio::test]
async fn a_stream_whose_settings_break_a_promise_is_refused_by_their_name() {
    let (place, sound) = made_and_deleted(EVENTS).await;
    let client = place.server.client().await;
    for (name, change) in HARM {
        let mut harmful = sound.clone();
        change(&mut harmful);
        client.create_stream(harmful).await.unwrap();
        let refused = place.try_open().await.unwrap_err();
        assert!(
            matches!(&refused, OpenError::Refused(what) if what.ends_with(&format!(": {name}"))),
            "{name}: {refused}"
        );
        client.delete_stream(EVENTS).await.unwrap();
    }
    // The same stream, made by hand as it should be.
    client.create_stream(sound).await.unwrap();
    append(&place.open().await, "a").await;
}

#[tokio::test]
async fn a_bucket_that_forgets_is_refused() {
    let (place, sound) = made_and_deleted(RECORDS).await;
    let client = place.server.client().await;
    let forgetful: [Harm; 2] = [
        ("max_age", |config| config.max_age = Duration::from_secs(1)),
        ("max_bytes", |config| config.max_bytes = 1 << 20),
    ];
    for (name, change) in forgetful {
        let mut harmful = sound.clone();
        change(&mut harmful);
        // NATS has it no longer than that.
        harmful.duplicate_window = Duration::from_secs(1);
        client.create_stream(harmful).await.unwrap();
        let refused = place.try_open().await.unwrap_err();
        assert!(matches!(refused, OpenError::Refused(what) if what.ends_with(name)));
        client.delete_stream(RECORDS).await.unwrap();
    }
}

#[tokio::test]
async fn request_records_outlive_their_retention_by_an_hour_at_least() {
    let (place, sound) = made_and_deleted(REQUESTS).await;
    let hour = Duration::from_secs(3600);
    let wanted = place.config.request_retention + hour;
    assert_eq!(sound.max_age, wanted);
    let client = place.server.client().await;
    for (max_age, is_accepted) in [
        (place.config.request_retention, false),
        (wanted - Duration::from_secs(1), false),
        (wanted, true),
        (wanted + hour, true),
        (Duration::ZERO, true),
    ] {
        client.delete_stream(REQUESTS).await.unwrap();
        let set = Config {
            max_age,
            ..sound.clone()
        };
        client.create_stream(set).await.unwrap();
        match place.try_open().await {
            Ok(log) => {
                assert!(is_accepted, "{max_age:?}");
                log.close().await;
            }
            Err(OpenError::Refused(what)) => {
                assert!(!is_accepted, "{max_age:?}: {what}");
                assert!(
                    what.contains(REQUESTS) && what.ends_with(": max_age"),
                    "{what}"
                );
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_stream_without_its_bucket_and_a_bucket_without_its_stream_are_refused() {
    for gone in [EVENTS, RECORDS] {
        let place = NatsPlace::new().await;
        let log = place.open().await;
        append(&log, "a").await;
        log.close().await;
        let client = place.server.client().await;
        client.delete_stream(gone).await.unwrap();
        let refused = place.try_open().await;
        assert!(matches!(refused, Err(OpenError::Refused(_))), "{gone}");
    }
}

#[tokio::test]
async fn a_server_without_jetstream_or_that_is_not_there_is_told_apart() {
    let mut place = NatsPlace::new().await;
    place.server.kill();
    let away = place.try_open().await;
    assert!(matches!(away, Err(OpenError::Unreachable(_))));
}

#[tokio::test]
async fn tenants_share_a_server_and_nothing_else() {
    let place = NatsPlace::new().await;
    let log = place.open().await;
    append(&log, "a").await;
    let metrics = kora_gateway::store::Metrics::register(&mut Default::default());
    let clock = place.hands.clock();
    // The server sets aside for each stream what it may have.
    let config = jetstream::Config {
        retention_bytes: 1 << 20,
        ..place.config.clone()
    };
    let other = kora_gateway::store::JetStream::open(&config, "an.other>*", clock, metrics).await;
    let other = other.unwrap();
    assert!(other.id() != log.id());
    assert_eq!(all_after(&other, 0).await, vec![]);
    append(&other, "a").await;
    assert_eq!(all_after(&log, 0).await, named(&[(1, "a")]));
    assert_ne!(TENANT, "an.other>*");
}

/// Somebody else's message is no event, and nothing after it is shown as if it were in order.
#[tokio::test]
async fn a_message_that_is_no_event_is_never_returned() {
    let place = NatsPlace::new().await;
    let log = place.open().await;
    append(&log, "a").await;
    let client = place.server.client().await;
    let published = client
        .publish("kora-gateway.tenant.events", "junk".into())
        .await;
    published.unwrap().await.unwrap();
    let mut writable = log.writable();
    writable.wait_for(|is_writable| !is_writable).await.unwrap();
    log.close().await;
    let log = place.open().await;
    append(&log, "b").await;
    assert_eq!(all_page(&log, 0).await, vec![1]);
    assert!(log.read(1).await.is_err());
    assert_eq!(all_after(&log, 2).await, named(&[(3, "b")]));
}

async fn all_page(log: &impl EventLog, sequence: u64) -> Vec<u64> {
    let page = log.read(sequence).await.unwrap();
    page.iter().map(|record| record.sequence).collect()
}

/// What the gateway asks for is what it would take.
#[tokio::test]
async fn what_the_gateway_made_it_opens_again() {
    let place = NatsPlace::new().await;
    place.open().await.close().await;
    let client = place.server.client().await;
    let made: stream::Info = client
        .get_stream(EVENTS)
        .await
        .unwrap()
        .cached_info()
        .clone();
    assert_eq!(
        made.config.duplicate_window,
        Duration::from_secs(3 * 86_400)
    );
    assert_eq!(made.config.max_age, Duration::from_secs(30 * 86_400));
    place.open().await;
}
