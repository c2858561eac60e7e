//! What the backend on NATS does beside the law of a log.

mod broken;
mod clusters;
mod cut_off;
mod deaths;
mod deliveries;
mod distances;
mod elections;
mod gateways;
mod large;
mod newer;
mod outages;
mod owners;
mod polls;
mod races;
mod secured;
mod settings;
mod windows;
