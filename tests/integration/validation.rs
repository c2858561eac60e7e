//! What a caller may send: every rule, one by one, each naming the field that breaks it.

use kora_gateway::pb;
use prost_types::{Struct, Value, value::Kind};

use crate::{
    call::{Call, Rpc, profile, screen_request},
    harness::Gateway,
    scripted_kora::{Act, ScriptedKora},
};

#[tokio::test]
async fn every_rule_names_its_field_and_nothing_is_sent() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let screen = screen_request;
    let party = |id: &str| Some(pb::screen_request::Party::SubjectId(id.to_owned()));
    let subject = |subject| Some(pb::screen_request::Party::Subject(subject));
    let text = |name: &str, kind| {
        Some(Struct {
            fields: [(name.to_owned(), Value { kind: Some(kind) })].into(),
        })
    };
    let word = || Kind::StringValue("x".to_owned());
    for (request, field) in [
        (
            pb::ScreenRequest {
                on_timeout: 9,
                ..screen()
            },
            "on_timeout",
        ),
        (
            pb::ScreenRequest {
                party: None,
                ..screen()
            },
            "subject",
        ),
        (
            pb::ScreenRequest {
                party: party(""),
                ..screen()
            },
            "subject_id",
        ),
        (
            pb::ScreenRequest {
                purpose: 9,
                ..screen()
            },
            "purpose",
        ),
        (
            pb::ScreenRequest {
                checks: vec![],
                ..screen()
            },
            "checks",
        ),
        (
            pb::ScreenRequest {
                checks: vec![1, 0],
                ..screen()
            },
            "checks[1]",
        ),
        (
            pb::ScreenRequest {
                purpose: 0,
                additional_fields: text("purpose", Kind::NullValue(0)),
                ..screen()
            },
            "purpose",
        ),
        (
            pb::ScreenRequest {
                additional_fields: text("purpose", word()),
                ..screen()
            },
            "additional_fields.purpose",
        ),
        (
            pb::ScreenRequest {
                additional_fields: text("checks", word()),
                ..screen()
            },
            "additional_fields.checks",
        ),
        (
            pb::ScreenRequest {
                additional_fields: text("callbackUrl", word()),
                ..screen()
            },
            "additional_fields.callbackUrl",
        ),
        (
            pb::ScreenRequest {
                additional_fields: text(&format!("mode{}", "_".repeat(64)), word()),
                ..screen()
            },
            "additional_fields",
        ),
        (
            pb::ScreenRequest {
                party: subject(pb::SubjectProfile {
                    r#type: 0,
                    ..profile()
                }),
                ..screen()
            },
            "subject.type",
        ),
        (
            pb::ScreenRequest {
                party: subject(pb::SubjectProfile {
                    r#type: 9,
                    ..profile()
                }),
                ..screen()
            },
            "subject.type",
        ),
        (
            pb::ScreenRequest {
                party: subject(pb::SubjectProfile {
                    country: "gb".to_owned(),
                    ..profile()
                }),
                ..screen()
            },
            "subject.country",
        ),
        (
            pb::ScreenRequest {
                party: subject(pb::SubjectProfile {
                    additional_fields: text("dateOfBirth", word()),
                    ..profile()
                }),
                ..screen()
            },
            "subject.additional_fields.dateOfBirth",
        ),
    ] {
        let answer = Call::new(Rpc::Screen, &request)
            .header("grpc-timeout", "1S")
            .send(gateway.grpc)
            .await;
        assert_eq!(answer.reason(), "INVALID_REQUEST", "{field}");
        let fields: Vec<_> = answer
            .details()
            .bad_request()
            .unwrap()
            .field_violations
            .iter()
            .map(|v| v.field.clone())
            .collect();
        assert_eq!(fields, [field]);
    }
    let create = pb::CreateSubjectRequest {
        subject: Some(profile()),
        request_id: "x".to_owned(),
    };
    let answer = Call::new(Rpc::CreateSubject, &create)
        .header("grpc-timeout", "1S")
        .send(gateway.grpc)
        .await;
    assert_eq!(answer.reason(), "INVALID_REQUEST");
    assert!(kora.take_received().is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn a_call_id_is_short_and_printable_or_replaced() {
    let kora = ScriptedKora::start(Act::error(500, "INTERNAL_ERROR")).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    for (id, is_kept) in [
        ("x".repeat(128), true),
        ("x".repeat(129), false),
        ("a b".to_owned(), false),
        (String::new(), false),
    ] {
        let answer = Rpc::Screen
            .call()
            .header("x-request-id", &id)
            .send(gateway.grpc)
            .await;
        let shown = answer.details().request_info().unwrap().request_id.clone();
        assert_eq!(answer.headers["x-request-id"], shown.as_str());
        assert_eq!(shown == id, is_kept, "{id}");
        assert!(is_kept || uuid::Uuid::try_parse(&shown).is_ok(), "{shown}");
    }
    gateway.stop().await;
}
