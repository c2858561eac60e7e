//! The methods of the API.

use crate::{access::Right, error::Reason, pb};

/// One method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rpc {
    Screen,
    GetScreening,
    CreateSubject,
    GetSubject,
    GetRequest,
    WatchEvents,
}

impl Rpc {
    const ALL: [Rpc; 6] = [
        Rpc::Screen,
        Rpc::GetScreening,
        Rpc::CreateSubject,
        Rpc::GetSubject,
        Rpc::GetRequest,
        Rpc::WatchEvents,
    ];

    /// The method of an HTTP path.
    pub(super) fn from_path(path: &str) -> Option<Self> {
        let name = path
            .strip_prefix('/')?
            .strip_prefix(pb::SERVICE_NAME)?
            .strip_prefix('/')?;
        Self::from_name(name)
    }

    /// The method with this name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rpc| rpc.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Rpc::Screen => "Screen",
            Rpc::GetScreening => "GetScreening",
            Rpc::CreateSubject => "CreateSubject",
            Rpc::GetSubject => "GetSubject",
            Rpc::GetRequest => "GetRequest",
            Rpc::WatchEvents => "WatchEvents",
        }
    }

    /// What its caller has to be allowed. That of `GetRequest` is that of the method which the record is of.
    pub(super) fn right(self) -> Option<Right> {
        match self {
            Rpc::Screen | Rpc::GetScreening => Some(Right::Screen),
            Rpc::CreateSubject | Rpc::GetSubject => Some(Right::Subjects),
            Rpc::WatchEvents => Some(Right::Watch),
            Rpc::GetRequest => None,
        }
    }

    /// The reason for a failure after which nothing is certain.
    pub(super) fn lost_reason(self) -> Reason {
        match self {
            Rpc::Screen | Rpc::CreateSubject => Reason::KoraOutcomeUnknown,
            Rpc::GetScreening | Rpc::GetSubject => Reason::KoraInternal,
            Rpc::GetRequest | Rpc::WatchEvents => Reason::StoreUnavailable,
        }
    }

    /// Whether it may be about a request that is known by its `request_id`.
    pub(super) fn is_by_request_id(self) -> bool {
        self.is_paid() || self == Rpc::GetRequest
    }

    /// Whether it creates something at Kora that costs money and stays: its errors say whether it happened.
    pub(super) fn is_paid(self) -> bool {
        matches!(self, Rpc::Screen | Rpc::CreateSubject)
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;

    use super::*;

    #[test]
    fn the_methods_are_those_of_the_api() {
        let pool = DescriptorPool::decode(pb::DESCRIPTORS).unwrap();
        let service = pool.get_service_by_name(pb::SERVICE_NAME).unwrap();
        let declared: Vec<_> = service.methods().map(|m| m.name().to_owned()).collect();
        assert_eq!(declared, Rpc::ALL.map(Rpc::name));
        for rpc in Rpc::ALL {
            let path = format!("/{}/{}", pb::SERVICE_NAME, rpc.name());
            assert_eq!(Rpc::from_path(&path), Some(rpc));
        }
        assert_eq!(Rpc::from_path("/other.Service/Screen"), None);
        assert_eq!(
            Rpc::from_path("/kora.compliance.v1.ComplianceService/Nope"),
            None
        );
    }
}
