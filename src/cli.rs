//! The verbs of the command line.

mod backup;
mod call_args;
mod cause;
mod check_config;
mod client;
mod clock;
mod demo;
mod emulator;
mod failure;
mod gateway_args;
mod print;
mod reload;
mod serve;
mod setting_flags;
mod store;
mod story;
mod token;
mod watch;
mod way_in;

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};

use crate::{
    config::{Environment, NotUtf8},
    telemetry,
};
use setting_flags::SettingFlags;

/// The exit code for a wrong command line or a bad configuration (`EX_USAGE` of sysexits).
const BAD_CONFIGURATION: u8 = 64;

/// The gRPC compliance gateway in front of Kora Compliance.
#[derive(Parser)]
#[command(name = "kora-gateway", version, about)]
struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the gateway
    Serve(ServeArgs),
    /// Run a gateway and an emulator on free ports, and play an onboarding story through them
    Demo {
        /// Exit after the story: 0 if every step went as told
        #[arg(long)]
        once: bool,
    },
    /// Run the Kora emulator alone, or fire a webhook by hand
    Emulator(emulator::EmulatorArgs),
    /// Read the configuration as `serve` would, and say what is in effect and where it came from
    CheckConfig(ServeArgs),
    /// Move a tenant's log from one place to another, or back up a running gateway's logs
    #[command(subcommand)]
    Store(store::StoreVerb),
    /// Look at the time that a running gateway goes by
    #[command(subcommand)]
    Clock(clock::ClockVerb),
    /// Make a caller's token
    #[command(subcommand)]
    Token(token::TokenVerb),
    /// Screen a party through a running gateway
    Screen(call_args::ScreenArgs),
    /// Create or read a subject through a running gateway
    #[command(subcommand)]
    Subject(call_args::SubjectVerb),
    /// Tell what became of a request
    #[command(subcommand)]
    Request(call_args::RequestVerb),
    /// Print Kora's events as a running gateway has them, and come back by itself when it was away
    Watch(watch::WatchArgs),
}

#[derive(clap::Args)]
struct ServeArgs {
    /// Also run the Kora emulator, and point the gateway at it
    #[arg(long)]
    emulator: bool,
    #[command(flatten)]
    settings: SettingFlags,
}

/// How long the end waits for the last lines to be written: nobody may be reading them.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Runs the verb of `args` with this environment.
pub async fn run(args: impl IntoIterator<Item = OsString>, environment: &Environment) -> ExitCode {
    let code = run_verb(args, environment).await;
    telemetry::flush(LAST_LINES);
    code
}

async fn run_verb(args: impl IntoIterator<Item = OsString>, environment: &Environment) -> ExitCode {
    let verb = match CommandLine::try_parse_from(args) {
        Ok(CommandLine { verb }) => verb,
        Err(error) => {
            // Help and version are answers, not errors.
            let code = if error.use_stderr() {
                BAD_CONFIGURATION
            } else {
                0
            };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match verb {
        Verb::Serve(args) => serve::serve(args, environment).await,
        Verb::Demo { once } => demo::demo(once, environment).await,
        Verb::Emulator(args) => emulator::run(args, environment).await,
        Verb::CheckConfig(args) => check_config::check_config(args, environment),
        Verb::Store(verb) => store::run(verb, environment).await,
        Verb::Clock(verb) => clock::run(verb).await,
        Verb::Token(verb) => token::run(verb),
        Verb::Screen(args) => client::screen(args).await,
        Verb::Subject(call_args::SubjectVerb::Create(args)) => client::create_subject(args).await,
        Verb::Subject(call_args::SubjectVerb::Get(args)) => client::get_subject(args).await,
        Verb::Request(call_args::RequestVerb::Get(args)) => client::get_request(args).await,
        Verb::Watch(args) => watch::watch(args).await,
    }
}

/// What `RUST_LOG` says.
fn log_directives(environment: &Environment) -> Result<Option<&str>, String> {
    let directives = environment.get("RUST_LOG");
    directives.map_err(|NotUtf8| "RUST_LOG is not UTF-8".to_owned())
}

/// Sends the logs to stderr, as `RUST_LOG` says.
fn init_logging(environment: &Environment, default: &str) -> Result<(), ExitCode> {
    log_directives(environment)
        .and_then(|directives| telemetry::log_filter(Some(directives.unwrap_or(default))))
        .and_then(telemetry::init_logging)
        .map_err(|problem| complain(BAD_CONFIGURATION, problem))
}

/// Prints a line on stdout. A reader that has gone away is no reason to fail.
fn say(line: impl std::fmt::Display) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Prints a complaint on stderr, each of its lines as one of its own, and returns the exit code.
fn complain(code: u8, complaint: impl std::fmt::Display) -> ExitCode {
    telemetry::complain(complaint);
    ExitCode::from(code)
}
