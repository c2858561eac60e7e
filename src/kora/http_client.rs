//! The HTTP client: its settings, and what it trusts. All tenants share one, with its connections and certificates;
//! what makes a request a tenant's own is in its headers.

use std::{fs, io, path::PathBuf, sync::Arc, time::Duration};

use reqwest::{Certificate, Client, Proxy, redirect, retry};
use thiserror::Error;

use super::Config;

/// How long resolving, connecting and the TLS handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The way to Kora. Clones share it.
#[derive(Clone)]
pub struct HttpClient {
    pub(super) client: Client,
    pub(super) config: Arc<Config>,
}

/// Why the client cannot be set up. No message holds a secret.
#[derive(Debug, Error)]
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
        Ok(HttpClient {
            client: client(config)?,
            config: Arc::new(config.clone()),
        })
    }
}

/// HTTP/1.1 only, and nothing that sends a request a second time by itself: the proof that a request was
/// not sent rests on both.
fn client(config: &Config) -> Result<Client, SetupError> {
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
    if let Some(path) = &config.ca_file {
        let pem = fs::read(path).map_err(|source| SetupError::CaFile {
            path: path.clone(),
            source,
        })?;
        let certificates = Certificate::from_pem_bundle(&pem)
            .ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| SetupError::NoCertificate(path.clone()))?;
        builder = builder.tls_certs_only(certificates);
    }
    builder.build().map_err(SetupError::Client)
}
