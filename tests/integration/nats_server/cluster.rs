//! Three NATS servers that are one.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use async_nats::jetstream::stream::ClusterInfo;

use super::{NatsServer, Program};
use crate::tcp_link::TcpLink;

/// Where no server listens, so that servers reach each other only through the links.
const NOWHERE: &str = "127.0.0.1:1";

/// A cluster: what the majority of its servers has is kept.
pub struct NatsCluster {
    pub servers: [NatsServer; 3],
    /// From one server (first index) to another.
    links: [[TcpLink; 3]; 3],
}

impl NatsCluster {
    /// Servers that sync each write to disk before they acknowledge it.
    pub async fn start(program: Program) -> Self {
        let held = [(); 3].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let addrs = held.each_ref().map(|free| free.local_addr().unwrap());
        drop(held);
        let links = [
            links_to(addrs).await,
            links_to(addrs).await,
            links_to(addrs).await,
        ];
        let servers = [0, 1, 2].map(|number| {
            let others = (0..3).filter(|other| *other != number);
            let routes: Vec<_> = others
                .map(|other| format!("nats://{}", links[number][other].addr()))
                .collect();
            NatsServer::start_program(
                program,
                &[
                    "--name",
                    &name(number),
                    "--cluster_name",
                    "test",
                    "--cluster",
                    &format!("nats://{}", addrs[number]),
                    "--cluster_advertise",
                    NOWHERE,
                    "--routes",
                    &routes.join(","),
                ],
                None,
            )
        });
        NatsCluster { servers, links }
    }

    /// All servers, as a setting of the gateway; the one with this number first.
    pub fn urls_from(&self, first: usize) -> String {
        let urls = (0..3).map(|number| self.servers[(first + number) % 3].url());
        urls.collect::<Vec<_>>().join(",")
    }

    /// Whether its servers are too old for a cluster that keeps what the gateway promises.
    pub async fn is_too_old(&self) -> bool {
        let client = async_nats::connect(self.servers[0].url()).await.unwrap();
        !client.is_server_compatible(2, 11, 0)
    }

    /// The server that leads this stream by the word of these servers; `None` while there is none.
    pub async fn leader_of(&self, stream: &str, asked: &[usize]) -> Option<usize> {
        let leader = self.group_of(stream, asked).await?.leader?;
        (0..3).find(|number| name(*number) == leader)
    }

    /// Whether every server has all of this stream that its leader has.
    pub async fn is_whole(&self, stream: &str) -> bool {
        let group = self.group_of(stream, &[0, 1, 2]).await;
        group.is_some_and(|group| {
            group.replicas.len() == 2 && group.replicas.iter().all(|replica| replica.current)
        })
    }

    async fn group_of(&self, stream: &str, asked: &[usize]) -> Option<ClusterInfo> {
        let asked = asked.iter().map(|number| self.servers[*number].url());
        let options = async_nats::ConnectOptions::new().ignore_discovered_servers();
        let client = options.connect(asked.collect::<Vec<_>>()).await.ok()?;
        let mut jetstream = async_nats::jetstream::new(client);
        jetstream.set_timeout(Duration::from_secs(1));
        let stream = jetstream.get_stream(stream).await.ok()?;
        stream.cached_info().cluster.clone()
    }

    /// Cuts a server off from the other two, or lets it come back. Its clients still reach it.
    pub fn partition(&self, number: usize, is_cut: bool) {
        for other in (0..3).filter(|other| *other != number) {
            self.links[number][other].cut(is_cut);
            self.links[other][number].cut(is_cut);
        }
    }
}

fn name(number: usize) -> String {
    format!("server-{number}")
}

async fn links_to(addrs: [SocketAddr; 3]) -> [TcpLink; 3] {
    [
        TcpLink::start(addrs[0], Duration::ZERO).await,
        TcpLink::start(addrs[1], Duration::ZERO).await,
        TcpLink::start(addrs[2], Duration::ZERO).await,
    ]
}
