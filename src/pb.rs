//! The only door to the code that is generated from `proto/`.
//!
//! `Debug` of a message prints its name alone: nothing that a caller or Kora wrote gets into a log that way.

/// Packages of Google's that the API imports.
#[allow(missing_docs, clippy::all)]
pub mod google {
    /// `google.rpc`: status codes.
    pub mod rpc {
        include!(concat!(env!("OUT_DIR"), "/google.rpc.rs"));
    }
}

/// The packages of the API.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod kora {
    /// `kora.compliance`.
    pub mod compliance {
        /// `kora.compliance.v1`.
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/kora.compliance.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/debug_by_name.rs"));
        }
    }
}

pub use kora::compliance::v1::*;

/// Every file descriptor of the API, encoded, with its custom options: for reflection, and to print messages.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The package's name.
pub const PACKAGE: &str = "kora.compliance.v1";

/// The service's full name.
pub const SERVICE_NAME: &str = "kora.compliance.v1.ComplianceService";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_prints_its_name_alone() {
        let text = || "MARKER".to_owned();
        let subject = || SubjectProfile {
            name: text(),
            ..SubjectProfile::default()
        };
        let screening = || Screening {
            screening_id: text(),
            raw_json: text().into(),
            ..Screening::default()
        };
        let status = tonic_types::pb::Status {
            message: text(),
            ..Default::default()
        };
        for printed in [
            format!("{:?}", subject()),
            format!("{:?}", screening()),
            format!(
                "{:?}",
                Identifier {
                    value: text(),
                    ..Identifier::default()
                }
            ),
            format!(
                "{:?}",
                Decision {
                    explanation: text(),
                    ..Decision::default()
                }
            ),
            format!(
                "{:?}",
                Match {
                    source: text(),
                    ..Match::default()
                }
            ),
            format!(
                "{:?}",
                Event {
                    raw_json: text().into(),
                    ..Event::default()
                }
            ),
            format!(
                "{:?}",
                WatchEventsResponse {
                    resume_token: text(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                RequestRecord {
                    error: Some(status),
                    ..Default::default()
                }
            ),
        ] {
            assert!(
                !printed.contains("MARKER") && printed.contains("(..)"),
                "{printed}"
            );
        }
    }
}
