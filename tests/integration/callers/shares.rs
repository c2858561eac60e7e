//! One caller cannot take every place: another one still gets its own.

use super::*;
use crate::{
    call::Rpc,
    scripted_kora::{Act, ScriptedKora},
    subscriber::Subscriber,
};

/// How many places there are, and how many of them are one caller's at most.
const PLACES: &str = "4";
const MOST: usize = 2;

async fn gateway_of_two(kora: &str, setting: &'static str) -> Gateway {
    let callers = ["greedy", "modest"].map(|name| caller(name, &Right::ALL, TENANT_ID));
    let callers = Callers::only(callers.to_vec()).unwrap();
    Gateway::start_with(kora, &[(setting, PLACES)], |config| {
        config.callers = callers;
    })
    .await
}

#[tokio::test]
async fn calls_of_one_caller_leave_places_to_another() {
    let (told, late) = Act::pending_once_told();
    let kora = ScriptedKora::start(late).await;
    let gateway = gateway_of_two(&kora.base_url(), "max-calls").await;
    let screen = |name: &str| {
        let call = Rpc::Screen.call();
        call.header("authorization", &format!("Bearer {name}"))
            .send(gateway.grpc)
    };
    let mut taken = Vec::new();
    for (number, name) in ["greedy", "modest"].into_iter().enumerate() {
        taken.extend((0..MOST).map(|_| tokio::spawn(screen(name))));
        kora.wait_for_requests((number + 1) * MOST).await;
        let refused = screen(name).await;
        assert_eq!(refused.reason(), "GATEWAY_OVERLOADED", "{name}");
    }
    told.notify_waiters();
    for call in taken {
        call.await.unwrap().screening();
    }
    gateway.stop().await;
}

#[tokio::test]
async fn streams_of_one_caller_leave_places_to_another() {
    let gateway = gateway_of_two(NO_KORA, "max-watch-streams").await;
    let subscriber = Subscriber::connect(gateway.grpc).await;
    let mut taken = Vec::new();
    for name in ["greedy", "modest"] {
        let authorization = format!("Bearer {name}");
        let watch = || {
            let request = with(Some(&authorization), pb::WatchEventsRequest::default());
            subscriber.watch_with(request)
        };
        for _ in 0..MOST {
            taken.push(watch().await.unwrap());
        }
        let refused = watch().await.err().unwrap();
        let info = refused.get_details_error_info().unwrap();
        assert_eq!(info.reason, "TOO_MANY_STREAMS", "{name}");
    }
    drop((taken, subscriber));
    gateway.stop().await;
}
