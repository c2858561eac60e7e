//! The rooms of the house use one another one way only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Which rooms each room may use. A room that is not listed here does not exist.
const MAY_USE: &[(&str, &[&str])] = &[
    ("access", &[]),
    ("clock", &[]),
    ("error", &[]),
    ("emulator", &[]),
    ("secret", &[]),
    ("telemetry", &[]),
    ("lifecycle", &["telemetry"]),
    ("listener", &["lifecycle", "telemetry"]),
    ("memory", &[]),
    ("pb", &[]),
    ("screening", &["error", "pb"]),
    ("event", &["error", "memory", "pb", "screening"]),
    (
        "store",
        &["clock", "event", "memory", "pb", "screening", "telemetry"],
    ),
    (
        "webhook",
        &[
            "event",
            "listener",
            "memory",
            "screening",
            "secret",
            "store",
            "telemetry",
        ],
    ),
    (
        "kora",
        &[
            "clock",
            "error",
            "lifecycle",
            "screening",
            "secret",
            "telemetry",
        ],
    ),
    (
        "reconciler",
        &[
            "clock",
            "error",
            "event",
            "kora",
            "lifecycle",
            "screening",
            "store",
            "telemetry",
        ],
    ),
    (
        "requests",
        &[
            "access",
            "error",
            "event",
            "kora",
            "lifecycle",
            "pb",
            "reconciler",
            "screening",
            "store",
        ],
    ),
    (
        "feed",
        &[
            "access",
            "error",
            "event",
            "lifecycle",
            "memory",
            "pb",
            "screening",
            "store",
        ],
    ),
    (
        "grpc",
        &[
            "access",
            "clock",
            "error",
            "event",
            "feed",
            "kora",
            "lifecycle",
            "listener",
            "memory",
            "pb",
            "requests",
            "screening",
            "telemetry",
        ],
    ),
    ("admin", &["clock", "lifecycle", "pb", "store", "telemetry"]),
    (
        "config",
        &[
            "access",
            "emulator",
            "grpc",
            "kora",
            "listener",
            "memory",
            "reconciler",
            "requests",
            "secret",
            "store",
            "webhook",
        ],
    ),
    (
        "app",
        &[
            "access",
            "admin",
            "clock",
            "config",
            "emulator",
            "feed",
            "grpc",
            "kora",
            "lifecycle",
            "listener",
            "memory",
            "reconciler",
            "requests",
            "secret",
            "store",
            "telemetry",
            "webhook",
        ],
    ),
    (
        "cli",
        &[
            "access",
            "admin",
            "app",
            "clock",
            "config",
            "emulator",
            "lifecycle",
            "listener",
            "pb",
            "secret",
            "telemetry",
        ],
    ),
];

/// Crates that a room must not know.
const MUST_NOT_KNOW: &[(&str, &[&str])] = &[
    ("error", &["tonic", "prost", "reqwest"]),
    ("screening", &["tonic", "reqwest", "hyper"]),
    ("kora", &["tonic", "prost", "axum"]),
    ("event", &["tonic", "reqwest", "hyper", "rusqlite"]),
    ("store", &["tonic", "reqwest", "hyper", "axum"]),
    ("webhook", &["tonic", "prost", "reqwest", "rusqlite"]),
    ("feed", &["tonic", "reqwest", "hyper", "rusqlite"]),
    ("reconciler", &["tonic", "reqwest", "hyper", "rusqlite"]),
    ("requests", &["tonic", "reqwest", "hyper", "rusqlite"]),
    ("grpc", &["reqwest", "rusqlite"]),
    ("emulator", &["tonic", "prost", "reqwest"]),
];

#[test]
fn rooms_use_one_another_one_way() {
    let rooms: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let mut seen = BTreeSet::new();
    for (room, path, code) in sources() {
        let Some(allowed) = rooms.get(room.as_str()) else {
            panic!("{} is in no room of the plan", path.display());
        };
        for used in rooms_named_in(&code) {
            assert!(
                used == room || allowed.contains(&used.as_str()),
                "{} uses {used}",
                path.display()
            );
        }
        seen.insert(room);
    }
    let planned: BTreeSet<_> = rooms.keys().map(|room| (*room).to_owned()).collect();
    assert_eq!(seen, planned, "the plan and the house differ");
}

#[test]
fn rooms_do_not_know_what_is_not_theirs() {
    for (room, path, code) in sources() {
        let unknown = MUST_NOT_KNOW
            .iter()
            .filter(|(of, _)| *of == room)
            .flat_map(|(_, crates)| *crates);
        for name in unknown {
            assert!(
                !code.contains(&format!("{name}::")),
                "{} uses {name}",
                path.display()
            );
        }
    }
}

/// Every source file of a room with its code, tests and comments left out.
fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files
        .into_iter()
        .filter_map(|path| {
            let inside = path.strip_prefix(&root).unwrap();
            let first = inside.components().next()?.as_os_str().to_str()?;
            let room = first.trim_end_matches(".rs").to_owned();
            if matches!(room.as_str(), "main" | "lib") || inside.to_str()?.contains("tests") {
                return None;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next()?;
            let code = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .collect::<Vec<_>>()
                .join("\n");
            Some((room, path, code))
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => collect(&path, files),
            false => files.push(path),
        }
    }
}

/// `crate::a::b` and `crate::{a, b::{c}, d}` name rooms.
fn rooms_named_in(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, start) in code.match_indices("crate::") {
        let rest = &code[at + start.len()..];
        match rest.strip_prefix('{') {
            None => rooms.extend(leading_word(rest)),
            Some(group) => {
                let mut depth = 0;
                let mut item = String::new();
                for letter in group.chars() {
                    match letter {
                        '}' if depth == 0 => break,
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 0 => rooms.extend(leading_word(&std::mem::take(&mut item))),
                        _ => {}
                    }
                    if letter != ',' || depth > 0 {
                        item.push(letter);
                    }
                }
                rooms.extend(leading_word(&item));
            }
        }
    }
    rooms
}

fn leading_word(text: &str) -> Option<String> {
    let word: String = text
        .trim_start()
        .chars()
        .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
        .collect();
    (!word.is_empty()).then_some(word)
}

#[test]
fn grouped_imports_are_understood() {
    let code = "use crate::{\n    a,\n    b::{c, d},\n    e::F,\n};\nlet x = crate::g::h();";
    let rooms: Vec<_> = rooms_named_in(code).into_iter().collect();
    assert_eq!(rooms, ["a", "b", "e", "g"]);
}
