//! What the backend on NATS does beside the law of a log.

mod gateways;
mod outages;
mod owners;
mod settings;
