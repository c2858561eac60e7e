//! Makes a message fit into so many bytes: for clients, which refuse messages above 4 MiB unless they are told
//! otherwise, and for stores with limits of their own.
//!
//! What is left out goes in one order: Kora's body, the fields of matches that have no field here, matches from the end
//! of the list. Ids, status and outcome never go. Each message has fields that tell what is missing.

use prost::{
    Message,
    encoding::{encoded_len_varint, key_len},
};

use super::{Cuts, Part};
use crate::pb;

/// How large a message may be that clients get.
pub const MAX_MESSAGE_BYTES: usize = 3 << 20;

/// How much of an explanation is kept.
const MAX_EXPLANATION_BYTES: usize = 16 << 10;

/// How many rules are kept, and how much of each.
const MAX_RULES: usize = 256;
const MAX_RULE_BYTES: usize = 256;

/// The number of `Screening.matches`.
const MATCHES_TAG: u32 = 9;

/// Makes a screening fit into `room` bytes. A decision's explanation and rules have limits of their own, whatever the
/// room.
pub fn fit_screening(screening: &mut pb::Screening, room: usize) -> Cuts {
    let mut cuts = Cuts::default();
    if let Some(decision) = &mut screening.decision {
        cut_decision(decision, &mut cuts);
    }
    if screening.encoded_len() > room && !screening.raw_json.is_empty() {
        screening.raw_json.clear();
        screening.raw_json_omitted = true;
        cuts.add(Part::RawJson);
    }
    leave_fields_out(screening, room, &mut cuts);
    leave_matches_out(screening, room, &mut cuts);
    cuts
}

/// Makes a subject fit into `room` bytes: one that does not is its id, without its profile.
pub fn fit_subject(subject: &mut pb::Subject, room: usize) -> Cuts {
    let mut cuts = Cuts::default();
    if subject.encoded_len() > room && subject.profile.take().is_some() {
        subject.profile_omitted = true;
        cuts.add(Part::Profile);
    }
    cuts
}

fn cut_decision(decision: &mut pb::Decision, cuts: &mut Cuts) {
    if cut(&mut decision.explanation, MAX_EXPLANATION_BYTES) {
        decision.explanation_truncated = true;
        cuts.add(Part::Explanation);
    }
    let rules = &mut decision.triggered_rules;
    let mut is_cut = rules.len() > MAX_RULES;
    rules.truncate(MAX_RULES);
    for rule in rules {
        is_cut |= cut(rule, MAX_RULE_BYTES);
    }
    if is_cut {
        decision.triggered_rules_truncated = true;
        cuts.add(Part::TriggeredRules);
    }
}

/// Cuts a text between two characters. Whether it was longer.
fn cut(text: &mut String, max_bytes: usize) -> bool {
    if text.len() <= max_bytes {
        return false;
    }
    text.truncate(text.floor_char_boundary(max_bytes));
    text.shrink_to_fit();
    true
}

/// Leaves out the fields of as many matches as it takes, from the end.
fn leave_fields_out(screening: &mut pb::Screening, room: usize, cuts: &mut Cuts) {
    let mut size = screening.encoded_len();
    for found in screening.matches.iter_mut().rev() {
        if size <= room {
            return;
        }
        if found.fields.is_none() {
            continue;
        }
        size -= size_in_list(found);
        found.fields = None;
        found.fields_omitted = true;
        size += size_in_list(found);
        cuts.add(Part::MatchFields);
    }
}

/// Leaves out as many matches as it takes, from the end.
fn leave_matches_out(screening: &mut pb::Screening, room: usize, cuts: &mut Cuts) {
    if screening.encoded_len() <= room {
        return;
    }
    let before = (screening.matches_omitted, screening.matches.len());
    // The count takes no more bytes than it does when all of them are left out.
    screening.matches_omitted = omitted(before.0, before.1);
    let mut size = screening.encoded_len();
    while size > room
        && let Some(found) = screening.matches.pop()
    {
        size -= size_in_list(&found);
        cuts.add(Part::Matches);
    }
    screening.matches_omitted = omitted(before.0, before.1 - screening.matches.len());
}

fn omitted(before: i32, more: usize) -> i32 {
    before.saturating_add(i32::try_from(more).unwrap_or(i32::MAX))
}

