//! Bearer tokens. The gateway knows their hashes alone.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What every token begins with, so that scanners for leaked secrets know one.
const PREFIX: &str = "kgw_";

/// How much of a token is random: nobody guesses it, so that a plain hash protects it.
const RANDOM_BYTES: usize = 32;

/// A token, as its caller has it.
#[derive(Clone, Debug)]
pub struct Token(SecretString);

/// The SHA-256 of a token, as the gateway has it. Equal ones are found in constant time.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl Token {
    /// Makes a new one.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut random = [0; RANDOM_BYTES];
        getrandom::fill(&mut random)?;
        let random = BASE64_URL_SAFE_NO_PAD.encode(random);
        Ok(Token(format!("{PREFIX}{random}").into()))
    }

    /// What its caller has to send.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What the gateway has to know.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.expose().as_bytes())
    }
}

impl TokenHash {
    /// The hash of a token.
    pub fn of(token: &[u8]) -> Self {
        TokenHash(Sha256::digest(token).into())
    }

    /// Reads it as it is configured: 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut hash = [0; 32];
        if text.len() != 2 * hash.len() || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(TokenHash(hash))
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenHash {}

/// A map hashes it once more, with a secret of its own, so that the time of a search tells nothing either.
impl Hash for TokenHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

/// It stands in the configuration file and not in logs.
impl fmt::Debug for TokenHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("TokenHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf %s kgw_test | openssl dgst -sha256`
    const OF_OPENSSL: &str = "834f0c2dc9039a7c3a966b04bb9737b11bac3d9028cae5d9b81375cfeb294c1a";

    #[test]
    fn a_hash_is_that_of_other_programs() {
        let hash = TokenHash::of(b"kgw_test");
        assert_eq!(hash.to_string(), OF_OPENSSL);
        assert_eq!(TokenHash::from_hex(OF_OPENSSL), Some(hash));
        let upper = OF_OPENSSL.to_uppercase();
        assert_eq!(TokenHash::from_hex(&upper), Some(hash));
        for wrong in [
            "",
            "00",
            &OF_OPENSSL[1..],
            &format!("+{}", &OF_OPENSSL[1..]),
        ] {
            assert_eq!(TokenHash::from_hex(wrong), None, "{wrong}");
        }
        assert_ne!(TokenHash::of(b"kgw_tesT"), hash);
    }

    #[test]
    fn each_token_is_another_one_and_is_not_printed() {
        let (one, other) = (Token::random().unwrap(), Token::random().unwrap());
        assert_ne!(one.expose(), other.expose());
        assert_eq!(one.expose().len(), PREFIX.len() + 43);
        assert!(!format!("{one:?}").contains(one.expose()));
        assert_eq!(one.hash(), TokenHash::of(one.expose().as_bytes()));
    }
}
