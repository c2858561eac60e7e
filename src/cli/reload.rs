//! What a reload of `serve` cannot apply: settings that only a restart changes.

use tokio::task::spawn_blocking;

use super::ServeArgs;
use crate::{
    config::{Config, Environment, Fixed, Loaded},
    lifecycle::Reload,
};

/// Where the settings of a running gateway came from, and what it runs with.
pub(super) struct Settings {
    args: ServeArgs,
    environment: Environment,
    in_effect: Fixed,
    /// Whether there is a configuration file, and one that can be read again.
    is_readable_again: bool,
}

impl Settings {
    pub(super) fn new(args: ServeArgs, environment: &Environment, loaded: &Loaded) -> Self {
        Settings {
            args,
            environment: environment.clone(),
            in_effect: loaded.fixed(),
            is_readable_again: loaded.config.callers_file.is_some(),
        }
    }

    /// Logs, with every reload, which settings differ from those in effect and need a restart.
    pub(super) async fn follow(self, reload: Reload) {
        let mut requests = reload.requests();
        while requests.next().await {
            tracing::info!(
                "SIGHUP received: secrets, certificates and callers are read again; all else needs a restart"
            );
            if self.is_readable_again {
                self.log_changes().await;
            }
        }
    }

    async fn log_changes(&self) {
        let (flags, environment) = (self.args.settings.0.clone(), self.environment.clone());
        let with_emulator = self.args.emulator;
        // It reads every file that is configured.
        let loaded = spawn_blocking(move || Config::load(flags, &environment, with_emulator));
        match loaded.await {
            Ok(Ok(loaded)) => {
                let changed = self.in_effect.changes(&loaded.fixed()).join(", ");
                if !changed.is_empty() {
                    tracing::warn!(changed, "settings have changed that need a restart");
                }
            }
            Ok(Err(problems)) => {
                let problems = problems.to_string().replace('\n', "; ");
                tracing::error!(
                    problems,
                    "the gateway could not start with the present configuration"
                );
            }
            // A panic has been reported.
            Err(_) => {}
        }
    }
}
