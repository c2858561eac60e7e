//! The ports as such: what a client may do to a connection, and for how long.

mod ages;
mod authority;
mod openings;
mod stalls;
mod tls;
