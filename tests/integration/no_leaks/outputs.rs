//! All that came out, and the search in it.

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use tonic::Status;

use super::marked::{BIRTH, MARKER};
use crate::call::Answer;

/// What must not be found in any case of letters: the beginning of every marker, and what tells of somebody without it.
const WORDS: [&str; 4] = [MARKER, BIRTH, "VENDOR-TEXT", "Jane"];

/// What came out, and where.
#[derive(Default)]
pub struct Outputs(Vec<(String, Vec<u8>)>);

impl Outputs {
    pub fn add(&mut self, place: &str, bytes: impl AsRef<[u8]>) {
        self.0.push((place.to_owned(), bytes.as_ref().to_vec()));
    }

    /// What a caller sees of a failure.
    pub fn add_status(&mut self, place: &str, status: &Status) {
        self.add(place, status.message());
        self.add(place, status.details());
        self.add(place, format!("{:?}", status.metadata()));
    }

    /// The same of a whole answer.
    pub fn add_answer(&mut self, place: &str, answer: &Answer) {
        self.add_status(place, &answer.status);
        self.add(place, format!("{:?}", answer.headers));
    }

    /// Sees that there is something, and no marker in it.
    pub fn look(&self) {
        assert!(!self.0.is_empty(), "there is nothing to look at");
        for (place, bytes) in &self.0 {
            for line in String::from_utf8_lossy(bytes).lines() {
                assert_eq!(found_in(line), None, "in {place}: {line}");
            }
        }
    }
}

/// What a line gives away.
fn found_in(line: &str) -> Option<String> {
    let in_lower_case = line.to_lowercase();
    let words = WORDS
        .iter()
        .map(|word| word.to_lowercase())
        .chain([hex()])
        .find(|word| in_lower_case.contains(word));
    words
        .or_else(|| in_base64().into_iter().find(|word| line.contains(word)))
        .or_else(|| Some(numbers()).filter(|numbers| line.contains(numbers)))
}

/// How bytes look where somebody prints them as hexadecimal digits.
fn hex() -> String {
    MARKER.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// And as a list of numbers.
fn numbers() -> String {
    let numbers: Vec<_> = MARKER.bytes().map(|byte| byte.to_string()).collect();
    numbers.join(", ")
}

/// And in base64, wherever they begin in it.
fn in_base64() -> Vec<String> {
    (0..3)
        .map(|before| {
            let bytes = [&vec![0; before], MARKER.as_bytes()].concat();
            let text = BASE64_STANDARD_NO_PAD.encode(&bytes);
            // The first and the last character can have bits of what is beside it.
            text[(before * 8).div_ceil(6)..bytes.len() * 8 / 6].to_owned()
        })
        .collect()
}

#[test]
fn a_marker_is_found_however_it_is_written() {
    let text = "some MARKER-text";
    for line in [
        text.to_owned(),
        text.to_lowercase(),
        format!("{:?}", text.as_bytes()),
        BASE64_STANDARD_NO_PAD.encode(text),
        BASE64_STANDARD_NO_PAD.encode(&text[1..]),
        BASE64_STANDARD_NO_PAD.encode(&text[2..]),
        format!("{}11-11", &BIRTH[..5]),
        hex().to_uppercase(),
    ] {
        assert!(found_in(&line).is_some(), "{line}");
    }
    assert_eq!(found_in("call failed reason=\"KORA_REFUSED\""), None);
}
