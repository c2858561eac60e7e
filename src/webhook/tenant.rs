//! Whose webhook a request is: the path says it, and the signature has to be by a secret of that tenant's.

use std::{collections::HashMap, sync::Arc};

use percent_encoding::percent_decode_str;

use super::{Tenant, answer::Ending, body::BodyReader, signature::ActiveVerifier};
use crate::{
    event::{Identity, NewEvent, UNREADABLE},
    memory::Pool,
    store::{AppendError, Appended, EventLog},
    telemetry::Throttle,
};

/// Where Kora sends webhooks to.
const PATH: &str = "/webhooks/compliance";

// Anybody who reaches the port can cause these lines.
static TOO_LARGE: Throttle = Throttle::new("a webhook is too large");
static OVERLOADED: Throttle = Throttle::new("no memory for a webhook");
static UNAUTHENTIC: Throttle = Throttle::new("a webhook is not signed by Kora");

/// What is needed of one tenant.
pub(super) struct Recipient {
    pub(super) name: String,
    pub(super) verifier: ActiveVerifier,
    pub(super) log: Arc<dyn EventLog>,
    pub(super) bodies: BodyReader,
}

/// All tenants, by their names.
pub(super) struct Tenants {
    by_name: HashMap<Vec<u8>, Arc<Recipient>>,
    /// Where there is no other one: it needs no name in the path.
    only: Option<Arc<Recipient>>,
}

impl Tenants {
    /// Those whose webhooks have bodies of at most so many bytes.
    pub(super) fn new(tenants: Vec<Tenant>, max_body_bytes: usize, memory: &Pool) -> Self {
        let bodies = BodyReader::for_tenants(tenants.len(), max_body_bytes, memory);
        let recipients: Vec<_> = tenants
            .into_iter()
            .zip(bodies)
            .map(Recipient::new)
            .map(Arc::new)
            .collect();
        Tenants {
            only: match &recipients[..] {
                [only] => Some(Arc::clone(only)),
                _ => None,
            },
            by_name: recipients
                .into_iter()
                .map(|recipient| (recipient.name.clone().into_bytes(), recipient))
                .collect(),
        }
    }

    /// Whose webhooks come on this path, if anybody's do.
    pub(super) fn on(&self, path: &str) -> Option<&Arc<Recipient>> {
        match path.strip_prefix(PATH)? {
            "" => self.only.as_ref(),
            rest => {
                let segment = rest.strip_prefix('/')?;
                let name: Vec<u8> = percent_decode_str(segment).collect();
                (!segment.contains('/')).then(|| self.by_name.get(&name))?
            }
        }
    }
}

impl Recipient {
    fn new((tenant, bodies): (Tenant, BodyReader)) -> Self {
        Recipient {
            name: tenant.name,
            verifier: ActiveVerifier::new(tenant.secrets),
            log: tenant.log,
            bodies,
        }
    }

    /// Puts an authentic event into the tenant's log.
    pub(super) async fn keep(&self, event: NewEvent) -> Ending {
        let is_unreadable = event.keys.kind == UNREADABLE;
        let event_id = match &event.identity {
            Identity::Vendor(id) => id.clone(),
            Identity::Body(_) => String::new(),
        };
        match self.log.append(event).await {
            Ok(Appended::Duplicate) => Ending::Duplicate,
            Ok(Appended::New) if is_unreadable => {
                let tenant = &self.name;
                tracing::warn!(
                    tenant,
                    "an authentic webhook cannot be read; it is kept as it is"
                );
                Ending::Unreadable
            }
            Ok(Appended::New) => Ending::Accepted,
            Err(error) => {
                tracing::warn!(tenant = self.name, event_id, %error, "a webhook was not kept");
                match error {
                    // Offering it again would not help.
                    AppendError::TooLarge => Ending::TooLarge,
                    AppendError::TooSlow | AppendError::Unavailable | AppendError::Broken => {
                        Ending::StoreUnavailable
                    }
                }
            }
        }
    }

    /// Says what somebody should hear of.
    pub(super) fn tell(&self, ending: Ending) {
        let tenant = &self.name;
        match ending {
            Ending::TooLarge if TOO_LARGE.allows() => {
                tracing::warn!(tenant, "a webhook is too large");
            }
            Ending::Overloaded if OVERLOADED.allows() => {
                tracing::warn!(tenant, "no memory for a webhook");
            }
            Ending::Unauthentic if UNAUTHENTIC.allows() => {
                tracing::info!(tenant, "a webhook is not signed by Kora");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::{
        clock::Clock,
        memory::Budget,
        store::{Config, Metrics, Sqlite},
    };

    fn tenants(names: &[&str]) -> Tenants {
        let directory = tempfile::tempdir().unwrap();
        let week = std::time::Duration::from_secs(7 * 86_400);
        let config = Config {
            directory: directory.path().to_owned(),
            retention_age: week,
            retention_bytes: 1 << 20,
            dedup_window: week,
            request_retention: week,
            request_bytes: 2 << 30,
        };
        let metrics = Metrics::register(&mut Registry::default());
        let log = Sqlite::open(&config, "t", Clock::system(), metrics).unwrap();
        let log: Arc<dyn EventLog> = Arc::new(log);
        let tenant = |name: &&str| Tenant {
            name: (*name).to_owned(),
            secrets: "whsec".into(),
            log: Arc::clone(&log),
        };
        let memory = Budget::default().webhook_bodies;
        Tenants::new(names.iter().map(tenant).collect(), 4 << 20, &memory)
    }

    #[tokio::test]
    async fn only_the_tenants_paths_are_known() {
        for (path, names, of) in [
            ("/webhooks/compliance", &["t"][..], Some("t")),
            ("/webhooks/compliance/t", &["t"], Some("t")),
            ("/webhooks/compliance/%74", &["t"], Some("t")),
            ("/webhooks/compliance/a%2Fb", &["a/b"], Some("a/b")),
            ("/webhooks/compliance/a/b", &["a/b"], None),
            ("/webhooks/compliance/", &["t"], None),
            ("/webhooks/compliance/t/", &["t"], None),
            ("/webhooks/compliance/T", &["t"], None),
            ("/webhooks/compliance/%ff", &["t"], None),
            ("/webhooks/compliancet", &["t"], None),
            ("/webhooks", &["t"], None),
            ("//webhooks/compliance", &["t"], None),
            ("/", &["t"], None),
            ("/webhooks/compliance", &["t", "u"], None),
            ("/webhooks/compliance/", &["t", "u"], None),
            ("/webhooks/compliance/t", &["t", "u"], Some("t")),
            ("/webhooks/compliance/u", &["t", "u"], Some("u")),
            ("/webhooks/compliance/tu", &["t", "u"], None),
        ] {
            let tenants = tenants(names);
            let found = tenants.on(path).map(|recipient| recipient.name.as_str());
            assert_eq!(found, of, "{path} of {names:?}");
        }
    }
}
