//! One `request_id` at two gateways at the same moment, again and again: `REQUEST_RACES=500` for a longer run.

use std::{collections::HashSet, env};

use futures_util::future::join;
use uuid::Uuid;

use super::gateways::pair;
use crate::{
    call::SCREENING_ID,
    nats_server::NatsServer,
    requests::{completed, is_replay, request, start_screen},
    scripted_kora::ScriptedKora,
};

/// How often, if the environment does not say.
const TIMES: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn one_request_id_at_both_at_once_is_one_request() {
    let nats = NatsServer::start();
    let kora = ScriptedKora::start(completed()).await;
    let gateways = pair(&kora.base_url(), &nats).await;
    let times = env::var("REQUEST_RACES").map_or(TIMES, |times| times.parse().unwrap());
    for _ in 0..times {
        let id = Uuid::new_v4();
        let [one, other] = [0, 1].map(|place| start_screen(&gateways[place], request(id)));
        let (one, other) = join(one, other).await;
        let answers = [one.unwrap(), other.unwrap()];
        for answer in &answers {
            assert_eq!(answer.screening().screening_id, SCREENING_ID);
        }
        let replays = answers.iter().filter(|answer| is_replay(answer)).count();
        assert_eq!(replays, 1, "one of the two sent it");
    }
    let sent = kora.take_received();
    let keys = sent.iter().map(|post| post.header("idempotency-key"));
    assert_eq!(keys.collect::<HashSet<_>>().len(), times);
    assert_eq!(sent.len(), times, "one POST each");
    for gateway in gateways {
        gateway.stop().await;
    }
}
