//! A cluster whose servers are killed, cut off and restarted one at a time, while Kora delivers to two gateways: what
//! was answered `200` is there once, no request is sent twice, no stream ends, and both gateways go on by themselves.
//!
//! `NATS_FAULTS=100` for as many faults.

use std::{collections::HashSet, env, net::SocketAddr, time::Duration};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tonic::Code;
use uuid::Uuid;

use super::deliveries::{Deliveries, Follower, log_at};
use crate::{
    call::{Call, Rpc},
    gateway_process::GatewayProcess,
    harness::TENANT_ID,
    nats_server::{NatsCluster, Program},
    requests::{completed, request},
    scripted_kora::{Received, ScriptedKora},
};

/// How many faults there are, unless the environment says another number.
const FAULTS: usize = 3;

/// How long both gateways have to serve again while a majority of the servers is there.
const RECOVERY: Duration = Duration::from_secs(10);

/// How long a server is down or cut off.
const OUTAGE: Duration = Duration::from_secs(3);

/// How long the servers have to be one cluster again.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to leave the machine to others before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long a caller waits before it tries again what was not sent.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// What happens to a server.
#[derive(Clone, Copy, Debug)]
enum Fault {
    LeaderKilled,
    LeaderCutOff,
    /// Whichever server is next.
    Restarted,
}

const ALL: [Fault; 3] = [Fault::LeaderKilled, Fault::LeaderCutOff, Fault::Restarted];

fn events_stream() -> String {
    format!("kora-gateway-{TENANT_ID}-events")
}

/// The leader, once there is one among these servers.
async fn leader_among(cluster: &NatsCluster, servers: &[usize]) -> usize {
    let found = async {
        loop {
            match cluster.leader_of(&events_stream(), servers).await {
                Some(leader) if servers.contains(&leader) => return leader,
                _ => sleep(LOOK_AGAIN).await,
            }
        }
    };
    timeout(PATIENCE, found).await.expect("a leader in time")
}

/// Waits until every server has all that the leader has.
async fn until_whole(cluster: &NatsCluster) {
    let is_whole = async {
        while !cluster.is_whole(&events_stream()).await {
            sleep(LOOK_AGAIN).await;
        }
    };
    timeout(PATIENCE, is_whole).await.expect("whole in time");
}

/// Waits until both gateways take events again.
async fn until_served(deliveries: &Deliveries, fault: Fault) {
    let served = deliveries.until_more(|answers| answers.accepted);
    let in_time = timeout(RECOVERY, served).await;
    assert!(in_time.is_ok(), "{fault:?}: both gateways serve in time");
}

fn idempotency_key(received: &Received) -> String {
    let mut headers = received.headers.iter();
    let found = headers.find(|(name, _)| name.eq_ignore_ascii_case("idempotency-key"));
    found.expect("a key").1.clone()
}

/// Makes one screening after the other, each at one gateway after the other until one of them has sent it. Returns how
/// many were answered, and how many may have been sent.
async fn call_until(is_over: watch::Receiver<bool>, gateways: [SocketAddr; 2]) -> (usize, usize) {
    let (mut answered, mut unknown) = (0, 0);
    let mut turns = gateways.into_iter().cycle();
    while !*is_over.borrow() {
        let request = request(Uuid::new_v4());
        for gateway in turns.by_ref() {
            let call = Call::new(Rpc::Screen, &request).header("grpc-timeout", "10S");
            let answer = call.send(gateway).await;
            match answer.outcome().as_deref() {
                _ if answer.status.code() == Code::Ok => answered += 1,
                Some("NOT_SENT") => {
                    sleep(TRY_AGAIN).await;
                    continue;
                }
                Some("UNKNOWN") => unknown += 1,
                outcome => panic!("{outcome:?}: {:?}", answer.status),
            }
            break;
        }
    }
    (answered, unknown)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_survives_every_change_of_leader() {
    let faults = env::var("NATS_FAULTS").map_or(FAULTS, |faults| faults.parse().unwrap());
    let mut cluster = NatsCluster::start(Program::Current).await;
    let kora = ScriptedKora::start(completed()).await;
    let gateways = [0, 1].map(|number| {
        let flags = ["--nats-replicas", "3"];
        GatewayProcess::start_with(&kora.base_url(), &cluster.urls_from(number), &flags)
    });
    let [one, other] = &gateways;
    let followers = [Follower::start(one).await, Follower::start(other).await];
    let deliveries = Deliveries::start(&gateways);
    let (over, is_over) = watch::channel(false);
    let calls = tokio::spawn(call_until(is_over, [one.grpc, other.grpc]));
    for (number, fault) in ALL.into_iter().cycle().take(faults).enumerate() {
        until_whole(&cluster).await;
        deliveries.until_more(|answers| answers.accepted).await;
        let server = match fault {
            Fault::LeaderKilled | Fault::LeaderCutOff => leader_among(&cluster, &[0, 1, 2]).await,
            Fault::Restarted => number % cluster.servers.len(),
        };
        let majority: Vec<_> = (0..3).filter(|other| *other != server).collect();
        match fault {
            Fault::LeaderCutOff => cluster.partition(server, true),
            Fault::LeaderKilled | Fault::Restarted => cluster.servers[server].kill(),
        }
        leader_among(&cluster, &majority).await;
        until_served(&deliveries, fault).await;
        sleep(OUTAGE).await;
        match fault {
            Fault::LeaderCutOff => cluster.partition(server, false),
            Fault::LeaderKilled | Fault::Restarted => cluster.servers[server].resume(),
        }
        until_served(&deliveries, fault).await;
    }
    over.send_replace(true);
    let (answered, unknown) = timeout(PATIENCE, calls).await.unwrap().unwrap();
    let sent = kora.take_received();
    let keys: HashSet<_> = sent.iter().map(idempotency_key).collect();
    assert_eq!(sent.len(), keys.len(), "no request is sent twice");
    assert!((answered..=answered + unknown).contains(&sent.len()));
    let kept = deliveries.finish().await;
    let log = log_at(one).await;
    assert_eq!(log_at(other).await, log);
    for follower in followers {
        assert_eq!(follower.seen(log.len()).await, log);
    }
    let lost: Vec<_> = kept.iter().filter(|id| !log.contains(id)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert_eq!(kept.len(), log.len(), "nothing is there twice");
}
