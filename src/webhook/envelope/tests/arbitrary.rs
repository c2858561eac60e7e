//! Whatever a body is, it becomes an event, and no decision that it does not say.

use proptest::prelude::*;

use super::*;

/// JSON that is likely to be nearly an event.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "screening.completed",
        "screening.failed",
        "screening.match_found",
        "risk.threshold_breached",
        "COMPLETED",
        "FAILED",
        "APPROVE",
        "APPROVE ",
        "approve",
        "scr_1",
        "",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    let name = prop::sample::select(vec![
        "event",
        "type",
        "data",
        "id",
        "screening_id",
        "screeningId",
        "subject_id",
        "status",
        "decision",
        "outcome",
        "match",
        "matches",
        "risk_score",
        "risk_band",
        "timestamp",
    ]);
    leaf.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(name.clone(), inner, 0..8).prop_map(|fields| {
                fields
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect()
            }),
        ]
    })
}

/// An approval with some of its fields changed.
fn nearly_an_approval() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec!["status", "decision", "screening_id", "id", "matches"]);
    prop::collection::hash_map(name, any_json(), 0..3).prop_map(|changes| {
        let mut data = approval();
        for (name, value) in changes {
            data[name] = value;
        }
        data
    })
}

/// Whether a decision is there in so many words: the only ways in which one may be read.
fn says_plainly(body: &Value, outcome: &DecisionOutcome) -> bool {
    let data = &body["data"];
    let (is_completed, status) = (body["event"] == "screening.completed", &data["status"]);
    data["decision"]["outcome"] == outcome.code()
        && (status == "COMPLETED" || is_completed && status.is_null())
}

proptest! {
    #[test]
    fn arbitrary_bytes_become_an_event(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let envelope = Envelope::read(&body, Detail::Full);
        prop_assert!(!envelope.content.keys.kind.is_empty());
        prop_assert!(decision_of(envelope).is_none());
    }

    #[test]
    fn a_decision_is_read_only_where_it_is_plain(
        body in any_json(), data in any_json(), changed in nearly_an_approval(),
    ) {
        for body in [
            body.clone(),
            json!({ "event": body, "data": data }),
            json!({ "event": "screening.completed", "data": data }),
            json!({ "event": "screening.completed", "data": changed }),
        ] {
            if let Some(outcome) = decision_of(read(&body)) {
                prop_assert!(says_plainly(&body, &outcome), "{body}");
            }
        }
    }

    #[test]
    fn one_changed_byte_never_turns_into_another_approval(place in 0_usize..300, byte: u8) {
        let plain = json!({ "event": "screening.completed", "data": {
            "screening_id": "scr_1", "status": "COMPLETED", "decision": { "outcome": "BLOCK" }
        }});
        let mut body = plain.to_string().into_bytes();
        let place = place % body.len();
        body[place] = byte;
        let decision = decision_of(Envelope::read(&body, Detail::Full));
        prop_assert!(!matches!(
            decision,
            Some(DecisionOutcome::Approve | DecisionOutcome::ApproveWithMonitoring)
        ));
    }
}
