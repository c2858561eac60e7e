//! `emulator`: the Kora emulator alone.

mod send;

use std::{collections::BTreeMap, process::ExitCode};

use super::{BAD_CONFIGURATION, complain, init_logging, say};
use crate::{
    config::{Emulator, Environment, Flags},
    emulator::{self, WEBHOOK_SECRET, Webhook},
    lifecycle::{Shutdown, stop_on_signals},
    listener::Listener,
};

/// The secret that webhooks are signed with. Of several lines the first counts.
const SECRET_ENV: &str = "KORA_WEBHOOK_SECRET";

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct EmulatorArgs {
    #[command(subcommand)]
    verb: Option<EmulatorVerb>,
    /// Where it listens [env: GATEWAY_EMULATOR_ADDR] [default: 127.0.0.1:4010]
    #[arg(long, value_name = "ADDR")]
    emulator_addr: Option<String>,
    /// Where it posts webhooks, an http URL on loopback; they are signed with KORA_WEBHOOK_SECRET
    /// [default secret: emulator-webhook-secret]
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
    let mut settings = match Emulator::load(Flags(flags), environment) {
        Ok(settings) => settings,
        Err(problems) => return complain(BAD_CONFIGURATION, problems),
    };
    if let Some(url) = args.webhook_url {
        let webhook = webhook(url, environment);
        if let Err(what) = webhook.check() {
            return complain(BAD_CONFIGURATION, format_args!("webhook-url {what}"));
        }
        settings.config.webhook = Some(webhook);
    }
    if let Err(code) = init_logging(environment, "info") {
        return code;
    }
    match serve(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(1, error),
    }
}

fn webhook(url: String, environment: &Environment) -> Webhook {
    let given = environment.get(SECRET_ENV).map_or("", String::as_str);
    let first = given.lines().map(str::trim).find(|line| !line.is_empty());
    Webhook {
        url,
        secret: first.unwrap_or(WEBHOOK_SECRET).to_owned(),
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
