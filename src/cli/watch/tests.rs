//! The watcher against a scripted gateway, over real sockets.

mod endings;
mod harness;
mod lines;
mod notices;
mod places;
mod returns;
mod scripted_gateway;
