//! What is read again when a reload is requested, instead of a few seconds later.

use crate::{
    config::{CallersFile, Config},
    lifecycle::Reload,
    listener::Tls,
    secret::Secret,
};

/// Everything that follows its file.
pub(super) struct Followed {
    secrets: Vec<Secret>,
    tls: Vec<Tls>,
    callers: Option<CallersFile>,
}

impl Followed {
    pub(super) fn of(config: &Config) -> Self {
        let tenants = config.tenants.iter();
        let secrets =
            tenants.flat_map(|one| [one.kora.api_key.clone(), one.webhook_secrets.clone()]);
        let tls = [&config.grpc_listener.tls, &config.webhook_listener.tls];
        Followed {
            secrets: secrets.collect(),
            tls: tls.into_iter().flatten().cloned().collect(),
            callers: config.callers_file.clone(),
        }
    }

    /// Has all files looked at whenever a reload is requested.
    pub(super) async fn reload(self, reload: Reload) {
        let mut requests = reload.requests();
        while requests.next().await {
            self.secrets.iter().for_each(Secret::look_again);
            self.tls.iter().for_each(Tls::look_again);
            if let Some(callers) = &self.callers {
                callers.look_again();
            }
        }
    }
}
