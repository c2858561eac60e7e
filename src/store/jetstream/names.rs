//! What a tenant's streams and subjects are called.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// The names of one tenant.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// The stream of events.
    pub(super) events: String,
    /// What the subjects of events begin with.
    events_subject: String,
    turns_subject: String,
    /// The bucket of what is kept for ever: which log it is, and the polls.
    pub(super) records: String,
    /// The bucket of what is kept for a while: requests, and which processes live.
    pub(super) requests: String,
}

impl Names {
    pub(super) fn of(prefix: &str, tenant: &str) -> Self {
        let tenant = escaped(tenant);
        Names {
            events: format!("{prefix}-{tenant}-events"),
            events_subject: format!("{prefix}.{tenant}.events"),
            turns_subject: format!("{prefix}.{tenant}.turns"),
            records: format!("{prefix}-{tenant}-records"),
            requests: format!("{prefix}-{tenant}-requests"),
        }
    }

    /// The subject on which gateways ask each other for a turn at publishing. No stream takes it.
    pub(super) fn turns(&self) -> String {
        self.turns_subject.clone()
    }

    /// The subjects that the stream of events takes.
    pub(super) fn event_subjects(&self) -> Vec<String> {
        vec![
            self.events_subject.clone(),
            format!("{}.>", self.events_subject),
        ]
    }

    /// Of an event that ends no screening.
    pub(super) fn event(&self) -> String {
        self.events_subject.clone()
    }

    /// Of the end of a screening that came by webhook. Each screening has a subject of its own, so that the server
    /// finds its end without a search.
    pub(super) fn end(&self, screening_id: &str) -> String {
        format!("{}.end.{}", self.events_subject, hashed(screening_id))
    }

    /// Of the end of a screening that the gateway read from Kora.
    pub(super) fn reconciled(&self, screening_id: &str) -> String {
        format!(
            "{}.reconciled.{}",
            self.events_subject,
            hashed(screening_id)
        )
    }
}

/// Digits that stand for any text in a subject.
pub(super) fn hashed(text: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(text))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a string does not fail");
        hex
    })
}

/// A tenant's name as a stream's, a bucket's and a subject's name may have it.
fn escaped(tenant: &str) -> String {
    tenant.bytes().fold(String::new(), |mut name, byte| {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' => name.push(byte.into()),
            other => write!(name, "_{other:02x}").expect("writing to a string does not fail"),
        }
        name
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_name_cannot_be_another_subject() {
        assert_eq!(escaped("5f0c9a52-7c1e"), "5f0c9a52-7c1e");
        assert_eq!(escaped("a.b>*_"), "a_2eb_3e_2a_5f");
        assert_ne!(escaped("a_2e"), escaped("a."));
    }
}
