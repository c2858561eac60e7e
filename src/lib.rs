//! kora-gateway: screens customers through Kora Compliance, for callers in any language.
//!
//! (The map of the house follows.)

pub mod admin;
pub mod app;
pub mod cli;

pub mod clock;
pub mod config;
pub mod emulator;
pub mod error;
pub mod grpc;
pub mod kora;
pub mod lifecycle;
pub mod listener;
pub mod pb;
pub mod screening;
pub mod telemetry;
