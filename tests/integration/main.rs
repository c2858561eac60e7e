//! The gateway as its users see it: real sockets, real bytes, and a Kora that misbehaves on command.
#![expect(unreachable_pub, reason = "nothing is outside of a test crate")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod architecture;
mod call;
mod callers;
mod circuit;
mod contradictions;
mod deadlines;
mod deliveries;
mod emulator;
mod error_table;
mod event_log;
mod every_byte_offset;
mod fault_proxy;
mod feed;
mod gateway_process;
mod harness;
mod jetstream;
mod junk_answers;
mod log_laws;
mod manual;
mod mesh;
mod moving;
mod nats_server;
mod no_leaks;
mod not_sent;
mod operations;
mod ports;
mod rate_limit;
mod reading_answers;
mod reconciler;
mod requests;
mod rotation;
mod scripted_kora;
mod situations;
mod stops;
mod subscriber;
mod successes;
mod tenants;
mod validation;
mod vendor_guide;
mod watch;
mod watch_endings;
mod watch_model;
mod way_out;
mod webhooks;
