//! The `Idempotency-Key` that Kora gets with a request that has a `request_id`.
//!
//! Kora's Compliance pages do not mention the header; the platform's pages expect it, as a UUID, on all
//! writes (Kora docs: platform developer page). So it is sent, and nothing relies on it.

use uuid::{Uuid, uuid};

/// The name space of the keys: made up once for this gateway, never to be changed.
const NAME_SPACE: Uuid = uuid!("6f0c2d5e-0a52-4d0c-9c5b-4a3f7f7f3b1d");

/// The key of one request: the same on every attempt and after every restart, another for every other
/// tenant, scope, RPC or `request_id`. The scope is the caller's, which outlives its name.
pub(super) fn idempotency_key(tenant: &str, scope: &str, rpc: &str, request_id: Uuid) -> Uuid {
    // No name contains the separator: tenants are header values, scopes configured names.
    let name = [tenant, scope, rpc, &request_id.to_string()].join("\0");
    Uuid::new_v5(&NAME_SPACE, name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST_ID: Uuid = uuid!("67e55044-10b1-426f-9247-bb680e5fe0c8");

    #[test]
    fn the_key_is_what_pythons_uuid5_makes_of_it() {
        // uuid.uuid5(NAME_SPACE, "\0".join(["t", "anonymous", "Screen", REQUEST_ID]))
        assert_eq!(
            idempotency_key("t", "anonymous", "Screen", REQUEST_ID).to_string(),
            "62a758d6-4ce1-5a90-b1fd-88b73f488112"
        );
    }

    #[test]
    fn every_part_counts() {
        let key = idempotency_key("t", "c", "Screen", REQUEST_ID);
        assert_ne!(key, idempotency_key("u", "c", "Screen", REQUEST_ID));
        assert_ne!(key, idempotency_key("t", "d", "Screen", REQUEST_ID));
        assert_ne!(key, idempotency_key("t", "c", "CreateSubject", REQUEST_ID));
        assert_ne!(key, idempotency_key("t", "c", "Screen", Uuid::nil()));
        assert_ne!(
            idempotency_key("ab", "c", "S", REQUEST_ID),
            idempotency_key("a", "bc", "S", REQUEST_ID)
        );
    }
}
