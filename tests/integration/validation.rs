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

/// A request about this party, and a way to change it.
fn about(change: impl FnOnce(&mut pb::SubjectProfile)) -> pb::ScreenRequest {
    let mut subject = profile();
    change(&mut subject);
    pb::ScreenRequest {
        party: Some(pb::screen_request::Party::Subject(subject)),
        ..screen_request()
    }
}

fn named(name: &str) -> pb::ScreenRequest {
    about(|subject| subject.name = name.to_owned())
}

fn additional(name: &str, kind: Kind) -> pb::ScreenRequest {
    let mut request = pb::ScreenRequest {
        additional_fields: Some(Struct {
            fields: [(name.to_owned(), Value { kind: Some(kind) })].into(),
        }),
        ..screen_request()
    };
    match name {
        "checks" => request.checks.clear(),
        _ => request.purpose = 0,
    }
    request
}

fn list(values: Vec<Kind>) -> Kind {
    let values = values.into_iter().map(|kind| Value { kind: Some(kind) });
    Kind::ListValue(prost_types::ListValue {
        values: values.collect(),
    })
}

fn identified(value: &str) -> pb::ScreenRequest {
    about(|subject| {
        subject.identifiers = vec![pb::Identifier {
            r#type: "PASSPORT".to_owned(),
            value: value.to_owned(),
            country: String::new(),
        }];
    })
}

async fn refused_fields(gateway: &Gateway, request: &pb::ScreenRequest) -> Vec<String> {
    let call = Call::new(Rpc::Screen, request).header("grpc-timeout", "2S");
    let answer = call.send(gateway.grpc).await;
    assert_eq!(answer.reason(), "INVALID_REQUEST");
    let bad = answer.details().bad_request().unwrap().clone();
    bad.field_violations
        .into_iter()
        .map(|it| it.field)
        .collect()
}

#[tokio::test]
async fn a_name_that_looks_empty_is_refused_before_anything_is_sent() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    for name in [
        " ",
        "\u{3000}",
        "\u{a0}",
        "\u{200b}",
        "\u{feff}",
        "\0",
        "\u{3164}",
        "\u{2800}",
        "\u{200c}\u{200d}",
        "\u{200e}\u{202a}\u{202c}",
        "\u{ad}",
        "\u{e000}",
        "\t\n",
        "Jane\nSmith",
        "Jane\u{0}Smith",
        "Jane\u{85}",
    ] {
        let fields = refused_fields(&gateway, &named(name)).await;
        assert_eq!(fields, ["subject.name"], "{}", name.escape_unicode());
    }
    for (request, field) in [
        (identified(""), "subject.identifiers[0].value"),
        (identified("\u{200b} "), "subject.identifiers[0].value"),
        (identified("1\u{7}"), "subject.identifiers[0].value"),
        (
            about(|subject| subject.identifiers = vec![pb::Identifier::default()]),
            "subject.identifiers[0].value",
        ),
        (
            about(|subject| subject.external_id = "a\u{1b}b".to_owned()),
            "subject.external_id",
        ),
        (
            pb::ScreenRequest {
                party: Some(pb::screen_request::Party::SubjectId("a\0".to_owned())),
                ..screen_request()
            },
            "subject_id",
        ),
    ] {
        assert_eq!(refused_fields(&gateway, &request).await, [field]);
    }
    for date in ["0000-01-01", "0001-01-01", "1849-12-31"] {
        let request = about(|subject| subject.date_of_birth = date.to_owned());
        let fields = refused_fields(&gateway, &request).await;
        assert_eq!(fields, ["subject.date_of_birth"], "{date}");
    }
    assert!(kora.take_received().is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn checks_and_purpose_say_something_wherever_they_are() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let word = |word: &str| Kind::StringValue(word.to_owned());
    for (request, field) in [
        (
            additional("checks", list(vec![])),
            "additional_fields.checks",
        ),
        (
            additional("checks", word("PEP")),
            "additional_fields.checks",
        ),
        (
            additional("checks", list(vec![word("")])),
            "additional_fields.checks",
        ),
        (
            additional("checks", list(vec![word("PEP"), Kind::NumberValue(1.0)])),
            "additional_fields.checks",
        ),
        (
            additional("purpose", Kind::StructValue(Struct::default())),
            "additional_fields.purpose",
        ),
        (additional("purpose", word("")), "additional_fields.purpose"),
        (
            additional("purpose", Kind::BoolValue(true)),
            "additional_fields.purpose",
        ),
    ] {
        assert_eq!(refused_fields(&gateway, &request).await, [field]);
    }
    let unknown = pb::ScreenRequest {
        checks: vec![9; 1000],
        ..screen_request()
    };
    assert_eq!(refused_fields(&gateway, &unknown).await.len(), 20);
    assert!(kora.take_received().is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn names_in_all_scripts_are_sent_as_they_are() {
    let taken = serde_json::json!({"screening_id": "scr_1"});
    let kora = ScriptedKora::start(Act::json(202, &taken)).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    for name in [
        // Persian with ZWNJ, Malayalam with ZWJ, Arabic between bidi marks, Thai, Han, Hangul and Cherokee.
        "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}",
        "\u{d05}\u{d28}\u{d4d}\u{200d}",
        "\u{200f}\u{645}\u{62d}\u{645}\u{62f}\u{200e}",
        "\u{2067}\u{645}\u{62d}\u{645}\u{62f}\u{2069}",
        "\u{e2a}\u{e21}\u{e0a}\u{e32}\u{e22}",
        "\u{738b}\u{5c0f}\u{660e}",
        "\u{ae40}\u{bbfc}\u{c900}",
        "\u{13e3}\u{13b3}\u{13a9}",
        " Jane  Smith ",
        "O\u{2019}Neil-\u{301}7",
    ] {
        let answer = Call::new(Rpc::Screen, &named(name))
            .send(gateway.grpc)
            .await;
        assert_eq!(answer.screening().screening_id, "scr_1");
        assert_eq!(kora.take_received()[0].json()["subject"]["name"], name);
    }
    let born = about(|subject| subject.date_of_birth = "1850-01-01".to_owned());
    let answer = Call::new(Rpc::Screen, &born).send(gateway.grpc).await;
    assert_eq!(answer.screening().screening_id, "scr_1");
    gateway.stop().await;
}

#[tokio::test]
async fn a_check_is_sent_once_however_often_it_is_asked_for() {
    let taken = serde_json::json!({"screening_id": "scr_1"});
    let kora = ScriptedKora::start(Act::json(202, &taken)).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let request = pb::ScreenRequest {
        checks: [2, 1, 3].repeat(200_000),
        ..screen_request()
    };
    let answer = Call::new(Rpc::Screen, &request).send(gateway.grpc).await;
    let checks = answer.screening().checks;
    assert!(checks == [2, 1, 3], "{} checks", checks.len());
    let sent = kora.take_received()[0].json();
    assert_eq!(
        sent["checks"],
        serde_json::json!(["PEP", "SANCTIONS", "ADVERSE_MEDIA"])
    );
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
