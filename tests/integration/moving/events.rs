//! Events that the two backends know again, find and have room for, each in its own way.

use std::time::Duration;

use kora_gateway::{
    event::{Content, Identity, Keys, NewEvent, SCREENING_COMPLETED, reconciled_id},
    pb,
    store::{Appended, EventLog, PollLog},
};
use prost::Message;

use super::{Named, done, new_file, refused, targets};
use crate::{
    event_log,
    log_laws::{DEDUP_WINDOW, NatsPlace, Place, TENANT, all_after, append, by_body, event},
};

targets! {
    the_same_body_at_two_times_stays_two_events_and_is_known_again,
    an_end_that_the_gateway_read_is_replaced_by_the_webhook,
}

/// More than a message on NATS may have.
const LARGE: usize = 1 << 20;

async fn moved<P: Named>(from: &impl Named) -> P {
    let (_files, file) = new_file();
    done("export", &file, &from.setting(), TENANT).await;
    let place = P::new().await;
    place.hands().set(from.hands().milliseconds());
    done("import", &file, &place.setting(), TENANT).await;
    place
}

async fn the_same_body_at_two_times_stays_two_events_and_is_known_again<P: Named>() {
    let from = event_log::Place::new();
    let log = from.open();
    for _ in 0..3 {
        assert_eq!(log.append(by_body(7)).await, Ok(Appended::New));
        from.hands.turn(DEDUP_WINDOW.as_millis() as i64);
    }
    let expected = all_after(&log, 0).await;
    assert_eq!(expected.len(), 3);
    log.close().await;
    from.hands.turn(-1000);
    let place = moved::<P>(&from).await;
    let log = place.open().await;
    assert_eq!(all_after(&log, 0).await, expected);
    // The last one is as young as the window is long, less a second.
    assert_eq!(log.append(by_body(7)).await, Ok(Appended::Duplicate));
    place.pass(Duration::from_secs(2));
    assert_eq!(log.append(by_body(7)).await, Ok(Appended::New));
}

fn end(screening_id: &str) -> Content {
    Content {
        keys: Keys {
            kind: SCREENING_COMPLETED.to_owned(),
            screening_id: screening_id.to_owned(),
            ..Keys::default()
        },
        ..Content::default()
    }
}

async fn an_end_that_the_gateway_read_is_replaced_by_the_webhook<P: Named>() {
    let from = event_log::Place::new();
    let log = from.open();
    let time = jiff::Timestamp::UNIX_EPOCH;
    assert_eq!(
        log.add_poll("a".to_owned(), String::new(), time).await,
        Ok(true)
    );
    let reconciled = log.reconcile(NewEvent::reconciled(end("a"), b"{}"));
    assert_eq!(reconciled.await, Ok(Appended::New));
    log.close().await;
    let place = moved::<P>(&from).await;
    let log = place.open().await;
    assert_eq!(
        log.add_poll("a".to_owned(), String::new(), time).await,
        Ok(false)
    );
    let webhook = Identity::Vendor("evt_1".to_owned());
    let webhook = NewEvent::from_webhook(webhook, end("a"), b"{}");
    assert_eq!(log.append(webhook).await, Ok(Appended::New));
    let page = log.read(1).await.unwrap();
    let event = pb::Event::decode(page[0].event.clone()).unwrap();
    assert_eq!(event.supersedes_event_id, reconciled_id("a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_nats_has_no_room_for_is_refused_before_anything_is_imported() {
    let from = event_log::Place::new();
    let log = from.open();
    append(&log, "a").await;
    log.close().await;
    drop(log);
    let (_files, small) = new_file();
    done("export", &small, &from.setting(), TENANT).await;
    let log = from.open();
    let large = event(Identity::Vendor("large".to_owned()), &"x".repeat(LARGE));
    assert_eq!(log.append(large).await, Ok(Appended::New));
    log.close().await;
    let (_files, large) = new_file();
    done("export", &large, &from.setting(), TENANT).await;
    let place = NatsPlace::new().await;
    let complaint = refused("import", &large, &place.setting(), TENANT).await;
    assert!(complaint.contains("max_payload"), "{complaint}");
    done("import", &small, &place.setting(), TENANT).await;
    assert_eq!(all_after(&place.open().await, 0).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_on_nats_is_exported_while_a_gateway_uses_it() {
    let from = NatsPlace::new().await;
    let used = from.open().await;
    append(&used, "a").await;
    let place = moved::<event_log::Place>(&from).await;
    append(&used, "b").await;
    let ids = all_after(&place.open(), 0).await;
    assert_eq!(ids, [(1, "a".to_owned())]);
}
