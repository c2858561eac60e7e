//! For how long a body without an id is known.

use std::{collections::BTreeSet, time::Duration};

use kora_gateway::store::{Appended, EventLog};

use super::Place;
use crate::log_laws::{all_after, by_body};

#[tokio::test]
async fn a_body_is_known_for_the_window_and_then_a_new_event() {
    let place = Place::new();
    let log = place.open();
    assert_eq!(log.append(by_body(1)).await, Ok(Appended::New));
    assert_eq!(log.append(by_body(2)).await, Ok(Appended::New));
    for round in 2..5 {
        place.pass(Duration::from_millis(59_999));
        assert_eq!(log.append(by_body(1)).await, Ok(Appended::Duplicate));
        place.pass(Duration::from_millis(1));
        assert_eq!(log.append(by_body(1)).await, Ok(Appended::New));
        assert_eq!(log.append(by_body(1)).await, Ok(Appended::Duplicate));
        let found = all_after(&log, 0).await.into_iter();
        let ids: BTreeSet<_> = found.map(|(_, id)| id).collect();
        assert_eq!(ids.len(), round + 1, "each has an id of its own: {ids:?}");
    }
}
