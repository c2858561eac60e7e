//! The ports as such: what a client may do to a connection, and for how long.

mod ages;
pub mod authority;
mod files;
mod openings;
mod peers;
mod stalls;
mod tls;
