//! kora-gateway: one gRPC service between a company's systems and Kora Compliance.
//!
//! The map of the house, from the leaves up; each room may use only what stands above it, and
//! `ARCHITECTURE.md` says who uses whom.
//!
//! | room | what it does |
//! |---|---|
//! | [`error`] | why calls fail, and whether they may have happened |
//! | [`clock`] | the wall clock, handed in |
//! | [`telemetry`] | logs and metrics |
//! | [`lifecycle`] | readiness, the order to stop, signals |
//! | [`memory`] | the memory budget |
//! | [`access`] | who may call what, and how much of the gateway one caller can take |
//! | [`listener`] | the accept loop under every port |
//! | [`pb`] | generated code |
//! | [`screening`] | screenings and subjects, validation, the wire |
//! | [`event`] | what an event says, filters, tokens |
//! | [`kora`] | the client of Kora's REST API |
//! | [`store`] | events, request records and polls, durable |
//! | [`reconciler`] | polls screenings whose end never came |
//! | [`requests`] | doing it once: intent, in flight, answer |
//! | [`webhook`] | Kora's signed webhooks into the log |
//! | [`feed`] | streams of events |
//! | [`grpc`] | the callers' API |
//! | [`admin`] | probes, metrics and health for the orchestrator |
//! | [`config`] | flags, environment and file into settings |
//! | [`app`] | wires the rooms together |
//! | [`cli`] | the verbs of the command line |
//! | [`emulator`] | Kora's twin, which imports nothing of the rest |

pub mod access;
pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod emulator;
pub mod error;
pub mod event;
pub mod feed;
#[cfg(any(test, fuzzing))]
#[path = "../tests/fuzz/properties/fuzzing.rs"]
pub mod fuzzing;
pub mod grpc;
pub mod kora;
pub mod lifecycle;
pub mod listener;
pub mod memory;
pub mod pb;
pub mod reconciler;
pub mod requests;
pub mod screening;
pub mod secret;
pub mod store;
pub mod telemetry;
pub mod webhook;
