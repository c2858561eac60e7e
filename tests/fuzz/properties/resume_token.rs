//! A token that is taken is one that a gateway wrote, letter for letter.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use xxhash_rust::xxh3::xxh3_64;

use super::input::Input;
use crate::event::{LogId, MalformedToken, Position, ResumeToken};

/// How long a token may be.
const MAX_CHARACTERS: usize = 128;

/// The only format.
const FORMAT: u8 = 1;

/// A text from a caller: as it is, made by a gateway and then changed, or of bytes with the right checksum.
pub fn resume_token(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 3 {
        0 => {
            if let Ok(text) = std::str::from_utf8(input.rest()) {
                check(text);
            }
        }
        1 => change_one_letter(&mut input),
        _ => {
            let mut bytes = input.array::<37>();
            let checksum = xxh3_64(&bytes[..33]).to_be_bytes();
            bytes[33..].copy_from_slice(&checksum[..4]);
            let is_taken = check(&URL_SAFE_NO_PAD.encode(bytes));
            assert_eq!(is_taken, bytes[0] == FORMAT);
        }
    }
}

fn change_one_letter(input: &mut Input<'_>) {
    let token = ResumeToken {
        log_id: LogId(input.array()),
        position: Position {
            sequence: input.number(),
            checksum: input.number(),
        },
    };
    let text = token.encode();
    assert!(text.len() <= MAX_CHARACTERS && text.is_ascii());
    assert_eq!(ResumeToken::decode(&text), Ok(token));
    let at = usize::from(input.byte()) % text.len();
    let changed = text[..at].to_owned() + &input.text() + &text[at + 1..];
    if changed != text && check(&changed) {
        assert_ne!(ResumeToken::decode(&changed), Ok(token));
    }
}

/// Whether it is taken. What is taken is what would be written.
fn check(text: &str) -> bool {
    match ResumeToken::decode(text) {
        Ok(token) => {
            assert_eq!(token.encode(), text);
            true
        }
        Err(MalformedToken) => false,
    }
}
