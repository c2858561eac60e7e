//! What can be said of a webhook before its body is read.

use axum::http::{HeaderMap, Method, header::CONTENT_ENCODING, request::Parts};

use super::{answer::Ending, signature::Signature};

/// Checks the head of a request whose path is known.
///
/// # Errors
/// How it ends, if it is refused.
pub(super) fn check(head: &Parts) -> Result<Vec<Signature>, Ending> {
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
