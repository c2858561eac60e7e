//! The kept corpus, played through the targets by ordinary tests.

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use super::TARGETS;

/// How many bytes the corpus may have in all.
const MAX_CORPUS_BYTES: u64 = 1 << 20;

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
