//! How requests get to Kora: the HTTP client's settings, URLs and headers.

use std::{fs, io, path::PathBuf, time::Duration};

use http::{
    HeaderName, HeaderValue, Method,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Body, Certificate, Client, Proxy, Request, redirect, retry};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use url::Url;
use uuid::Uuid;

use super::{Config, Endpoint, transmission::TrackedBody};
use crate::secret::Secret;

/// How long resolving, connecting and the TLS handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What is not escaped in a path segment (RFC 3986: unreserved).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

const TENANT: HeaderName = HeaderName::from_static("x-tenant-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A pool of connections to Kora, and what every request on them has in common.
pub(super) struct Connection {
    http: Client,
    screenings: Url,
    subjects: Url,
    api_key: Secret,
    tenant: HeaderValue,
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

impl Connection {
    pub(super) fn new(config: &Config) -> Result<Self, SetupError> {
        Ok(Connection {
            http: http_client(config)?,
            screenings: below(&config.base_url, "screenings"),
            subjects: below(&config.base_url, "subjects"),
            api_key: config.api_key.clone(),
            tenant: HeaderValue::from_str(&config.tenant_id).map_err(|_| SetupError::TenantId)?,
        })
    }

    pub(super) fn api_key(&self) -> &Secret {
        &self.api_key
    }

    pub(super) fn http(&self) -> &Client {
        &self.http
    }

    /// A request that creates something.
    pub(super) fn post(
        &self,
        endpoint: Endpoint,
        body: TrackedBody,
        idempotency_key: Option<Uuid>,
    ) -> Request {
        let mut request = self.request(Method::POST, self.collection(endpoint).clone());
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, JSON);
        if let Some(key) = idempotency_key {
            let key = HeaderValue::from_str(&key.to_string()).expect("a UUID is a header value");
            headers.insert(IDEMPOTENCY_KEY, key);
        }
        *request.body_mut() = Some(Body::wrap(body));
        request
    }

    /// A request that reads what has this id.
    pub(super) fn get(&self, endpoint: Endpoint, id: &str) -> Request {
        let segment = utf8_percent_encode(id, UNRESERVED).to_string();
        self.request(Method::GET, below(self.collection(endpoint), &segment))
    }

    fn request(&self, method: Method, url: Url) -> Request {
        let mut request = Request::new(method, url);
        let headers = request.headers_mut();
        if let Some(authorization) = bearer(&self.api_key.now().text) {
            headers.insert(AUTHORIZATION, authorization);
        }
        headers.insert(TENANT, self.tenant.clone());
        headers.insert(ACCEPT, JSON);
        request
    }

    fn collection(&self, endpoint: Endpoint) -> &Url {
        match endpoint {
            Endpoint::CreateScreening | Endpoint::GetScreening => &self.screenings,
            Endpoint::CreateSubject | Endpoint::GetSubject => &self.subjects,
        }
    }
}

/// HTTP/1.1 only, and nothing that sends a request a second time by itself: the proof that a request was
/// not sent rests on both.
fn http_client(config: &Config) -> Result<Client, SetupError> {
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

/// # Errors
/// If the key cannot be sent in a header.
pub fn check_api_key(key: &SecretString) -> Result<(), &'static str> {
    bearer(key).map_or(
        Err("holds characters that a header cannot have"),
        |_| Ok(()),
    )
}

fn bearer(key: &SecretString) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `segment` must be escaped already, and be neither `.` nor `..`.
fn below(base: &Url, segment: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{segment}", base.path().trim_end_matches('/')));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_path_segment_whatever_it_contains() {
        let base: Url = "https://kora.example/api/v1/".parse().unwrap();
        let screenings = below(&base, "screenings");
        assert_eq!(
            screenings.as_str(),
            "https://kora.example/api/v1/screenings"
        );
        for (id, path) in [
            ("scr_1", "scr_1"),
            ("a/b?c#d", "a%2Fb%3Fc%23d"),
            ("../../admin", "..%2F..%2Fadmin"),
            ("%2e%2e", "%252e%252e"),
            ("é\n \\", "%C3%A9%0A%20%5C"),
            ("...", "..."),
        ] {
            let segment = utf8_percent_encode(id, UNRESERVED).to_string();
            assert_eq!(
                below(&screenings, &segment).path(),
                format!("/api/v1/screenings/{path}")
            );
        }
    }
}
