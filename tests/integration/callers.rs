//! Who may call what: identities, rights and tenants over a real socket. Kora is nowhere: a call that was let in says so.

mod changes;
mod large_messages;
mod shares;

use kora_gateway::{
    access::{Caller, Callers, Right, TokenHash},
    pb::{self, compliance_service_client::ComplianceServiceClient},
};
use tonic::{Code, Request, Status, transport::Channel};
use tonic_types::StatusExt;

use crate::harness::{Gateway, TENANT_ID};

/// Nothing listens there.
const NO_KORA: &str = "http://127.0.0.1:1/api/v1";

const REQUEST_ID: &str = "6f9619ff-8b86-d011-b42d-00c04fc964ff";

fn caller(name: &str, rights: &[Right], tenant: &str) -> Caller {
    Caller {
        name: name.into(),
        tokens: vec![TokenHash::of(name.as_bytes())],
        rights: rights.iter().copied().collect(),
        ..Caller::anonymous([tenant.to_owned()])
    }
}

/// A gateway for these callers, whose tokens are their names, and what changes them.
async fn gateway(callers: Vec<Caller>) -> (Gateway, Callers) {
    let callers = Callers::only(callers).unwrap();
    let given = callers.clone();
    let gateway = Gateway::start_with(NO_KORA, &[], |config| config.callers = given).await;
    (gateway, callers)
}

async fn client(gateway: &Gateway) -> ComplianceServiceClient<Channel> {
    let uri = format!("http://{}", gateway.grpc);
    let channel = Channel::from_shared(uri).unwrap().connect().await;
    ComplianceServiceClient::new(channel.unwrap())
}

