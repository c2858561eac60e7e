//! `demo`: a gateway and an emulator in this process, and a story played through them over the socket.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, process::ExitCode};

use tonic::transport::Endpoint;

use super::{
    BAD_CONFIGURATION, client::connect, complain, failure::Kind, init_logging, say, story,
};
use crate::{
    app::{self, Listeners, Surroundings},
    clock::Clock,
    config::{Config, Environment, Flags},
    lifecycle::{Phase, Readiness, Reload, Shutdown, stop_on_signals},
};

/// Free ports of the loopback interface.
const FREE_PORT: &str = "127.0.0.1:0";

pub(super) async fn demo(once: bool, environment: &Environment) -> ExitCode {
    if let Err(code) = init_logging(environment, "warn") {
        return code;
    }
    // Removed when the demo ends.
    let data = match tempfile::tempdir() {
        Ok(data) => data,
        Err(error) => return complain(1, format_args!("no temporary directory: {error}")),
    };
    // The demo needs no settings, and takes none: a key in the environment stays out of it.
    let loaded = match Config::load(flags(data.path()), &Environment::new(), true) {
        Ok(loaded) => loaded,
        Err(problems) => return complain(BAD_CONFIGURATION, problems),
    };
    let shutdown = Shutdown::default();
    let listeners = match stop_on_signals(shutdown.clone()) {
        Ok(()) => Listeners::bind(&loaded.config).await,
        Err(error) => Err(error),
    };
    let listeners = match listeners {
        Ok(listeners) => listeners,
        Err(error) => return complain(1, error),
    };
    let addresses: Vec<_> = listeners
        .iter()
        .map(|listener| (listener.name(), listener.addr()))
        .collect();
    let grpc = listeners.grpc.addr();
    let surroundings = Surroundings {
        clock: Clock::with_step_hold(loaded.config.clock_step_hold),
        readiness: Readiness::default(),
        shutdown: shutdown.clone(),
        reload: Reload::default(),
    };
    let mut phase = surroundings.readiness.subscribe();
    let gateway = tokio::spawn(app::run(loaded.config, listeners, surroundings));
    let _ = phase.wait_for(|phase| *phase == Phase::Ready).await;

    let told = tell(grpc).await;
    if told.is_ok() && !once {
        say("");
        for (name, addr) in addresses {
            say(format_args!("listening {name} {addr}"));
        }
        say(format_args!(
            "\nTry it:\n\n{}\n\nCtrl-C stops it.",
            story::grpcurl_line(grpc)
        ));
        shutdown.started().await;
    }
    shutdown.start();
    match (told, gateway.await) {
        (Ok(()), Ok(Ok(()))) => ExitCode::SUCCESS,
        // Why nobody answered the story.
        (_, Ok(Err(error))) => complain(1, error),
        (Err(problem), _) => complain(1, problem),
        (Ok(()), _) => complain(1, "the gateway did not stop cleanly"),
    }
}

/// Free ports, and a directory that is not the one of `serve`.
pub(super) fn flags(data: &Path) -> Flags {
    let ports = ["grpc-addr", "webhook-addr", "admin-addr", "emulator-addr"];
    let mut flags: BTreeMap<_, _> = ports.map(|name| (name, FREE_PORT.to_owned())).into();
    flags.insert("event-log", format!("file:{}", data.display()));
    Flags(flags)
}

async fn tell(grpc: SocketAddr) -> Result<(), String> {
    let endpoint = Endpoint::from_shared(format!("http://{grpc}"))
        .map_err(|_| format!("{grpc} makes no URL"))?;
    let client = connect(&endpoint)
        .await
        .map_err(|failed| failed.sentence(Kind::Reading))?;
    story::tell(client).await
}
