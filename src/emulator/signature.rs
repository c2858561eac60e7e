//! How Kora signs a webhook: HMAC-SHA256 of the body (Kora docs: webhooks).
//!
//! Written out after RFC 2104, so that the emulator shares no code with whoever verifies it.

use sha2::{Digest, Sha256};

/// Size of a block of SHA-256, in bytes.
const BLOCK: usize = 64;

const INNER_PAD: u8 = 0x36;
const OUTER_PAD: u8 = 0x5c;

/// The signature of `body` in lower-case hex, as in the header `X-Webhook-Signature`.
///
/// The key is the secret's text in UTF-8, prefix and all.
pub(super) fn sign(secret: &str, body: &[u8]) -> String {
    hmac_sha256(secret.as_bytes(), body)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        let digest = Sha256::digest(key);
        block[..digest.len()].copy_from_slice(&digest);
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new()
        .chain_update(block.map(|byte| byte ^ INNER_PAD))
        .chain_update(message)
        .finalize();
    Sha256::new()
        .chain_update(block.map(|byte| byte ^ OUTER_PAD))
        .chain_update(inner)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, sections 4.2 to 4.5, 4.7 and 4.8.
    #[test]
    fn the_vectors_of_rfc_4231_come_out() {
        let counted: Vec<u8> = (1..=25).collect();
        let vectors: [(&[u8], &[u8], &str); 6] = [
            (
                &[0x0b; 20],
                b"Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 20],
                &[0xdd; 50],
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
            (
                &counted,
                &[0xcd; 50],
                "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                &[0xaa; 131],
                b"This is a test using a larger than block-size key and a larger than block-size \
                  data. The key needs to be hashed before being used by the HMAC algorithm.",
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ];
        for (key, message, expected) in vectors {
            let digest = hmac_sha256(key, message);
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected);
        }
    }

    /// The values are Python's `hmac.new(secret, body, hashlib.sha256).hexdigest()`; the first is also
    /// `openssl dgst -sha256 -hmac emulator-webhook-secret`.
    #[test]
    fn signatures_are_those_that_other_tools_make() {
        let body = r#"{"event":"screening.completed","data":{"name":"Zoë"}}"#;
        let (full_block, one_more) = ("k".repeat(64), "k".repeat(65));
        for (secret, body, expected) in [
            (
                "emulator-webhook-secret",
                body,
                "780614a2c52122a74337a86ee095be53a002499d773189fecc4c019a2132efaf",
            ),
            (
                "gehäimnis",
                body,
                "289495946732f62914e333dfbf385a66b51c2b061fbbcff3bff8ccdd1391160c",
            ),
            (
                "emulator-webhook-secret",
                "",
                "ee62aa85d6bec4cef46a19724d0fa6f5c759a058fa96b5021970951eb17fb217",
            ),
            (
                &full_block,
                "{}",
                "d76035d5eb586aa7440c5113bd8b8dfbbdbc7c043a2a2091c52613ddc264c4ad",
            ),
            (
                &one_more,
                "{}",
                "75c887706e5a0f3f0bde64ba6dabd79209254a602d7f05f4b66d73bf0e027314",
            ),
        ] {
            assert_eq!(sign(secret, body.as_bytes()), expected);
        }
    }
}
