//! `token new`: makes a caller's token.

use std::process::ExitCode;

use clap::Subcommand;

use super::{complain, say};
use crate::access::Token;

#[derive(Subcommand)]
pub(super) enum TokenVerb {
    /// Make a token: the first line is the caller's secret, the second one goes under its [[callers]] in the file
    New,
}

pub(super) fn run(verb: TokenVerb) -> ExitCode {
    let TokenVerb::New = verb;
    match Token::random() {
        Ok(token) => {
            say(token.expose());
            say(format_args!("token_sha256 = [\"{}\"]", token.hash()));
            ExitCode::SUCCESS
        }
        Err(error) => complain(1, format_args!("there is no randomness to be had: {error}")),
    }
}
