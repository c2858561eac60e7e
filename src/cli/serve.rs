//! `serve`: runs the gateway until it is told to stop.

use std::process::ExitCode;

use super::{BAD_CONFIGURATION, ServeArgs, complain, init_logging, reload::Settings};
use crate::{
    app::{self, Listeners, StartError, Surroundings},
    clock::Clock,
    config::{Config, Environment},
    lifecycle::{Phase, Readiness, Shutdown, serve_signals},
    telemetry,
};

pub(super) async fn serve(args: ServeArgs, environment: &Environment) -> ExitCode {
    let loaded = match Config::load(args.settings.0.clone(), environment, args.emulator) {
        Ok(loaded) => loaded,
        Err(problems) => return complain(BAD_CONFIGURATION, problems),
    };
    if let Err(code) = init_logging(environment, "info") {
        return code;
    }
    let shutdown = Shutdown::default();
    let reload = match serve_signals(shutdown.clone()) {
        Ok(reload) => reload,
        Err(error) => return complain(1, error),
    };
    if let Err(error) = app::check(&loaded.config) {
        return complain(BAD_CONFIGURATION, error);
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(warning) = app::make_room_for_files(&loaded.config) {
        tracing::warn!("{warning}");
    }
    let listeners = match Listeners::bind(&loaded.config).await {
        Ok(listeners) => listeners,
        Err(error) => return complain(1, error),
    };
    for listener in listeners.iter() {
        telemetry::print(format_args!(
            "listening {} {}",
            listener.name(),
            listener.addr()
        ));
    }
    if let Some(everyone) = loaded.everyone() {
        tracing::info!("callers: {everyone}");
    }
    let settings = Settings::new(args, environment, &loaded);
    tokio::spawn(settings.follow(reload.clone()));
    let surroundings = Surroundings {
        clock: Clock::with_step_hold(loaded.config.clock_step_hold),
        readiness: Readiness::default(),
        shutdown,
        reload,
    };
    tokio::spawn(announce(surroundings.readiness.clone()));
    match app::run(loaded.config, listeners, surroundings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ StartError::Kora(_)) => complain(BAD_CONFIGURATION, error),
        Err(error @ (StartError::WebhookLimit { .. } | StartError::Nats(_))) => {
            complain(BAD_CONFIGURATION, error)
        }
        Err(error @ StartError::Store(_)) => complain(1, error),
    }
}

/// Says `ready` when it is.
async fn announce(readiness: Readiness) {
    let mut phase = readiness.subscribe();
    if phase.wait_for(|phase| *phase == Phase::Ready).await.is_ok() {
        telemetry::print("ready");
    }
}