fn size_in_list(found: &pb::Match) -> usize {
    let size = found.encoded_len();
    key_len(MATCHES_TAG) + encoded_len_varint(size as u64) + size
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::screening::object_to_wire;

    /// A screening with so many matches of about a KiB each.
    fn screening(matches: usize) -> pb::Screening {
        let fields = json!({ "text": "x".repeat(1000) });
        let fields = fields.as_object().unwrap();
        let found = |place: usize| pb::Match {
            match_id: format!("m{place}"),
            fields: Some(object_to_wire(fields.clone())),
            ..pb::Match::default()
        };
        pb::Screening {
            screening_id: "scr_1".to_owned(),
            status: pb::ScreeningStatus::Completed.into(),
            decision: Some(pb::Decision {
                outcome: pb::Outcome::Block.into(),
                ..pb::Decision::default()
            }),
            matches: (0..matches).map(found).collect(),
            matches_omitted: 2,
            raw_json: vec![b'x'; 5000],
            ..pb::Screening::default()
        }
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let mut whole = screening(3);
        let room = whole.encoded_len();
        assert!(fit_screening(&mut whole, room).is_empty());
        assert_eq!(whole, screening(3));
    }

    #[test]
    fn one_byte_less_costs_the_body_alone() {
        let mut cut = screening(3);
        let room = cut.encoded_len() - 1;
        assert_eq!(fit_screening(&mut cut, room).to_string(), "raw_json");
        assert!(cut.raw_json.is_empty() && cut.raw_json_omitted);
        assert_eq!(cut.matches, screening(3).matches);
    }

    #[test]
    fn then_fields_go_and_then_matches_from_the_end_and_the_decision_never() {
        for room in (0..6000).step_by(7) {
            let mut cut = screening(5);
            fit_screening(&mut cut, room);
            let is_at_its_least = cut.matches.is_empty();
            assert!(cut.encoded_len() <= room || is_at_its_least, "{room}");
            assert_eq!(
                cut.matches_omitted as usize + cut.matches.len(),
                7,
                "{room}"
            );
            let with_fields = cut.matches.iter().filter(|found| found.fields.is_some());
            let with_fields = with_fields.count();
            for (place, found) in cut.matches.iter().enumerate() {
                assert_eq!(found.match_id, format!("m{place}"));
                assert_eq!(found.fields.is_some(), place < with_fields, "{room}");
                assert_eq!(found.fields_omitted, found.fields.is_none());
            }
            // No match goes while there are fields to go.
            assert!(cut.matches.len() == 5 || with_fields == 0, "{room}");
            assert_eq!(cut.screening_id, "scr_1");
            assert_eq!(cut.decision.unwrap().outcome(), pb::Outcome::Block);
        }
    }

    #[test]
    fn a_decision_is_cut_between_characters_whatever_the_room() {
        let mut cut = screening(0);
        let decision = cut.decision.as_mut().unwrap();
        decision.explanation = "€".repeat(MAX_EXPLANATION_BYTES);
        decision.triggered_rules = vec!["é".repeat(200); MAX_RULES + 1];
        let cuts = fit_screening(&mut cut, MAX_MESSAGE_BYTES);
        assert_eq!(cuts.to_string(), "explanation,triggered_rules");
        let decision = cut.decision.unwrap();
        assert_eq!(decision.explanation.len(), MAX_EXPLANATION_BYTES / 3 * 3);
        assert!(decision.explanation_truncated && decision.triggered_rules_truncated);
        assert_eq!(decision.triggered_rules.len(), MAX_RULES);
        assert_eq!(decision.triggered_rules[0], "é".repeat(128));
    }

    #[test]
    fn a_subject_that_does_not_fit_is_its_id() {
        let profile = pb::SubjectProfile {
            name: "x".repeat(1000),
            ..pb::SubjectProfile::default()
        };
        let mut subject = pb::Subject {
            subject_id: "subj_1".to_owned(),
            profile: Some(profile),
            ..pb::Subject::default()
        };
        let whole = subject.clone();
        assert!(fit_subject(&mut subject, whole.encoded_len()).is_empty());
        assert_eq!(subject, whole);
        let cuts = fit_subject(&mut subject, whole.encoded_len() - 1);
        assert_eq!(cuts.to_string(), "profile");
        assert!(subject.profile.is_none() && subject.profile_omitted);
        assert_eq!(subject.subject_id, "subj_1");
    }
}
