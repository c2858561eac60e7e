//! The callers' side: the gRPC service, and the boundary that every call passes on its way in and out.
//!
//! This room knows no HTTP client. What a call means is decided in [`crate::screening`] and
//! [`crate::kora`]; here it gets its deadline, its id, and its status with all details.

mod admission;
mod announced;
mod arrival;
mod arriving;
mod boundary;
mod deadline;
mod failure_log;
mod gate;
mod message_body;
mod metrics;
mod record;
mod rpc;
mod service;
mod standard;
mod status;
mod watch;

use std::{convert::Infallible, sync::Arc};

use http::{Request, Response};
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;
use tonic::{body::Body, service::Routes};
use tower::Service;

pub use metrics::Metrics;

use crate::{
    access::{Callers, Shares},
    clock::Clock,
    feed::Feed,
    kora,
    lifecycle::Shutdown,
    memory::Budget,
    pb,
    pb::compliance_service_server::ComplianceServiceServer,
    requests::{Permits, Requests},
};

/// What the callers' API accepts.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether the descriptors of the API are served, to anybody.
    pub is_reflection_served: bool,
    /// How large a request message may be.
    pub max_request_bytes: usize,
    /// Calls in flight at a time, and repeats of known ones beside them. One whose caller has gone keeps its permit until
    /// it is over.
    pub max_calls: usize,
    /// Streams of events at a time.
    pub max_streams: usize,
}

/// What the calls are answered from.
pub struct Sources {
    /// Who may call.
    pub callers: Callers,
    /// For whom calls are made, each with a name of its own.
    pub tenants: Vec<Tenant>,
    /// Tells the day.
    pub clock: Clock,
    /// Bounds the memory of large requests and messages.
    pub budget: Budget,
}

/// What the calls for one tenant are answered from.
pub struct Tenant {
    /// Its name, as callers know it.
    pub name: Arc<str>,
    /// Kora, for reads.
    pub kora: kora::Client,
    /// What is created, and what became of it.
    pub requests: Requests,
    /// The streams of events.
    pub feed: Feed,
}

/// Builds what the callers' port serves: the API, reflection, and the `health` service. Calls are counted
/// in `calls` while they last; from the order to `stop` on, new ones are refused.
pub fn service<H>(
    config: &Config,
    sources: Sources,
    metrics: Metrics,
    calls: TaskTracker,
    stop: Shutdown,
    health: H,
) -> impl Service<
    Request<Incoming>,
    Response = Response<Body>,
    Error = Infallible,
    Future: Send + 'static,
> + Clone
+ Send
+ 'static
where
    H: tonic::server::NamedService + Clone + Send + Sync + 'static,
    H: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    H::Future: Send + 'static,
{
    let Sources {
        callers,
        tenants,
        clock,
        budget,
    } = sources;
    let compliance = service::Compliance::new(clock, metrics.answers_cut.clone());
    let compliance = ComplianceServiceServer::new(compliance)
        .max_decoding_message_size(config.max_request_bytes);
    // Version 1 and the alpha that many tools still ask for.
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = reflection().build_v1().expect(DESCRIPTORS_ARE_VALID);
    let v1alpha = reflection().build_v1alpha().expect(DESCRIPTORS_ARE_VALID);
    let mut routes = Routes::new(compliance).add_service(health);
    if config.is_reflection_served {
        routes = routes
            .add_service(v1.max_decoding_message_size(config.max_request_bytes))
            .add_service(v1alpha.max_decoding_message_size(config.max_request_bytes));
    }
    let routes = routes.prepare();
    let streams = Shares::new(config.max_streams);
    let routes = watch::WithWatch::new(routes, streams, &budget, config.max_request_bytes);
    let way_in = boundary::WayIn {
        gate: gate::Gate::new(callers, tenants),
        permits: Permits::new(config.max_calls),
        arrivals: arrival::Arrivals::new(config.max_request_bytes, &budget.requests),
        standard: standard::Standard::new(),
        calls,
        stop,
    };
    boundary::Boundary::new(routes, metrics, way_in)
}

const DESCRIPTORS_ARE_VALID: &str =
    "the descriptors were encoded by the compiler that checked them";
