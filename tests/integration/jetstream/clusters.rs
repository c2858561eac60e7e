//! Clusters: old ones are refused, and newer ones lose a server and nothing else.

use std::time::Duration;

use kora_gateway::store::{Appended, EventLog, JetStream, jetstream::OpenError};
use tokio::time::{sleep, timeout};

use crate::{
    log_laws::{NatsPlace, all_after, append, by_id, named},
    nats_server::{NatsCluster, NatsServer, Program},
};

/// How long servers have to become a cluster, or to choose another leader.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long to leave the machine to others before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Opens a log as soon as the cluster has a leader; or what refuses it.
async fn open(place: &NatsPlace) -> Result<JetStream, OpenError> {
    let opened = async {
        loop {
            match place.try_open().await {
                Err(OpenError::Unreachable(_)) => sleep(LOOK_AGAIN).await,
                opened => return opened,
            }
        }
    };
    timeout(PATIENCE, opened).await.unwrap()
}

fn place_on(server: &NatsServer) -> NatsPlace {
    let mut place = NatsPlace::on(NatsServer::start());
    place.config.servers = vec![server.url()];
    place.config.replicas = 3;
    place
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_cluster_is_refused_and_a_new_one_survives_a_server() {
    let mut cluster = NatsCluster::start(Program::Oldest).await;
    let opened = open(&place_on(&cluster.servers[0])).await;
    if cluster.is_too_old().await {
        let refused = opened.unwrap_err();
        assert!(
            matches!(&refused, OpenError::Refused(what) if what.contains("2.11")),
            "{refused}"
        );
        return;
    }
    let one = opened.unwrap();
    let other = open(&place_on(&cluster.servers[1])).await.unwrap();
    append(&one, "a").await;
    append(&other, "b").await;
    cluster.servers[2].kill();
    let again = async {
        while one.append(by_id("c")).await.is_err() {
            sleep(LOOK_AGAIN).await;
        }
    };
    timeout(PATIENCE, again).await.unwrap();
    assert_eq!(one.append(by_id("a")).await, Ok(Appended::Duplicate));
    for log in [&one, &other] {
        let mut head = log.tail().head();
        let shown = head.wait_for(|head| *head == 3);
        timeout(PATIENCE, shown).await.unwrap().unwrap();
        let expected = named(&[(1, "a"), (2, "b"), (3, "c")]);
        assert_eq!(all_after(log, 0).await, expected);
    }
}
