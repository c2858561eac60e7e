use super::*;
use crate::access::Right;

const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn around(tenants: &[&str]) -> Surroundings {
    Surroundings {
        tenants: tenants.iter().map(ToString::to_string).collect(),
        has_client_ca: true,
    }
}

fn read(around: &Surroundings, text: &str) -> Result<Vec<Caller>, Vec<String>> {
    let table: toml::Table = text.parse().unwrap();
    around.callers(&table[CALLERS]).map_err(|problems| {
        let keys = problems.into_iter();
        keys.map(|problem| {
            assert!(!problem.what.contains("secret"), "{}", problem.what);
            problem.key
        })
        .collect()
    })
}

/// One entry with these lines in place of those that it would have.
fn entry(lines: &str) -> String {
    let usual = [
        ("name", r#""a""#.to_owned()),
        ("token_sha256", format!(r#"["{HASH}"]"#)),
        ("rights", r#"["screen"]"#.to_owned()),
    ];
    let mut text = format!("[[callers]]\n{lines}\n");
    for (key, value) in usual {
        if !lines.lines().any(|line| line.starts_with(key)) {
            text += &format!("{key} = {value}\n");
        }
    }
    text
}

#[test]
fn a_caller_is_read_as_it_is_written() {
    let text = entry(
        "san = [\"spiffe://bank/A\", \"Ledger.Internal\"]\nrights = [\"watch\", \"raw_json\"]",
    );
    let callers = read(&around(&["t"]), &text).unwrap();
    let [caller] = &callers[..] else {
        panic!("one caller");
    };
    assert_eq!(&*caller.name, "a");
    assert_eq!(caller.tokens[0].to_string(), HASH);
    assert_eq!(
        caller.certificate_names,
        ["spiffe://bank/A", "ledger.internal"]
    );
    assert_eq!(caller.only_tenant(), Some("t"));
    assert!(caller.rights.include(Right::Watch) && caller.rights.include(Right::RawJson));
    assert!(!caller.rights.include(Right::Screen) && !caller.rights.include(Right::Subjects));
    assert_eq!(read(&around(&["t"]), "callers = []"), Ok(Vec::new()));
}

#[test]
fn tenants_go_without_saying_only_where_there_is_one() {
    let two = around(&["t", "u"]);
    let missing = Err(vec!["callers[0].tenants".to_owned()]);
    assert_eq!(read(&two, &entry("")), missing);
    for wrong in ["[\"v\"]", "[]", "\"t\"", "[1]"] {
        assert_eq!(
            read(&two, &entry(&format!("tenants = {wrong}"))),
            missing,
            "{wrong}"
        );
    }
    let both = read(&two, &entry("tenants = [\"t\", \"u\"]")).unwrap();
    assert_eq!(both[0].tenants, two.tenants);
}

#[test]
fn what_is_wrong_is_named_and_not_repeated() {
    let one = around(&["t"]);
    for (lines, key) in [
        ("name = \"anonymous\"", "name"),
        ("name = \"\"", "name"),
        ("name = \"a b\"", "name"),
        ("name = 1", "name"),
        ("token_sha256 = [\"secret\"]", "token_sha256"),
        ("token_sha256 = \"secret\"", "token_sha256"),
        ("token_sha256 = []", "token_sha256"),
        ("san = [\"*.secret\"]", "san"),
        ("san = [\"a b\"]", "san"),
        ("san = [\":x\"]", "san"),
        ("san = [\"\"]", "san"),
        ("rights = [\"secret\"]", "rights"),
        ("rights = []", "rights"),
        ("rights = \"screen\"", "rights"),
        ("token = \"secret\"", "token"),
    ] {
        let problems = read(&one, &entry(lines)).unwrap_err();
        assert!(
            problems.contains(&format!("callers[0].{key}")),
            "{lines}: {problems:?}"
        );
    }
    for no_list in ["callers = 1", "callers = \"x\""] {
        assert_eq!(read(&one, no_list), Err(vec!["callers".to_owned()]));
    }
}

#[test]
fn nobody_is_known_by_a_certificate_that_nobody_can_show() {
    let plain = Surroundings {
        has_client_ca: false,
        ..around(&["t"])
    };
    let problems = read(&plain, &entry("san = [\"a.internal\"]"));
    assert_eq!(problems, Err(vec!["callers[0].san".to_owned()]));
    assert!(read(&plain, &entry("")).is_ok());
}

#[test]
fn two_callers_can_be_told_apart() {
    let one = around(&["t"]);
    let twice = |lines: &str| read(&one, &(entry("san = [\"x\"]") + &entry(lines)));
    let other = format!("token_sha256 = [\"{}\"]", HASH.replace('9', "8"));
    assert_eq!(twice(&other), Err(vec!["callers[1].name".to_owned()]));
    assert_eq!(
        twice("name = \"b\""),
        Err(vec!["callers[1].token_sha256".to_owned()])
    );
    let same_name = twice(&format!("name = \"b\"\n{other}\nsan = [\"X\"]"));
    assert_eq!(same_name, Err(vec!["callers[1].san".to_owned()]));
    assert!(twice(&format!("name = \"b\"\n{other}")).is_ok());
}

#[test]
fn a_scope_of_ids_is_one_callers_unless_it_is_of_the_time_without_callers() {
    let one = around(&["t"]);
    let all = |callers: &[(&str, Option<&str>)]| {
        let texts = callers.iter().enumerate().map(|(number, (name, ids_of))| {
            let ids_of = ids_of.map(|scope| format!("ids_of = \"{scope}\"\n"));
            let hash = HASH.replace('9', &number.to_string());
            let lines = format!(
                "name = \"{name}\"\ntoken_sha256 = [\"{hash}\"]\n{}",
                ids_of.unwrap_or_default()
            );
            entry(&lines)
        });
        read(&one, &texts.collect::<String>())
    };
    let scopes = |callers: &[(&str, Option<&str>)]| {
        let read = all(callers).unwrap().into_iter();
        read.map(|caller| caller.scope().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(scopes(&[("a", None), ("b", Some("c"))]), ["a", "c"]);
    assert_eq!(scopes(&[("a", Some("a"))]), ["a"]);
    let anonymous = Some(ANONYMOUS);
    let shared = scopes(&[("a", anonymous), ("b", anonymous), ("c", None)]);
    assert_eq!(shared, [ANONYMOUS, ANONYMOUS, "c"]);
    let wrong = |numbers: &[usize]| {
        let keys = numbers.iter();
        Err(keys
            .map(|number| format!("callers[{number}].ids_of"))
            .collect())
    };
    assert_eq!(all(&[("a", Some("b")), ("b", None)]), wrong(&[0]));
    assert_eq!(all(&[("a", None), ("b", Some("a"))]), wrong(&[1]));
    // Where they are swapped each would find the other's.
    assert_eq!(all(&[("a", Some("b")), ("b", Some("a"))]), wrong(&[0, 1]));
    assert_eq!(all(&[("a", Some("x")), ("b", Some("x"))]), wrong(&[0, 1]));
    assert_eq!(all(&[("a", Some("")), ("b", Some("a b"))]), wrong(&[0, 1]));
}

/// The SHA-256 of the empty text, as `sha256sum` writes it.
const OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn what_could_never_match_is_told_apart() {
    let one = around(&["t"]);
    let told = |lines: &str| {
        let table: toml::Table = entry(lines).parse().unwrap();
        let problems = one.callers(&table[CALLERS]).unwrap_err();
        problems[0].to_string()
    };
    let hash = format!("token_sha256 = [\"{HASH}\", \"{OF_NOTHING}\"]");
    assert!(told(&hash).ends_with("token_sha256 has one that is the hash of nothing"));
    let upper = OF_NOTHING.to_uppercase();
    assert!(told(&format!("token_sha256 = [\"{upper}\"]")).ends_with("the hash of nothing"));
    for ip in ["192.0.2.1", "::1", "2001:db8::1", "fe80::1"] {
        let told = told(&format!("san = [\"{ip}\"]"));
        assert!(told.contains("IP address"), "{ip}: {told}");
    }
    for dot in ["ledger.internal.", "."] {
        let told = told(&format!("san = [\"{dot}\"]"));
        assert!(told.contains("ends with a dot"), "{dot}: {told}");
    }
    for pattern in ["*.internal", "*", "spiffe://bank/*", "a*b.internal"] {
        let told = told(&format!("san = [\"{pattern}\"]"));
        assert!(told.contains("there are no patterns"), "{pattern}: {told}");
    }
    let exact = "san = [\"spiffe://bank/v1.\", \"192.internal\", \"https://192.0.2.1/x\"]";
    assert!(read(&one, &entry(exact)).is_ok());
}
