//! Request records arrive as they were: with their answers or without, and what was left open as nobody's.

use std::time::Duration;

use kora_gateway::store::{Ending, RequestLog, StoredRequest, StoredState};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{Named, done, new_file, targets};
use crate::{
    event_log,
    log_laws::{
        NatsPlace, TENANT, append,
        requests::{ending, intent, key},
    },
    subscriber::PATIENCE,
};

targets! {
    evicted_and_abandoned_requests_stay_what_they_were,
}

/// So many large answers do not fit into a tight log.
const MORE_THAN_FIT: usize = 20;
const LARGE: usize = 100_000;

async fn found(log: &impl RequestLog, id: Uuid) -> StoredRequest {
    log.request(key(id)).await.unwrap().unwrap()
}

/// A stopped log with a request in every state, and answers that were evicted. The last one is open.
async fn filled<P: Named>() -> (P, Vec<StoredRequest>) {
    let place = P::tight().await;
    let log = place.open().await;
    let abandoned = Uuid::new_v4();
    log.begin(intent(abandoned, Uuid::new_v4())).await.unwrap();
    P::close(&log).await;
    let log = place.open().await;
    append(&log, "a").await;
    let mut ids = vec![abandoned];
    let states = [
        StoredState::Succeeded,
        StoredState::Failed,
        StoredState::MayBeRepeated,
    ];
    for number in 0..MORE_THAN_FIT {
        let (id, attempt) = (Uuid::new_v4(), Uuid::new_v4());
        log.begin(intent(id, attempt)).await.unwrap();
        let end = Ending {
            answer: vec![b'x'; LARGE].into(),
            ..ending(id, attempt, states[number % 3], "")
        };
        assert_eq!(log.finish(end).await, Ok(true));
        ids.push(id);
    }
    let evicted = async {
        while !found(&log, ids[3]).await.is_evicted {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, evicted).await.unwrap();
    let open = Uuid::new_v4();
    log.begin(intent(open, Uuid::new_v4())).await.unwrap();
    ids.push(open);
    let mut requests = Vec::new();
    for id in ids {
        requests.push(found(&log, id).await);
    }
    P::close(&log).await;
    (place, requests)
}

async fn evicted_and_abandoned_requests_stay_what_they_were<P: Named>() {
    move_from::<event_log::Place, P>().await;
    move_from::<NatsPlace, P>().await;
}

async fn move_from<From: Named, To: Named>() {
    let (from, mut requests) = filled::<From>().await;
    let (_files, file) = new_file();
    done("export", &file, &from.setting(), TENANT).await;
    let to = To::new().await;
    done("import", &file, &to.setting(), TENANT).await;

    let log = to.open().await;
    append(&log, "b").await;
    assert_eq!(requests[0].state, StoredState::Abandoned);
    let open = requests.last_mut().unwrap();
    assert_eq!(open.state, StoredState::InFlight);
    open.state = StoredState::Abandoned;
    for request in requests {
        let moved = found(&log, request.key.request_id).await;
        assert!(moved == request, "{moved:?} was {request:?}");
    }
}
