//! What the backend on NATS does beside the law of a log.

mod clusters;
mod deaths;
mod deliveries;
mod gateways;
mod outages;
mod owners;
mod races;
mod settings;
