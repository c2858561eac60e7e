//! What holds for every signature.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use crate::{
    fuzzing::input::Input,
    webhook::signature::{Signature, Verifier},
};

/// How many signatures of one webhook count.
const MAX_SIGNATURES: usize = 8;

/// How many headers are tried, more than those.
const MAX_HEADERS: usize = 12;

/// The bytes of a block of SHA-256.
const BLOCK: usize = 64;

/// A webhook is authentic if, and only if, one of the first signatures in its headers is the HMAC of its body by one of the secrets.
pub fn webhook_signature(data: &[u8]) {
    let mut input = Input::new(data);
    let secrets: Vec<String> = (0..input.byte() % 4).map(|_| input.text()).collect();
    let body = input.part();
    let codes: Vec<String> = secrets.iter().map(|secret| hmac(secret, body)).collect();
    let mut headers = HeaderMap::new();
    while !input.is_empty() && headers.len() < MAX_HEADERS {
        let name = match input.byte() % 8 {
            0 => HeaderName::from_static("x-signature"),
            _ => HeaderName::from_static("x-webhook-signature"),
        };
        if let Ok(value) = HeaderValue::from_bytes(&signature(&mut input, &codes)) {
            headers.append(name, value);
        }
    }
    let lines = headers.get_all("x-webhook-signature").iter();
    // A proxy can have joined several lines into one.
    let known = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let is_signed = known
        .filter(|signature| !signature.iter().all(is_blank))
        .take(MAX_SIGNATURES)
        .any(|value| codes.iter().any(|code| is_code(value, code)));
    let secrets: Vec<_> = secrets.into_iter().map(Into::into).collect();
    let signatures = Signature::all_of(&headers);
    assert_eq!(
        Verifier::new(&secrets).is_authentic(body, &signatures),
        is_signed
    );
}

/// A header's value: any, or a code, perhaps not quite.
fn signature(input: &mut Input<'_>, codes: &[String]) -> Vec<u8> {
    let changes = input.byte();
    let code = codes.get(usize::from(changes % 4));
    let (Some(code), true) = (code, changes & 0x80 == 0) else {
        return input.part().to_vec();
    };
    let mut value = code.clone().into_bytes();
    if changes & 0x04 != 0 {
        value.make_ascii_uppercase();
    }
    if changes & 0x08 != 0 {
        let (at, letter) = (usize::from(input.byte()) % value.len(), input.byte());
        value[at] = letter;
    }
    if changes & 0x10 != 0 {
        value.truncate(input.byte().into());
    }
    if changes & 0x20 != 0 {
        value.splice(..0, *b"sha256=");
    }
    if changes & 0x40 != 0 {
        value.splice(..0, input.part().iter().copied());
        value.extend_from_slice(input.part());
    }
    value
}

fn is_code(value: &[u8], code: &str) -> bool {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_blank(byte));
    let end = value.iter().rposition(|byte| !is_blank(byte));
    let (Some(start), Some(end)) = (start, end) else {
        return false;
    };
    let value = &value[start..=end];
    let value = value.strip_prefix(b"sha256=").unwrap_or(value);
    value.eq_ignore_ascii_case(code.as_bytes())
}

/// HMAC-SHA256 as RFC 2104 has it, in hex.
fn hmac(key: &str, body: &[u8]) -> String {
    let mut block = [0; BLOCK];
    match key.len() {
        ..=BLOCK => block[..key.len()].copy_from_slice(key.as_bytes()),
        _ => block[..32].copy_from_slice(&Sha256::digest(key)),
    }
    let inner = Sha256::digest([&block.map(|byte| byte ^ 0x36)[..], body].concat());
    let code = Sha256::digest([&block.map(|byte| byte ^ 0x5c)[..], &inner[..]].concat());
    code.iter().map(|byte| format!("{byte:02x}")).collect()
}
