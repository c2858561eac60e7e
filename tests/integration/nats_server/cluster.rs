//! Three NATS servers that are one.

use std::net::{Ipv4Addr, TcpListener};

use super::NatsServer;

/// A cluster: what the majority of its servers has is kept.
pub struct NatsCluster(pub [NatsServer; 3]);

impl NatsCluster {
    pub fn start() -> Self {
        let held = [(); 3].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let routes = held
            .each_ref()
            .map(|free| format!("nats://{}", free.local_addr().unwrap()));
        drop(held);
        let all = routes.join(",");
        NatsCluster([0, 1, 2].map(|number| {
            let name = format!("server-{number}");
            NatsServer::start_with(&[
                "--name",
                &name,
                "--cluster_name",
                "test",
                "--cluster",
                &routes[number],
                "--routes",
                &all,
            ])
        }))
    }

    /// Whether its servers are too old for a cluster that keeps what the gateway promises.
    pub async fn is_too_old(&self) -> bool {
        let client = async_nats::connect(self.0[0].url()).await.unwrap();
        !client.is_server_compatible(2, 11, 0)
    }
}
