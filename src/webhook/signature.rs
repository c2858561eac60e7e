//! Whether a body was signed by Kora: the hex HMAC-SHA256 of the raw body (Kora docs: webhooks).

use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// The header of the signature (Kora docs: webhooks).
const HEADER: &str = "x-webhook-signature";

/// How many of these headers are looked at.
const MAX_SIGNATURES: usize = 8;

/// What may stand before the digits, as at other vendors.
const PREFIX: &str = "sha256=";

/// The bytes of a signature.
const SIGNATURE_BYTES: usize = 32;

/// A well-formed signature, of whomever.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signature([u8; SIGNATURE_BYTES]);

/// Knows Kora's signature. Each active secret is as good as any other.
pub(super) struct Verifier(Vec<Hmac<Sha256>>);

impl Signature {
    /// The well-formed signatures of a request.
    pub(super) fn all_of(headers: &HeaderMap) -> Vec<Self> {
        let values = headers.get_all(HEADER).iter().take(MAX_SIGNATURES);
        values
            .filter_map(|value| Self::parse(value.to_str().ok()?))
            .collect()
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim_matches([' ', '\t']);
        let hex = text.strip_prefix(PREFIX).unwrap_or(text).as_bytes();
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

fn digit(letter: u8) -> Option<u8> {
    let digit = char::from(letter).to_digit(16)?;
    u8::try_from(digit).ok()
}
