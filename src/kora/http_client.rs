//! The HTTP client: its settings, and what it trusts. All tenants share one, with its connections and certificates;
//! what makes a request a tenant's own is in its headers.
//!
//! reqwest's pool has no maximum age, and a connection that is used often enough never gets idle. So the whole client is
//! replaced, and its pool with it: exchanges that have begun keep the old one, and it closes its connections after the
//! last of them. Both are built alike, so the proof that a request was not sent does not change.

use std::{
    error::Error,
    fs, io, iter,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Certificate, Client, ClientBuilder, Proxy, redirect, retry};
use tokio::{task, time::sleep};
use tokio_rustls::rustls;

use super::Config;

/// How long resolving, connecting and the TLS handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The way to Kora. Clones share it.
#[derive(Clone)]
pub struct HttpClient {
    client: Arc<Mutex<Client>>,
    pub(super) config: Arc<Config>,
    trusted: Trusted,
}

/// What Kora's server is verified by.
#[derive(Clone)]
enum Trusted {
    /// The system's certificates, as they are when a client is built.
    System,
    /// These alone, which were read when the first client was built.
    Only(Arc<[Certificate]>),
}

/// Why the client cannot be set up. No message holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The CA file cannot be read.
    #[error("the Kora CA file {} cannot be read: {source}", path.display())]
    CaFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The CA file holds no certificates.
    #[error("the Kora CA file {} holds no PEM certificate", .0.display())]
    NoCertificate(PathBuf),
    /// The tenant id cannot be sent in a header.
    #[error("the Kora tenant id holds characters that a header cannot have")]
    TenantId,
    /// Nothing is there to know Kora's server by.
    #[error(
        "there are no CA certificates on this system to verify Kora's server by: install the package ca-certificates, \
         or name a file of them with --kora-ca-file; SSL_CERT_FILE and SSL_CERT_DIR, where they are set, must name some"
    )]
    NoSystemCertificates(#[source] reqwest::Error),
    /// The HTTP client refuses its settings.
    #[error("the HTTP client for Kora cannot be built: {0}")]
    Client(#[source] reqwest::Error),
}

impl HttpClient {
    /// Sets it up; nothing is sent.
    ///
    /// # Errors
    /// If a setting cannot be used.
    pub fn new(config: &Config) -> Result<Self, SetupError> {
        let trusted = match &config.ca_file {
            Some(path) => Trusted::Only(authorities(path)?.into()),
            None => Trusted::System,
        };
        Self::trusting(trusted, config)
    }

    /// The same for a Kora that speaks plain HTTP on loopback alone, as the emulator does. It trusts no certificate, and
    /// needs none.
    ///
    /// # Errors
    /// If a setting cannot be used.
    pub fn without_tls(config: &Config) -> Result<Self, SetupError> {
        Self::trusting(Trusted::Only(Arc::new([])), config)
    }

    fn trusting(trusted: Trusted, config: &Config) -> Result<Self, SetupError> {
        Ok(HttpClient {
            client: Arc::new(Mutex::new(build(&trusted, config)?)),
            config: Arc::new(config.clone()),
            trusted,
        })
    }

    /// The client for one exchange, which is to keep it to its end.
    pub(super) fn client(&self) -> Client {
        let client = self.client.lock();
        client.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has no connection used for a new exchange that is older than the maximum age, for as long as it is polled.
    pub async fn limit_connection_age(self) {
        loop {
            sleep(self.config.connection_max_age).await;
            // It reads the system's certificates from disk.
            let (trusted, config) = (self.trusted.clone(), Arc::clone(&self.config));
            let built = task::spawn_blocking(move || build(&trusted, &config)).await;
            match built {
                Ok(Ok(new)) => {
                    let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
                    let old = std::mem::replace(&mut *client, new);
                    // Outside of the lock, since it closes connections.
                    drop(client);
                    drop(old);
                }
                Ok(Err(error)) => {
                    let error: &dyn Error = &error;
                    tracing::warn!(
                        error,
                        "connections to Kora are kept beyond their maximum age"
                    );
                }
                // The runtime stops.
                Err(_) => return,
            }
        }
    }
}

fn build(trusted: &Trusted, config: &Config) -> Result<Client, SetupError> {
    let (builder, is_system_trusted) = match trusted {
        Trusted::System => (builder(config)?, true),
        Trusted::Only(certificates) => {
            let certificates = certificates.iter().cloned();
            (builder(config)?.tls_certs_only(certificates), false)
        }
    };
    builder.build().map_err(|error| {
        if is_system_trusted && has_no_certificates(&error) {
            SetupError::NoSystemCertificates(error)
        } else {
            SetupError::Client(error)
        }
    })
}

/// HTTP/1.1 only, and nothing that sends a request a second time by itself: the proof that a request was
/// not sent rests on both.
fn builder(config: &Config) -> Result<ClientBuilder, SetupError> {
    let mut builder = Client::builder()
        .http1_only()
        .retry(retry::never())
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(config.idle_timeout)
        .user_agent(concat!("kora-gateway/", env!("CARGO_PKG_VERSION")));
    if let Some(proxy) = &config.proxy {
        // Only https, which a proxy cannot read: plain HTTP is for loopback, and stays there.
        builder = builder.proxy(Proxy::https(proxy.clone()).map_err(SetupError::Client)?);
    }
    Ok(builder)
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, SetupError> {
    let pem = fs::read(path).map_err(|source| SetupError::CaFile {
        path: path.to_owned(),
        source,
    })?;
    Certificate::from_pem_bundle(&pem)
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| SetupError::NoCertificate(path.to_owned()))
}

/// The platform's verifier has no other error before it has seen a certificate.
fn has_no_certificates(error: &reqwest::Error) -> bool {
    let first: &(dyn Error + 'static) = error;
    let causes = iter::successors(Some(first), |&error| error.source());
    causes
        .filter_map(|cause| cause.downcast_ref())
        .any(|cause| matches!(cause, rustls::Error::General(_)))
}
