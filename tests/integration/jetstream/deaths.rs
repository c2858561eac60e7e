//! A gateway that is killed while Kora works on its request: nobody sends that again, and nobody waits for ever.

use std::{net::SocketAddr, time::Duration};

use kora_gateway::pb::{self, RequestState};
use serde_json::json;
use tokio::time::{sleep, timeout};
use tonic::Code;
use uuid::Uuid;

use crate::{
    call::{Answer, Call, Connection, Rpc, SCREENING_ID},
    gateway_process::GatewayProcess,
    nats_server::NatsServer,
    requests::{ask_at, completed, request},
    scripted_kora::{Act, ScriptedKora},
};

/// How long a test waits until a killed gateway counts as gone.
const LONG_PATIENCE: Duration = Duration::from_secs(90);

/// How long to leave the machine to others before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How much time a caller has: not enough to wait until a gateway that has just died counts as gone.
const CALLERS_TIME: &str = "15S";

async fn screen_at(gateway: SocketAddr, request: &pb::ScreenRequest) -> Answer {
    let call = Call::new(Rpc::Screen, request).header("grpc-timeout", CALLERS_TIME);
    call.send(gateway).await
}

async fn record_at(gateway: SocketAddr, id: Uuid) -> pb::RequestRecord {
    let answer = ask_at(gateway, &id.to_string()).await;
    answer.ok::<pb::GetRequestResponse>().record.unwrap()
}

async fn until_unknown(gateway: SocketAddr, id: Uuid) {
    while record_at(gateway, id).await.state() == RequestState::InFlight {
        sleep(LOOK_AGAIN).await;
    }
    let record = record_at(gateway, id).await;
    assert_eq!(record.state(), RequestState::Unknown);
    assert!(record.result.is_none());
}

/// Screens again and again until somebody knows more than that it is in flight.
async fn until_answered(gateway: SocketAddr, request: &pb::ScreenRequest) -> Answer {
    loop {
        let answer = screen_at(gateway, request).await;
        if answer.reason() != "DEADLINE_EXCEEDED" {
            return answer;
        }
        assert_eq!(answer.status.code(), Code::DeadlineExceeded);
        assert_eq!(answer.outcome().as_deref(), Some("UNKNOWN"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_gateway_had_sent_is_unknown_everywhere_and_never_sent_again() {
    let nats = NatsServer::start();
    let (told, late) = Act::once_told(&json!({"screening_id": SCREENING_ID, "status": "PENDING"}));
    let kora = ScriptedKora::start(late).await;
    let start = || GatewayProcess::start(&kora.base_url(), &nats.url());
    let (killed, other) = (start(), start());
    let id = Uuid::new_v4();
    let caller = tokio::spawn({
        let (call, gateway) = (Call::new(Rpc::Screen, &request(id)), killed.grpc);
        async move { Connection::open(gateway).await.send(call).await }
    });
    kora.wait_for_requests(1).await;
    killed.kill();
    assert!(caller.await.unwrap().is_err(), "nobody answers any more");
    // It may live, and its answer may come.
    let record = record_at(other.grpc, id).await;
    assert_eq!(record.state(), RequestState::InFlight);
    // From now on Kora would answer at once.
    told.notify_one();
    kora.act(completed());

    let risen = start();
    let gateways = [other.grpc, risen.grpc];
    let all = async {
        let [asked, asked_too] = gateways.map(|gateway| until_unknown(gateway, id));
        let request = request(id);
        let [screened, screened_too] = gateways.map(|gateway| until_answered(gateway, &request));
        let ((), (), one, two) = tokio::join!(asked, asked_too, screened, screened_too);
        [one, two]
    };
    let answers = timeout(LONG_PATIENCE, all).await.unwrap();
    // And so it stays.
    let again = [
        screen_at(gateways[0], &request(id)).await,
        screen_at(gateways[1], &request(id)).await,
    ];
    for answer in answers.into_iter().chain(again) {
        assert_eq!(answer.reason(), "KORA_OUTCOME_UNKNOWN");
        assert_eq!(answer.outcome().as_deref(), Some("UNKNOWN"));
    }
    let [first] = &kora.take_received()[..] else {
        panic!("one POST, and no other");
    };
    assert_eq!(first.method, "POST");
    // Not for want of a Kora: a new id is sent.
    for gateway in gateways {
        let screened = screen_at(gateway, &request(Uuid::new_v4())).await;
        assert_eq!(screened.screening().screening_id, SCREENING_ID);
    }
    assert_eq!(kora.take_received().len(), gateways.len());
}
