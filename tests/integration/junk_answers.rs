//! Nobody can get an approval out of junk.
//!
//! Whatever Kora answers, the result is an error, or carries exactly the outcome word that the JSON said
//! under status COMPLETED. The JSON is read here by rules of its own, which know repeated keys.

use std::fmt;

use kora_gateway::pb;
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestRunner},
};
use tokio::runtime::Runtime;

use crate::{
    call::{Answer, Call, Rpc, SCREENING_ID, screen_request},
    harness::Gateway,
    scripted_kora::{Act, ScriptedKora},
};

const CASES: u32 = 1500;

const APPROVED: &str = r#"{"screening_id":"scr_1","subject_id":"subj_1","status":"COMPLETED","risk_score":150,"risk_band":"LOW","decision":{"outcome":"APPROVE","triggered_rules":[],"explanation":"none"},"matches":[]}"#;

/// JSON in which a key may be repeated.
#[derive(Clone, Debug)]
enum Json {
    Atom(&'static str),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

#[test]
fn arbitrary_json_is_an_error_or_says_what_is_read() {
    let mut seen = Seen::default();
    against_a_gateway(&answer_object(), Json::to_bytes, |json, answer| {
        let said = decision_said(json);
        seen.check(answer, |code| said.as_deref() == Some(code))
    });
    seen.were_all_kinds();
}

#[test]
fn a_damaged_approval_is_an_error_or_says_what_is_read() {
    let mut seen = Seen::default();
    against_a_gateway(&damaged(), Clone::clone, |bytes, answer| {
        let value: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
        seen.check(answer, |code| {
            let value = value.as_ref().unwrap();
            value["status"] == "COMPLETED" && value["decision"]["outcome"] == code
        })
    });
    seen.were_all_kinds();
}

#[test]
fn a_key_said_twice_in_a_decision_is_no_decision() {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let kora = ScriptedKora::start(Act::Hang).await;
        let gateway = Gateway::start(&kora.base_url(), &[]).await;
        for decision in [
            r#"{"outcome":"BLOCK","outcome":"APPROVE"}"#,
            r#"{"outcome":"APPROVE","outcome":"APPROVE"}"#,
            r#"{"outcome":"BLOCK","outc\u006fme":"APPROVE"}"#,
            r#"{"outcome":"APPROVE","x":1,"x":2}"#,
            r#"{"outcome":"BLOCK"},"decision":{"outcome":"APPROVE"}"#,
        ] {
            let body = format!(
                r#"{{"screening_id":"{SCREENING_ID}","status":"COMPLETED","decision":{decision}}}"#
            );
            kora.act(Act::Answer(200, vec![], body.into_bytes()));
            for rpc in [Rpc::Screen, Rpc::GetScreening] {
                let answer = rpc.call().send(gateway.grpc).await;
                assert_eq!(answer.reason(), "KORA_RESPONSE_INVALID", "{decision}");
            }
        }
        gateway.stop().await;
    });
}

/// What the cases led to, so that a test that tests nothing fails.
#[derive(Default)]
struct Seen {
    errors: u32,
    undecided: u32,
    approvals: u32,
}

impl Seen {
    fn check(
        &mut self,
        answer: &Answer,
        is_said: impl Fn(&str) -> bool,
    ) -> Result<(), TestCaseError> {
        if answer.status.code() != tonic::Code::Ok {
            self.errors += 1;
            return Ok(());
        }
        let Some(decision) = answer.screening().decision else {
            self.undecided += 1;
            return Ok(());
        };
        let code = decision.outcome_code.as_str();
        prop_assert!(is_said(code), "{} was not said", code);
        let outcome = match code {
            "APPROVE" => pb::Outcome::Approve,
            "APPROVE_WITH_MONITORING" => pb::Outcome::ApproveWithMonitoring,
            "REVIEW_REQUIRED" => pb::Outcome::ReviewRequired,
            "BLOCK" => pb::Outcome::Block,
            _ => pb::Outcome::Unrecognized,
        };
        prop_assert_eq!(decision.outcome(), outcome);
        self.approvals += u32::from(outcome == pb::Outcome::Approve);
        Ok(())
    }

    fn were_all_kinds(&self) {
        let Seen {
            errors,
            undecided,
            approvals,
        } = self;
        assert!(
            *errors > 0 && *undecided > 0 && *approvals > 0,
            "{errors} {undecided} {approvals}"
        );
    }
}

fn call(rpc: Rpc, mode: pb::ScreeningMode) -> Call {
    match rpc {
        Rpc::Screen => {
            let mut request = screen_request();
            request.set_mode(mode);
            Call::new(rpc, &request)
        }
        other => other.call(),
    }
}

