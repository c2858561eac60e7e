//! What can be said of a webhook before its body is read.

use axum::http::{HeaderMap, Method, header::CONTENT_ENCODING, request::Parts};
use percent_encoding::percent_decode_str;

use super::{answer::Ending, signature::Signature};

/// Where Kora sends webhooks to.
const PATH: &str = "/webhooks/compliance";

/// Checks the head of a request.
///
/// # Errors
/// How it ends, if it is refused.
pub(super) fn check(head: &Parts, tenant: &str) -> Result<Vec<Signature>, Ending> {
    if !is_known(head.uri.path(), tenant) {
        return Err(Ending::NotFound);
    }
    if head.method != Method::POST {
        return Err(Ending::WrongMethod);
    }
    if is_compressed(&head.headers) {
        return Err(Ending::Unsupported);
    }
    let signatures = Signature::all_of(&head.headers);
    match signatures.is_empty() {
        true => Err(Ending::Unauthentic),
        false => Ok(signatures),
    }
}

fn is_known(path: &str, tenant: &str) -> bool {
    match path.strip_prefix(PATH) {
        None => false,
        Some("") => true,
        Some(rest) => rest
            .strip_prefix('/')
            .filter(|segment| !segment.contains('/'))
            .is_some_and(|segment| percent_decode_str(segment).eq(tenant.bytes())),
    }
}

fn is_compressed(headers: &HeaderMap) -> bool {
    let is_plain = |coding: &str| {
        let coding = coding.trim();
        coding.is_empty() || coding.eq_ignore_ascii_case("identity")
    };
    !headers.get_all(CONTENT_ENCODING).iter().all(|value| {
        value
            .to_str()
            .is_ok_and(|codings| codings.split(',').all(is_plain))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_paths_are_known() {
        for (path, tenant, is_ours) in [
            ("/webhooks/compliance", "t", true),
            ("/webhooks/compliance/t", "t", true),
            ("/webhooks/compliance/%74", "t", true),
            ("/webhooks/compliance/a%2Fb", "a/b", true),
            ("/webhooks/compliance/a/b", "a/b", false),
            ("/webhooks/compliance/", "t", false),
            ("/webhooks/compliance/t/", "t", false),
            ("/webhooks/compliance/T", "t", false),
            ("/webhooks/compliance/%ff", "t", false),
            ("/webhooks/compliancet", "t", false),
            ("/webhooks", "t", false),
            ("//webhooks/compliance", "t", false),
            ("/", "t", false),
        ] {
            assert_eq!(is_known(path, tenant), is_ours, "{path}");
        }
    }

    #[test]
    fn only_what_is_not_coded_is_taken() {
        for (value, is_refused) in [
            ("identity", false),
            ("Identity", false),
            ("", false),
            ("gzip", true),
            ("identity, gzip", true),
            ("br", true),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_ENCODING, value.parse().unwrap())]);
            assert_eq!(is_compressed(&headers), is_refused, "{value}");
        }
        assert!(!is_compressed(&HeaderMap::new()));
    }
}
