//! What a caller shows of itself.

use std::{fmt, sync::Arc};

use super::TokenHash;

/// What was shown with a call.
#[derive(Clone, Default)]
pub struct Credential {
    token: Shown,
    certificate_names: Arc<[String]>,
}

/// The token that was shown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Shown {
    /// None.
    #[default]
    Nothing,
    /// Something that is no bearer token, or several.
    Unreadable,
    /// One with this hash.
    Token(TokenHash),
}

/// The scheme of a bearer token (RFC 6750); its case does not matter (RFC 9110, 11.1).
const SCHEME: &[u8] = b"bearer ";

impl Credential {
    /// From all values of the call's `authorization`, and the names in the certificate of its connection.
    pub fn new<'a>(
        mut authorization: impl Iterator<Item = &'a [u8]>,
        certificate_names: Arc<[String]>,
    ) -> Self {
        let token = match (authorization.next(), authorization.next()) {
            (None, _) => Shown::Nothing,
            (Some(value), None) => bearer(value).map_or(Shown::Unreadable, Shown::Token),
            (Some(_), Some(_)) => Shown::Unreadable,
        };
        Credential {
            token,
            certificate_names,
        }
    }

    pub(super) fn token(&self) -> Shown {
        self.token
    }

    /// The names in the certificate, in the form in which callers are configured.
    pub(super) fn certificate_names(&self) -> impl Iterator<Item = String> {
        self.certificate_names
            .iter()
            .map(|name| certificate_name(name))
    }
}

/// A certificate's name in the one form in which it is compared: a URI as it is, a DNS name in lower case.
pub fn certificate_name(name: &str) -> String {
    match name.contains(':') {
        true => name.to_owned(),
        false => name.to_ascii_lowercase(),
    }
}

fn bearer(value: &[u8]) -> Option<TokenHash> {
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    let token = token.trim_ascii();
    let is_one = scheme.eq_ignore_ascii_case(SCHEME) && !token.is_empty();
    is_one.then(|| TokenHash::of(token))
}

impl fmt::Debug for Credential {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Credential(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_token_is_read() {
        let hash = TokenHash::of(b"t");
        for good in ["Bearer t", "bearer t", "BEARER  t "] {
            assert_eq!(bearer(good.as_bytes()), Some(hash), "{good}");
        }
        for bad in [
            "",
            "t",
            "Bearer",
            "Bearer ",
            "Bearert",
            "Basic dDp0",
            "Bearer\tt",
        ] {
            assert_eq!(bearer(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn dns_names_are_compared_without_case_and_uris_as_they_are() {
        assert_eq!(certificate_name("Billing.Internal"), "billing.internal");
        assert_eq!(certificate_name("spiffe://Bank/A"), "spiffe://Bank/A");
    }

    #[test]
    fn what_was_shown_is_not_printed() {
        let names: Arc<[String]> = Arc::new(["MARKER".to_owned()]);
        let shown = Credential::new([&b"Bearer MARKER"[..]].into_iter(), names);
        assert_eq!(format!("{shown:?}"), "Credential(..)");
    }
}
