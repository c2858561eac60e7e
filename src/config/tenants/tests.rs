//! What a file may say of its tenants, and what is refused.

use std::{fs, path::Path};

use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::{super::*, *};

/// A directory with a configuration file in it, and with secrets.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Place(tempfile::tempdir().unwrap());
        for (name, secret) in [
            ("key-a", "kk_a"),
            ("key-b", "kk_b"),
            ("secret-a", "whsec_a\nwhsec_next_a"),
            ("secret-b", "whsec_b"),
            ("secret-shared", "whsec_c\nwhsec_next_a"),
            ("empty", " \n"),
        ] {
            fs::write(place.file(name), secret).unwrap();
        }
        place
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// Reads a configuration in which `DIR` stands for the directory.
    fn load_with(
        &self,
        text: &str,
        flags: &[(&'static str, &str)],
        variables: &[(&str, &str)],
        with_emulator: bool,
    ) -> Result<Loaded, Problems> {
        let directory = self.0.path().display().to_string();
        let file = self.file("gateway.toml");
        fs::write(&file, text.replace("DIR", &directory)).unwrap();
        let owned = |(name, value): &(&'static str, &str)| (*name, (*value).to_owned());
        let mut flags: std::collections::BTreeMap<_, _> = flags.iter().map(owned).collect();
        flags.insert("config", file);
        let environment = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Config::load(Flags(flags), &environment, with_emulator)
    }

    fn load(&self, text: &str) -> Result<Loaded, Problems> {
        self.load_with(text, &[], &[], false)
    }

    /// The keys that are complained of; nothing of a secret is in any complaint.
    fn complaints(&self, text: &str) -> Vec<String> {
        keys(self.load(text))
    }
}

fn keys(loaded: Result<Loaded, Problems>) -> Vec<String> {
    let problems = loaded.expect_err("it was taken");
    let told = problems.to_string();
    assert!(!told.contains("whsec") && !told.contains("kk_"), "{told}");
    problems.0.into_iter().map(|problem| problem.key).collect()
}

fn entry(name: &str, id: &str, key: &str, secret: &str) -> String {
    format!(
        "[[tenants]]\nname = \"{name}\"\nkora_tenant_id = \"{id}\"\napi_key_file = \"DIR/{key}\"\n\
         webhook_secret_file = \"DIR/{secret}\"\n"
    )
}

fn two() -> String {
    entry("alpha", "id-a", "key-a", "secret-a") + &entry("beta.2", "id-b", "key-b", "secret-b")
}

#[test]
fn several_tenants_each_have_their_own() {
    let place = Place::new();
    let text = format!(
        "kora_base_url = \"https://kora.example/v1\"\n{}base_url = \"http://127.0.0.1:4010/api\"\n",
        two()
    );
    let loaded = place.load(&text).unwrap();
    let found: Vec<_> = loaded
        .config
        .tenants
        .iter()
        .map(|tenant| {
            (
                tenant.name.as_str(),
                tenant.kora.tenant_id.as_str(),
                tenant.kora.base_url.as_str(),
                tenant.kora.api_key.now().text.expose_secret().to_owned(),
                webhook::secrets_of(&tenant.webhook_secrets.now().text).len(),
            )
        })
        .collect();
    let (first, second) = ("https://kora.example/v1", "http://127.0.0.1:4010/api");
    assert_eq!(
        found,
        [
            ("alpha", "id-a", first, "kk_a".to_owned(), 2),
            ("beta.2", "id-b", second, "kk_b".to_owned(), 1),
        ]
    );
    let secrets: Vec<_> = loaded.secrets.iter().map(|secret| &secret.name).collect();
    assert_eq!(
        secrets,
        [
            "api_key of alpha",
            "webhook_secret of alpha",
            "api_key of beta.2",
            "webhook_secret of beta.2",
        ]
    );
    assert_eq!(loaded.secrets[0].from, place.file("key-a"));
    assert!(
        loaded
            .secrets
            .iter()
            .all(|secret| secret.modified.is_some())
    );
}

#[test]
fn one_by_settings_is_called_what_kora_calls_it() {
    let place = Place::new();
    let text = "kora_api_key_file = \"DIR/key-a\"\nkora_tenant_id = \"id\"\n";
    let variables = [("KORA_WEBHOOK_SECRET", "whsec_a")];
    let loaded = place.load_with(text, &[], &variables, false).unwrap();
    let [tenant] = &loaded.config.tenants[..] else {
        panic!("it is one");
    };
    assert_eq!(
        (tenant.name.as_str(), tenant.kora.tenant_id.as_str()),
        ("id", "id")
    );
    let origins: Vec<_> = loaded
        .secrets
        .iter()
        .map(|secret| {
            (
                secret.name.as_str(),
                secret.from.as_str(),
                secret.modified.is_some(),
            )
        })
        .collect();
    let file = place.file("gateway.toml");
    assert_eq!(
        origins,
        [
            ("kora-api-key", file.as_str(), true),
            ("kora-webhook-secret", "KORA_WEBHOOK_SECRET", false),
        ]
    );
}

#[test]
fn everything_that_is_wrong_with_a_tenant_is_told_at_once_by_its_place() {
    let place = Place::new();
    let text = format!(
        "{}[[tenants]]\nname = 7\nkora_tenant_id = \"\"\napi_key_file = \"DIR/none\"\n\
         api_key = \"kk_c\"\nbase_url = \"http://kora.example\"\n",
        two()
    );
    assert_eq!(
        place.complaints(&text),
        [
            "tenants[2].api_key",
            "tenants[2].name",
            "tenants[2].kora_tenant_id",
            "tenants[2].api_key_file",
            "tenants[2].webhook_secret_file",
            "tenants[2].base_url",
        ]
    );
    let one = |name: &str, id: &str, key: &str, secret: &str| {
        place.complaints(&entry(name, id, key, secret))
    };
    for name in ["", ".", "..", "a b", "a/b", "é", &"x".repeat(65)] {
        assert_eq!(
            one(name, "id", "key-a", "secret-a"),
            ["tenants[0].name"],
            "{name}"
        );
    }
    let newline = one("a", "a\\nb", "key-a", "secret-a");
    assert_eq!(newline, ["tenants[0].kora_tenant_id"]);
    assert_eq!(
        one("a", "id", "empty", "secret-a"),
        ["tenants[0].api_key_file"]
    );
    let empty = one("a", "id", "key-a", "empty");
    assert_eq!(empty, ["tenants[0].webhook_secret_file"]);
}

#[test]
fn what_is_each_tenants_own_is_nobody_elses() {
    let place = Place::new();
    let third = |name, id, secret| two() + &entry(name, id, "key-a", secret);
    let twin = place.complaints(&third("alpha", "id-c", "secret-shared"));
    assert_eq!(twin, ["tenants[2].name", "tenants[2].webhook_secret_file"]);
    let twin = place.complaints(&third("gamma", "id-b", "empty"));
    assert_eq!(
        twin,
        [
            "tenants[2].webhook_secret_file",
            "tenants[2].kora_tenant_id"
        ]
    );
    let problems = place
        .load(&third("gamma", "id-c", "secret-shared"))
        .err()
        .unwrap();
    let told = problems.to_string();
    assert!(
        told.contains("gamma and alpha") && !told.contains("whsec"),
        "{told}"
    );
    // In its own file one may stand twice.
    fs::write(place.file("secret-b"), "whsec_b\nwhsec_b\n").unwrap();
    assert!(place.load(&two()).is_ok());
}

#[test]
fn a_list_is_a_list_of_tables_and_neither_empty_nor_endless() {
    let place = Place::new();
    for (text, key) in [
        ("tenants = 1", "tenants"),
        ("tenants = []", "tenants"),
        ("tenants = [1]", "tenants[0]"),
        ("[tenants]\nname = \"a\"", "tenants"),
    ] {
        assert_eq!(place.complaints(text), [key], "{text}");
    }
    let many = vec!["1"; MAX_TENANTS + 1].join(",");
    assert_eq!(
        place.complaints(&format!("tenants = [{many}]")),
        ["tenants"]
    );
}

#[test]
fn the_settings_of_one_tenant_do_not_go_together_with_a_list() {
    let place = Place::new();
    let file = place.file("key-a");
    for (flags, variables, key) in [
        (&[("kora-tenant-id", "id")][..], &[][..], "kora-tenant-id"),
        (&[], &[("KORA_TENANT_ID", "id")], "kora-tenant-id"),
        (&[], &[("KORA_API_KEY", "kk_a")], "kora-api-key"),
        (&[], &[("KORA_API_KEY_FILE", file.as_str())], "kora-api-key"),
        (
            &[],
            &[("KORA_WEBHOOK_SECRET", "whsec_a")],
            "kora-webhook-secret",
        ),
    ] {
        let loaded = place.load_with(&two(), flags, variables, false);
        assert_eq!(keys(loaded), [key]);
    }
    for (line, key) in [
        ("kora_tenant_id = \"id\"\n", "kora-tenant-id"),
        ("kora_api_key_file = \"DIR/key-a\"\n", "kora-api-key"),
        ("kora_webhook_secret = \"whsec_a\"\n", "kora-webhook-secret"),
    ] {
        assert_eq!(place.complaints(&(line.to_owned() + &two())), [key]);
    }
    assert_eq!(keys(place.load_with(&two(), &[], &[], true)), ["tenants"]);
    assert!(Path::new(&file).is_file());
}
