//! Messages that are announced as large and do not come: what they are given, and what others are told meanwhile.

use bytes::Bytes;
use tokio::task::JoinSet;

use super::*;
use crate::{
    call::{Answer, Call, Connection, Rpc, profile, screen_request},
    subscriber::PATIENCE,
};

/// More than there is memory for.
const MANY: usize = 80;

/// The most that a message may have.
const LARGEST: u32 = 1 << 20;

/// What needs a little memory.
const LITTLE: u32 = 20 << 10;

/// How much a call of these tests has, about.
const LARGE: u32 = 60 << 10;

/// A call like this one, of which no more than the beginning comes: so much is announced.
async fn begin(mut connection: Connection, call: Call, announced: u32) -> hyper::Result<Answer> {
    let beginning = Bytes::from([&[0], &announced.to_be_bytes()[..]].concat());
    connection.send_beginning(call, beginning).await
}

/// A call that needs some of the memory.
fn large_screen() -> Call {
    let mut profile = profile();
    let fields = prost_types::Value {
        kind: Some(prost_types::value::Kind::StringValue(
            "x".repeat(LARGE as usize),
        )),
    };
    profile.additional_fields = Some(prost_types::Struct {
        fields: [("note".to_owned(), fields)].into(),
    });
    let mut request = screen_request();
    request.party = Some(pb::screen_request::Party::Subject(profile));
    Call::new(Rpc::Screen, &request).header("authorization", "Bearer known")
}

async fn place() -> (Gateway, Connection) {
    let (gateway, _) = gateway(vec![caller("known", &Right::ALL, TENANT_ID)]).await;
    let connection = Connection::open(gateway.grpc).await;
    (gateway, connection)
}

#[tokio::test]
async fn a_call_that_has_no_room_is_told_to_come_again() {
    let (gateway, connection) = place().await;
    let announced = Call::raw(Rpc::Screen.path(), &[]).header("authorization", "Bearer known");
    let begin = |_| begin(connection.clone(), announced.clone(), LARGEST);
    let mut begun: JoinSet<_> = (0..MANY).map(begin).collect();
    // Those that have room wait for the rest of their message.
    let refused = tokio::time::timeout(PATIENCE, begun.join_next()).await;
    let refused = refused.unwrap().unwrap().unwrap().unwrap();
    assert_eq!(refused.reason(), "GATEWAY_OVERLOADED");
    assert_eq!(refused.status.code(), Code::Unavailable);
    assert_eq!(refused.outcome().as_deref(), Some("NOT_SENT"));
    assert!(refused.details().retry_info().is_some());
    drop((begun, connection));
    gateway.stop().await;
}

#[tokio::test]
async fn who_has_no_identity_gets_none_of_the_callers_memory() {
    let (gateway, connection) = place().await;
    let announced = Call::raw("/grpc.health.v1.Health/Check".to_owned(), &[]);
    let begin = |size| begin(connection.clone(), announced.clone(), size);
    let sizes = (0..MANY).flat_map(|_| [LARGEST, LITTLE]);
    let begun: JoinSet<_> = sizes.map(begin).collect();
    let mut connection = connection.clone();
    for _ in 0..MANY {
        let answer = connection.send(large_screen()).await.unwrap();
        let reason = answer.reason();
        assert!(reason.starts_with("KORA_"), "{reason}");
    }
    drop((begun, connection));
    gateway.stop().await;
}
