//! What a caller may be told of a call, by what passed the proxy.

use tonic::Code;

use super::{
    Setting,
    lane::{Exchange, Kora},
};
use crate::fault_proxy::{Fault, Passage};

/// The answer that says: refused, nothing was done.
const REFUSED: u16 = 429;

/// Whether this attempt certainly did nothing at Kora, so that there may be another.
fn did_nothing(passage: &Passage) -> bool {
    passage.received == 0 || passage.answered() == Some(REFUSED)
}

/// Judges one call.
pub fn check(setting: Setting, exchange: &Exchange) {
    let Exchange {
        plan,
        answer,
        passages,
    } = exchange;
    let outcome = answer.outcome();
    let code = answer.status.code();
    let context = format!("{setting:?}, {plan:?}, {passages:?}: {code:?}, {outcome:?}");
    // A connection that nothing was sent on says nothing, wherever it came.
    let mut used: Vec<_> = passages.iter().filter(|one| one.received > 0).collect();
    let last = used.pop().or(passages.last()).unwrap();
    let is_sent_once = used.into_iter().all(did_nothing);
    assert!(is_sent_once, "sent again: {context}");
    let is_proven = match outcome.as_deref() {
        None => code == Code::Ok && last.answered() == Some(200),
        Some("NOT_SENT") => passages.iter().all(|passage| passage.received == 0),
        Some("REJECTED") => {
            let mut refusals = passages.iter().map(Passage::answered);
            did_nothing(last) && refusals.any(|status| status == Some(REFUSED))
        }
        Some("ACCEPTED") => last.answered() == Some(500),
        Some("UNKNOWN") => !matches!(code, Code::Unavailable | Code::Cancelled),
        _ => false,
    };
    assert!(is_proven, "not certain: {context}");
    // A reset may overtake the end of the answer, and a stall's short limit may pass on a slow machine.
    if setting.fault == Fault::Cut && last.answered().is_some() {
        let known = match setting.kora {
            Kora::Screens => None,
            Kora::LimitsRates => Some("REJECTED"),
            Kora::Fails => Some("ACCEPTED"),
            Kora::TakesTooLong => Some("UNKNOWN"),
        };
        assert_eq!(outcome.as_deref(), known, "not told: {context}");
    }
    let told = [answer.status.message().as_bytes(), answer.status.details()].concat();
    assert!(
        !String::from_utf8_lossy(&told).contains("Jane"),
        "{context}"
    );
}
