//! Nothing personal and nothing secret gets out: not into logs at their finest level, not into metrics, not into errors.
//!
//! The real binary runs with `RUST_LOG=trace`. Whatever callers, Kora, strangers and files give it carries markers, which
//! are then looked for in all that comes out. Each test sees first that what it is about has happened.

mod callers;
mod certificates;
mod continuing;
mod deliveries;
mod emulated;
mod junk;
mod launch;
mod limits;
mod marked;
mod moved;
mod named;
mod on_nats;
mod outputs;
mod process;
mod replays;
mod secrets;
mod settings;
mod situations;
mod strangers;
mod streams;
mod successes;
