//! The kept corpus, played through the targets by ordinary tests.

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use super::{TARGETS, kora_answer, webhook_event};

/// How many bytes the corpus may have in all.
const MAX_CORPUS_BYTES: u64 = 1 << 20;

/// How deep and how long the JSON is that nobody means well with. Whatever went down as deep would need more stack than a
/// test has.
const MANY: usize = 20_000;

/// What an answer of each kind begins with.
const ANSWERS: [&[u8]; 5] = [
    &[0, 0],
    &[1],
    &[2],
    &[3],
    // A screening's refusal with status 400 and without headers.
    &[4, 13, 100, 0, 0, 0, 0],
];

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn every_property_holds_for_the_kept_corpus() {
    for (name, target) in TARGETS {
        let inputs = files(&corpus().join(name));
        assert!(!inputs.is_empty(), "{name} has no inputs");
        for path in inputs {
            let input = fs::read(&path).unwrap();
            let played = catch_unwind(AssertUnwindSafe(|| target(&input)));
            assert!(played.is_ok(), "{} breaks a property", path.display());
        }
    }
}

#[test]
fn every_target_has_a_program_and_the_corpus_is_small_and_nobody_elses() {
    let names = |paths: Vec<PathBuf>| -> BTreeSet<String> {
        let stem = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        paths.iter().map(stem).collect()
    };
    let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(files(&corpus())), targets);
    assert_eq!(names(files(&corpus().with_file_name("targets"))), targets);
    let inputs = files(&corpus())
        .into_iter()
        .flat_map(|folder| files(&folder));
    let bytes: u64 = inputs.map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes <= MAX_CORPUS_BYTES, "{bytes} bytes");
}

#[test]
fn deep_and_long_json_is_read_like_any_other() {
    for (field, value) in hostile() {
        let member = format!(r#""{field}":{value}"#);
        let body = format!(
            r#"{{"event":"screening.completed","code":"VALIDATION_ERROR","screening_id":"scr_1","subject_id":"subj_1",
            "status":"COMPLETED",{member},"data":{{"screening_id":"scr_1",{member}}}}}"#
        );
        for kind in ANSWERS {
            kora_answer(&[kind, body.as_bytes()].concat());
        }
        webhook_event(body.as_bytes());
    }
}

/// Members of an object.
fn hostile() -> [(&'static str, String); 9] {
    let list = |element: &str| format!("[{}{element}]", format!("{element},").repeat(MANY - 1));
    let deep = |open: &str, close: &str| open.repeat(MANY) + "0" + &close.repeat(MANY);
    let names: Vec<_> = (0..MANY).map(|at| format!(r#""x{at}":{at}"#)).collect();
    let names = names.join(",");
    [
        ("matches", list("{}")),
        ("matches", format!("[{}]", deep(r#"{"a":"#, "}"))),
        ("decision", deep("[", "]")),
        (
            "decision",
            format!(r#"{{"outcome":"APPROVE","triggered_rules":{}}}"#, list("7")),
        ),
        ("match_summary", format!("{{{names}}}")),
        ("z", format!("0,{names}")),
        ("identifiers", list("{}")),
        ("details", list(r#"{"field":"name"}"#)),
        (
            "details",
            format!(r#"[{{"field":"{}"}}]"#, "name.".repeat(MANY)),
        ),
    ]
}
