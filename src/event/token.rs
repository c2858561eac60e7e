//! The token that a stream hands out: a position in one log, opaque to callers.
//!
//! It holds format, log, sequence, and the checksum of the record at that sequence, so that a log that was
//! restored from a backup and went another way is told apart. A checksum of its own tells a token that was
//! cut or mistyped from one of another log.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

use super::{LogId, Position};

/// The format's number.
const FORMAT: u8 = 1;

/// Format, log, sequence, checksum of the record.
const CONTENT_BYTES: usize = 1 + 16 + 8 + 8;

/// The token's own checksum.
const CHECK_BYTES: usize = 4;

/// A position in one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumeToken {
    /// Which log.
    pub log_id: LogId,
    /// Where in it.
    pub position: Position,
}

/// A text that is no token.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the resume token is malformed")]
pub struct MalformedToken;

impl ResumeToken {
    /// The text for callers: 50 characters of base64url.
    pub fn encode(&self) -> String {
        let mut bytes = [0; CONTENT_BYTES + CHECK_BYTES];
        bytes[0] = FORMAT;
        bytes[1..17].copy_from_slice(&self.log_id.0);
        bytes[17..25].copy_from_slice(&self.position.sequence.to_be_bytes());
        bytes[25..33].copy_from_slice(&self.position.checksum.to_be_bytes());
        let check = check(&bytes[..CONTENT_BYTES]);
        bytes[CONTENT_BYTES..].copy_from_slice(&check);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads the text.
    ///
    /// # Errors
    /// If no gateway wrote it.
    pub fn decode(text: &str) -> Result<Self, MalformedToken> {
        let mut bytes = [0; CONTENT_BYTES + CHECK_BYTES];
        let length = URL_SAFE_NO_PAD
            .decode_slice(text, &mut bytes)
            .map_err(|_| MalformedToken)?;
        let (content, own) = bytes.split_at(CONTENT_BYTES);
        if length != bytes.len() || content[0] != FORMAT || own != check(content) {
            return Err(MalformedToken);
        }
        let mut log_id = [0; 16];
        log_id.copy_from_slice(&content[1..17]);
        Ok(ResumeToken {
            log_id: LogId(log_id),
            position: Position {
                sequence: number(&content[17..25]),
                checksum: number(&content[25..33]),
            },
        })
    }
}

fn check(content: &[u8]) -> [u8; CHECK_BYTES] {
    let [a, b, c, d, ..] = xxh3_64(content).to_be_bytes();
    [a, b, c, d]
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: ResumeToken = ResumeToken {
        log_id: LogId([0xab; 16]),
        position: Position {
            sequence: 0x0102_0304_0506_0708,
            checksum: u64::MAX - 1,
        },
    };

    #[test]
    fn a_token_comes_back_as_it_went_and_is_short() {
        let text = TOKEN.encode();
        assert_eq!(ResumeToken::decode(&text), Ok(TOKEN));
        assert!(text.len() <= 128);
        let is_url_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        assert!(text.bytes().all(is_url_safe), "{text}");
    }

    #[test]
    fn a_token_of_another_format_is_malformed() {
        let mut bytes = URL_SAFE_NO_PAD.decode(TOKEN.encode()).unwrap();
        bytes[0] = FORMAT + 1;
        let own = check(&bytes[..CONTENT_BYTES]);
        bytes[CONTENT_BYTES..].copy_from_slice(&own);
        let text = URL_SAFE_NO_PAD.encode(bytes);
        assert_eq!(ResumeToken::decode(&text), Err(MalformedToken));
    }

    #[test]
    fn a_token_that_was_cut_or_changed_is_malformed() {
        let text = TOKEN.encode();
        for length in 0..text.len() {
            assert_eq!(ResumeToken::decode(&text[..length]), Err(MalformedToken));
        }
        assert_eq!(
            ResumeToken::decode(&format!("{text}A")),
            Err(MalformedToken)
        );
        for place in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(
                ResumeToken::decode(&changed),
                Err(MalformedToken),
                "{place}"
            );
        }
    }
}
