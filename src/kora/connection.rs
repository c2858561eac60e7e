//! What the requests of one tenant have in common: URLs and headers.

use http::{
    HeaderName, HeaderValue, Method,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Body, Request};
use secrecy::{ExposeSecret, SecretString};
use url::Url;
use uuid::Uuid;

use super::{Account, Endpoint, SetupError, transmission::TrackedBody};
use crate::secret::Secret;

/// What is not escaped in a path segment (RFC 3986: unreserved).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

const TENANT: HeaderName = HeaderName::from_static("x-tenant-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// One tenant's way of asking Kora.
pub(super) struct Connection {
    screenings: Url,
    subjects: Url,
    api_key: Secret,
    tenant: HeaderValue,
}

impl Connection {
    pub(super) fn new(account: &Account) -> Result<Self, SetupError> {
        let tenant = HeaderValue::from_str(&account.tenant_id);
        Ok(Connection {
            screenings: below(&account.base_url, "screenings"),
            subjects: below(&account.base_url, "subjects"),
            api_key: account.api_key.clone(),
            tenant: tenant.map_err(|_| SetupError::TenantId)?,
        })
    }

    pub(super) fn api_key(&self) -> &Secret {
        &self.api_key
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

/// # Errors
/// If the key cannot be sent in a header.
pub fn check_api_key(key: &SecretString) -> Result<(), &'static str> {
    bearer(key).map_or(
        Err("holds characters that a header cannot have"),
        |_| Ok(()),
    )
}

/// # Errors
/// If the tenant's id cannot be sent in a header.
pub fn check_tenant_id(id: &str) -> Result<(), &'static str> {
    HeaderValue::from_str(id).map_or(
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
