//! `emulator`: the Kora emulator alone.

mod send;

use std::{collections::BTreeMap, process::ExitCode};

use super::{BAD_CONFIGURATION, complain, init_logging};
use crate::{
    config::{Emulator, Environment, Flags},
    emulator,
    lifecycle::{Shutdown, stop_on_signals},
    listener::Listener,
    telemetry,
};

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct EmulatorArgs {
    #[command(subcommand)]
    verb: Option<EmulatorVerb>,
    /// Where it listens [env: GATEWAY_EMULATOR_ADDR] [default: 127.0.0.1:4010]
    #[arg(long, value_name = "ADDR")]
    emulator_addr: Option<String>,
    /// Where it posts webhooks, an http URL on loopback; they are signed with the first line of
    /// KORA_WEBHOOK_SECRET or KORA_WEBHOOK_SECRET_FILE [default secret: emulator-webhook-secret]
    #[arg(long, value_name = "URL")]
    webhook_url: Option<String>,
}

#[derive(clap::Subcommand)]
enum EmulatorVerb {
    /// Have a running emulator send a webhook, and say what was answered
    Send(send::SendArgs),
}

pub(super) async fn run(args: EmulatorArgs, environment: &Environment) -> ExitCode {
    if let Some(EmulatorVerb::Send(args)) = args.verb {
        return send::send(args).await;
    }
    let flags: BTreeMap<_, _> = args
        .emulator_addr
        .map(|addr| ("emulator-addr", addr))
        .into_iter()
        .collect();
    let settings = match Emulator::load(Flags(flags), environment, args.webhook_url) {
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
    telemetry::print(format_args!(
        "listening {} {}",
        listener.name(),
        listener.addr()
    ));
    telemetry::print("ready");
    emulator::serve(listener.into_socket(), settings.config, shutdown.started()).await
}