fn with<T>(authorization: Option<&str>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(value) = authorization {
        let value = value.parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    request
}

/// How each RPC answers to this metadata, by its name, asked for Kora's own body or not.
async fn answers(
    client: &mut ComplianceServiceClient<Channel>,
    authorization: Option<&str>,
    include_raw_json: bool,
) -> Vec<(&'static str, Option<Status>)> {
    let screen = pb::ScreenRequest {
        party: Some(pb::screen_request::Party::SubjectId("s".to_owned())),
        purpose: pb::ScreeningPurpose::Onboarding.into(),
        checks: vec![pb::CheckType::Pep.into()],
        include_raw_json,
        ..Default::default()
    };
    let get_screening = pb::GetScreeningRequest {
        screening_id: "s".to_owned(),
        include_raw_json,
    };
    let create = pb::CreateSubjectRequest {
        subject: Some(pb::SubjectProfile {
            r#type: pb::SubjectType::Individual.into(),
            name: "N".to_owned(),
            ..Default::default()
        }),
        request_id: String::new(),
    };
    let get_subject = pb::GetSubjectRequest {
        subject_id: "s".to_owned(),
    };
    let get_request = pb::GetRequestRequest {
        request_id: REQUEST_ID.to_owned(),
    };
    let watch = pb::WatchEventsRequest {
        include_raw_json,
        ..Default::default()
    };
    vec![
        (
            "Screen",
            client.screen(with(authorization, screen)).await.err(),
        ),
        (
            "GetScreening",
            client
                .get_screening(with(authorization, get_screening))
                .await
                .err(),
        ),
        (
            "CreateSubject",
            client
                .create_subject(with(authorization, create))
                .await
                .err(),
        ),
        (
            "GetSubject",
            client
                .get_subject(with(authorization, get_subject))
                .await
                .err(),
        ),
        (
            "GetRequest",
            client
                .get_request(with(authorization, get_request))
                .await
                .err(),
        ),
        (
            "WatchEvents",
            client.watch_events(with(authorization, watch)).await.err(),
        ),
    ]
}

/// The right that an answer says is missing; `None` if the call was let in.
fn missing(answer: Option<&Status>) -> Option<String> {
    let status = answer?;
    assert_ne!(status.code(), Code::Unauthenticated, "{status:?}");
    let info = status.get_details_error_info().unwrap();
    (status.code() == Code::PermissionDenied).then(|| {
        assert_eq!(info.reason, "PERMISSION_MISSING");
        info.metadata["right"].clone()
    })
}

#[tokio::test]
async fn whoever_is_not_known_is_let_into_nothing() {
    let (gateway, _) = gateway(vec![caller("known", &Right::ALL, TENANT_ID)]).await;
    let mut client = client(&gateway).await;
    for wrong in [
        None,
        Some("Bearer other"),
        Some("known"),
        Some("Basic known"),
        Some("Bearer "),
    ] {
        for (rpc, answer) in answers(&mut client, wrong, false).await {
            let status = answer.unwrap();
            assert_eq!(status.code(), Code::Unauthenticated, "{rpc} {wrong:?}");
            let info = status.get_details_error_info().unwrap();
            assert_eq!(info.reason, "UNAUTHENTICATED");
            let outcome = info.metadata.get("outcome").map(String::as_str);
            let is_paid = matches!(rpc, "Screen" | "CreateSubject");
            assert_eq!(outcome, is_paid.then_some("NOT_SENT"), "{rpc}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn each_right_opens_its_own_rpcs_and_no_others() {
    let rights = [
        ("nothing", vec![Right::RawJson]),
        ("screens", vec![Right::Screen]),
        ("subjects", vec![Right::Subjects]),
        ("watches", vec![Right::Watch]),
        (
            "all_but_raw",
            vec![Right::Screen, Right::Subjects, Right::Watch],
        ),
        ("all", Right::ALL.to_vec()),
    ];
    let callers = rights
        .iter()
        .map(|(name, rights)| caller(name, rights, TENANT_ID));
    let (gateway, _) = gateway(callers.collect()).await;
    let mut client = client(&gateway).await;
    for (name, rights) in &rights {
        for is_raw in [false, true] {
            let authorization = format!("Bearer {name}");
            for (rpc, answer) in answers(&mut client, Some(&authorization), is_raw).await {
                let needed = match rpc {
                    "Screen" | "GetScreening" => Some(Right::Screen),
                    "CreateSubject" | "GetSubject" => Some(Right::Subjects),
                    "WatchEvents" => Some(Right::Watch),
                    _ => None,
                };
                let has_raw = matches!(rpc, "Screen" | "GetScreening" | "WatchEvents");
                let raw = (is_raw && has_raw).then_some(Right::RawJson);
                let lacks = needed
                    .into_iter()
                    .chain(raw)
                    .find(|right| !rights.contains(right));
                let expected = lacks.map(|right| right.name().to_owned());
                assert_eq!(
                    missing(answer.as_ref()),
                    expected,
                    "{name} {rpc} raw {is_raw}"
                );
            }
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_tenant_that_is_not_the_callers_is_as_good_as_none() {
    let (gateway, _) = gateway(vec![caller("known", &Right::ALL, TENANT_ID)]).await;
    let mut client = client(&gateway).await;
    for (named, expected) in [
        (TENANT_ID, None),
        ("another", Some("tenant".to_owned())),
        ("", Some("tenant".to_owned())),
    ] {
        let message = pb::GetRequestRequest {
            request_id: REQUEST_ID.to_owned(),
        };
        let mut request = with(Some("Bearer known"), message);
        let name = named.parse().unwrap();
        request.metadata_mut().insert("x-kora-tenant", name);
        let status = client.get_request(request).await.unwrap_err();
        assert_eq!(missing(Some(&status)), expected, "{named}");
    }
    gateway.stop().await;
}

/// Heartbeats come every 5 s at the most often.
#[tokio::test]
async fn a_stream_ends_when_its_caller_is_taken_out() {
    let known = caller("known", &Right::ALL, TENANT_ID);
    let (gateway, callers) =
        gateway(vec![known.clone(), caller("gone", &Right::ALL, TENANT_ID)]).await;
    let mut client = client(&gateway).await;
    let request = |name: &str| {
        let watch = pb::WatchEventsRequest {
            heartbeat_interval: Some(prost_types::Duration {
                seconds: 5,
                nanos: 0,
            }),
            ..Default::default()
        };
        with(Some(name), watch)
    };
    let mut stays = client
        .watch_events(request("Bearer known"))
        .await
        .unwrap()
        .into_inner();
    let mut ends = client
        .watch_events(request("Bearer gone"))
        .await
        .unwrap()
        .into_inner();
    for _ in ["Opened", "CaughtUp"] {
        stays.message().await.unwrap().unwrap();
        ends.message().await.unwrap().unwrap();
    }
    callers.replace(vec![known]).unwrap();
    let status = ends.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(stays.message().await.unwrap().is_some());
    let again = client
        .watch_events(request("Bearer gone"))
        .await
        .unwrap_err();
    assert_eq!(again.code(), Code::Unauthenticated);
    gateway.stop().await;
}
