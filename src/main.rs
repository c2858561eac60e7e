//! The binary: parses the verb and turns its outcome into an exit code.

use std::{env, io::Write, process::ExitCode};

use mimalloc::MiMalloc;

/// Gives memory back that a burst of requests needed; the system's allocator keeps much of it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let environment = env::vars_os().collect();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(kora_gateway::cli::run(env::args_os(), &environment));
    // A name that is still being resolved must not hold the end up: its thread cannot be stopped.
    runtime.shutdown_background();
    code
}
