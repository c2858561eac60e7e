//! `emulator`: the Kora emulator alone.

use std::{collections::BTreeMap, process::ExitCode};

use super::{BAD_CONFIGURATION, complain, init_logging, say};
use crate::{
    config::{Emulator, Environment, Flags},
    emulator,
    lifecycle::{Shutdown, stop_on_signals},
    listener::Listener,
};

#[derive(clap::Args)]
pub(super) struct EmulatorArgs {
    /// Where it listens [env: GATEWAY_EMULATOR_ADDR] [default: 127.0.0.1:4010]
    #[arg(long, value_name = "ADDR")]
    emulator_addr: Option<String>,
}

pub(super) async fn run(args: EmulatorArgs, environment: &Environment) -> ExitCode {
    let flags: BTreeMap<_, _> = args
        .emulator_addr
        .map(|addr| ("emulator-addr", addr))
        .into_iter()
        .collect();
    let settings = match Emulator::load(Flags(flags), environment) {
        Ok(settings) => settings,
        Err(problems) => return complain(BAD_CONFIGURATION, problems),
    };
    if let Err(code) = init_logging(environment, "info") {
        return code;
    }
    match serve(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(1, error),
    }
}

async fn serve(settings: Emulator) -> std::io::Result<()> {
    let shutdown = Shutdown::default();
    stop_on_signals(shutdown.clone())?;
    let listener = Listener::bind("emulator", settings.addr).await?;
    say(format_args!(
        "listening {} {}",
        listener.name(),
        listener.addr()
    ));
    say("ready");
    emulator::serve(listener.into_socket(), settings.config, shutdown.started()).await
}
