//! The binary: parses the verb and turns its outcome into an exit code.

use std::{env, process::ExitCode};

#[tokio::main]
async fn main() -> ExitCode {
    // A variable that is not Unicode cannot be one of ours.
    let environment = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    kora_gateway::cli::run(env::args_os(), &environment).await
}