/// Plays every case as Kora's answer, to Screen and to GetScreening in turn.
fn against_a_gateway<T: fmt::Debug>(
    cases: &impl Strategy<Value = T>,
    body: impl Fn(&T) -> Vec<u8>,
    mut check: impl FnMut(&T, &Answer) -> Result<(), TestCaseError>,
) {
    let runtime = Runtime::new().unwrap();
    let (kora, gateway) = runtime.block_on(async {
        let kora = ScriptedKora::start(Act::Hang).await;
        let gateway = Gateway::start(&kora.base_url(), &[]).await;
        (kora, gateway)
    });
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let check = std::cell::RefCell::new(&mut check);
    TestRunner::new(config)
        .run(
            &(
                cases,
                select(&[Rpc::Screen, Rpc::GetScreening][..]),
                select(&[pb::ScreeningMode::Sync, pb::ScreeningMode::Async][..]),
                select(&[200, 200, 201, 202][..]),
            ),
            |(case, rpc, mode, status)| {
                kora.act(Act::Answer(status, vec![], body(&case)));
                let answer = runtime.block_on(call(rpc, mode).send(gateway.grpc));
                (check.borrow_mut())(&case, &answer)
            },
        )
        .unwrap();
    runtime.block_on(gateway.stop());
}

/// The outcome word that the JSON says, if it says exactly one, in a completed screening.
fn decision_said(json: &Json) -> Option<String> {
    let only = |json: &Json, key: &str| -> Option<Json> {
        let Json::Object(fields) = json else {
            return None;
        };
        let mut values = fields
            .iter()
            .filter(|(name, _)| name == key)
            .map(|(_, value)| value);
        let value = values.next()?.clone();
        values.next().is_none().then_some(value)
    };
    let Json::Text(status) = only(json, "status")? else {
        return None;
    };
    let decision = only(json, "decision")?;
    let Json::Object(fields) = &decision else {
        return None;
    };
    let repeats = fields
        .iter()
        .enumerate()
        .any(|(at, (name, _))| fields[..at].iter().any(|(earlier, _)| earlier == name));
    let Json::Text(outcome) = only(&decision, "outcome")? else {
        return None;
    };
    (status == "COMPLETED" && !repeats).then_some(outcome)
}

/// Objects that look like an answer more often than not.
fn answer_object() -> impl Strategy<Value = Json> {
    let id = Just((
        "screening_id".to_owned(),
        Json::Text(SCREENING_ID.to_owned()),
    ));
    let status = prop_oneof![
        3 => Just(Json::Text("COMPLETED".to_owned())),
        1 => select(&["PENDING", "completed", "FAILED", "IN_PROGRESS", ""][..]).prop_map(text),
        1 => anything(),
    ];
    let decision_field = (
        select(&["outcome", "triggered_rules", "explanation", "x"][..]),
        anything(),
    )
        .prop_map(|(name, value)| (name.to_owned(), value));
    let decision = prop_oneof![
        3 => outcome().prop_map(|word| Json::Object(vec![("outcome".to_owned(), word)])),
        2 => (outcome(), vec(decision_field, 0..3)).prop_map(|(word, mut fields)| {
            fields.push(("outcome".to_owned(), word));
            Json::Object(fields)
        }),
        1 => anything(),
    ];
    let names = &[
        "status",
        "decision",
        "matches",
        "risk_score",
        "risk_band",
        "match_summary",
        "id",
        "z",
    ][..];
    let other = (select(names), anything()).prop_map(|(name, value)| (name.to_owned(), value));
    (id, status, decision, vec(other, 0..3), any::<Index>()).prop_map(
        |(id, status, decision, others, turn)| {
            let mut fields = vec![
                id,
                ("status".to_owned(), status),
                ("decision".to_owned(), decision),
            ];
            fields.extend(others);
            let turn = turn.index(fields.len());
            fields.rotate_left(turn);
            Json::Object(fields)
        },
    )
}

fn outcome() -> impl Strategy<Value = Json> {
    let words = &[
        "APPROVE",
        "APPROVE_WITH_MONITORING",
        "REVIEW_REQUIRED",
        "BLOCK",
        "Approve",
        "APPROVE\u{0}",
    ][..];
    prop_oneof![4 => select(words).prop_map(text), 1 => anything()]
}

fn anything() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        select(&["null", "true", "false", "0", "150", "1e999", "-1", "0.5"][..])
            .prop_map(Json::Atom),
        select(&["APPROVE", "COMPLETED", "x"][..]).prop_map(text),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        let name = select(&["outcome", "decision", "status", "y"][..]).prop_map(str::to_owned);
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Json::List),
            vec((name, inner), 0..3).prop_map(Json::Object),
        ]
    })
}

fn text(word: &str) -> Json {
    Json::Text(word.to_owned())
}

/// A real approval with a few bytes changed, put in or taken out.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![select(&b"\"{}[]:,\\ APROVE01"[..]), any::<u8>()];
    vec((any::<Index>(), byte, 0..3u8), 0..4).prop_map(|changes| {
        let mut bytes = APPROVED.as_bytes().to_vec();
        for (index, byte, kind) in changes {
            let at = index.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    })
}

impl Json {
    fn to_bytes(&self) -> Vec<u8> {
        let quoted = |text: &str| serde_json::to_vec(text).unwrap();
        let join = |items: Vec<Vec<u8>>| items.join(&b',');
        match self {
            Json::Atom(atom) => atom.as_bytes().to_vec(),
            Json::Text(text) => quoted(text),
            Json::List(items) => [
                b"[",
                &join(items.iter().map(Json::to_bytes).collect())[..],
                b"]",
            ]
            .concat(),
            Json::Object(fields) => {
                let field = |(name, value): &(String, Json)| {
                    [&quoted(name)[..], b":", &value.to_bytes()].concat()
                };
                [b"{", &join(fields.iter().map(field).collect())[..], b"}"].concat()
            }
        }
    }
}
