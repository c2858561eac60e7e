//! Whether a body was signed by Kora: the hex HMAC-SHA256 of the raw body (Kora docs: webhooks).

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use super::secrets_of;
use crate::secret::{Secret, Version};

/// The header of the signature (Kora docs: webhooks).
const HEADER: &str = "x-webhook-signature";

/// How many signatures are looked at, well-formed or not.
const MAX_SIGNATURES: usize = 8;

/// What may stand before the digits, as at other vendors.
const PREFIX: &[u8] = b"sha256=";

/// The bytes of a signature.
const SIGNATURE_BYTES: usize = 32;

/// A well-formed signature, of whomever.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signature([u8; SIGNATURE_BYTES]);

/// Knows Kora's signature. Each active secret is as good as any other.
pub(super) struct Verifier(Vec<Hmac<Sha256>>);

/// Knows the signatures by the secrets that are active now.
pub(super) struct ActiveVerifier {
    secrets: Secret,
    /// Of the version of this number.
    last: Mutex<(u64, Arc<Verifier>)>,
}

impl Signature {
    /// The well-formed signatures of a request. A proxy may join several lines into one list (RFC 9110, 5.2), so each
    /// line is read as one.
    pub(super) fn all_of(headers: &HeaderMap) -> Vec<Self> {
        headers
            .get_all(HEADER)
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|signature| !signature.is_empty())
            .take(MAX_SIGNATURES)
            .filter_map(Self::parse)
            .collect()
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let hex = text.strip_prefix(PREFIX).unwrap_or(text);
        let mut bytes = [0; SIGNATURE_BYTES];
        if hex.len() != 2 * bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Signature(bytes))
    }
}

impl Verifier {
    /// One that accepts these secrets, each taken as its UTF-8 bytes (Kora docs: webhooks).
    pub(super) fn new(secrets: &[SecretString]) -> Self {
        let keyed = secrets.iter().map(|secret| {
            Hmac::new_from_slice(secret.expose_secret().as_bytes())
                .expect("a key of HMAC may have any length")
        });
        Verifier(keyed.collect())
    }

    /// Whether one of the signatures is that of one of the secrets. How long it takes tells neither which one
    /// nor how much of it was right.
    pub(super) fn is_authentic(&self, body: &[u8], signatures: &[Signature]) -> bool {
        let mut is_authentic = false;
        for keyed in &self.0 {
            let mut code = keyed.clone();
            code.update(body);
            for signature in signatures {
                is_authentic |= code.clone().verify_slice(&signature.0).is_ok();
            }
        }
        is_authentic
    }
}

impl ActiveVerifier {
    pub(super) fn new(secrets: Secret) -> Self {
        let Version { text, number } = secrets.now();
        let verifier = Arc::new(Verifier::new(&secrets_of(&text)));
        ActiveVerifier {
            secrets,
            last: Mutex::new((number, verifier)),
        }
    }

    pub(super) fn now(&self) -> Arc<Verifier> {
        let Version { text, number } = self.secrets.now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != number {
            *last = (number, Arc::new(Verifier::new(&secrets_of(&text))));
        }
        Arc::clone(&last.1)
    }
}

fn digit(letter: u8) -> Option<u8> {
    let digit = char::from(letter).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const BODY: &[u8] = br#"{"event":"case.created"}"#;
    const CODE: &str = "e936bd89ccb0d9f4ddfa5eab04c5698de9f9e75abf5dda946c8b14ad5ea576ab";

    fn verifier(secrets: &[&str]) -> Verifier {
        let secrets: Vec<_> = secrets.iter().map(|text| (*text).into()).collect();
        Verifier::new(&secrets)
    }

    fn signatures(values: &[&str]) -> Vec<Signature> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Signature::all_of(&headers)
    }

    /// Made by Python's `hmac` and by `openssl dgst -sha256 -hmac`.
    #[test]
    fn other_implementations_agree() {
        let all_bytes: Vec<u8> = (0..=255).collect();
        for (secret, body, code) in [
            ("whsec_one", BODY, CODE),
            (
                "schlüssel-🔑",
                b"",
                "4da8fcc650956f3df97b8d1fa31ace360c20f6e58b0bee554ad03be92a7d4ab5",
            ),
            (
                &"k".repeat(100),
                &all_bytes,
                "8d122ff30588a023f0a5eddb0d2f237d150dd0a5c39aea336ca452067d4efe69",
            ),
        ] {
            let is_authentic = verifier(&[secret]).is_authentic(body, &signatures(&[code]));
            assert!(is_authentic, "{code}");
        }
    }

    #[test]
    fn every_active_secret_is_accepted_and_no_other() {
        let signatures = signatures(&[CODE]);
        for secrets in [
            &["whsec_one", "b", "c"][..],
            &["a", "whsec_one", "c"],
            &["a", "b", "whsec_one"],
        ] {
            assert!(verifier(secrets).is_authentic(BODY, &signatures));
        }
        for secrets in [&["a", "b", "c"][..], &[""], &["whsec_one "], &[]] {
            assert!(!verifier(secrets).is_authentic(BODY, &signatures));
        }
    }

    #[test]
    fn one_flipped_bit_is_refused() {
        let verifier = verifier(&["whsec_one", "another"]);
        for bit in 0..BODY.len() * 8 {
            let mut body = BODY.to_vec();
            body[bit / 8] ^= 1 << (bit % 8);
            assert!(!verifier.is_authentic(&body, &signatures(&[CODE])));
        }
        for bit in 0..SIGNATURE_BYTES * 8 {
            let mut signature = Signature::parse(CODE.as_bytes()).unwrap();
            signature.0[bit / 8] ^= 1 << (bit % 8);
            assert!(!verifier.is_authentic(BODY, &[signature]));
        }
    }

    #[test]
    fn hex_is_read_in_either_case_and_with_its_prefix() {
        let (upper, prefixed) = (CODE.to_uppercase(), format!("sha256={CODE}"));
        let spaced = format!(" {CODE}\t");
        for good in [CODE, &upper, &prefixed, &spaced] {
            assert_eq!(signatures(&[good]), signatures(&[CODE]), "{good}");
        }
        let (long, inner) = (
            format!("{CODE}0"),
            format!("{}-{}", &CODE[..31], &CODE[32..]),
        );
        let other_case = format!("SHA256={CODE}");
        let wide = "０".repeat(32);
        for bad in [
            "",
            "sha256=",
            &CODE[1..],
            &long,
            &inner,
            &other_case,
            &wide,
            &"+1".repeat(32),
        ] {
            assert_eq!(signatures(&[bad]), [], "{bad}");
        }
    }

    #[test]
    fn one_authentic_signature_of_several_is_enough() {
        let verifier = verifier(&["whsec_one"]);
        let other = "0".repeat(64);
        let is_authentic = |values: &[&str]| verifier.is_authentic(BODY, &signatures(values));
        assert!(is_authentic(&[&other, "junk", CODE]));
        assert!(is_authentic(&[CODE, &other]));
        assert!(!is_authentic(&[&other, "junk"]));
        assert!(!is_authentic(&[]));
        let mut many = vec![other.as_str(); MAX_SIGNATURES];
        many.push(CODE);
        assert!(!is_authentic(&many));
        assert!(is_authentic(&many[1..]));
    }
}
