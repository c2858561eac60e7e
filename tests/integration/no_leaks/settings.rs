//! Settings that cannot be used: what stands in them can be a secret, given in the wrong place.

use super::{
    callers::tenants,
    launch::Launch,
    marked::{KEY, TOKEN},
    outputs::Outputs,
};

/// Nothing asks Kora here.
const NO_KORA: &str = "https://kora.example/api/v1";

/// What is wrong, and the setting that has to be named.
struct Mistake {
    launch: Launch,
    named: &'static str,
}

fn mistake(named: &'static str, make: impl FnOnce(Launch) -> Launch) -> Mistake {
    Mistake {
        launch: make(Launch::gateway(NO_KORA)),
        named,
    }
}

/// A file of the configuration that ends in this.
fn by_file(named: &'static str, end: &str) -> Mistake {
    let launch = Launch::bare();
    let text = tenants(&launch, NO_KORA) + end;
    let file = launch.file("gateway.toml", &text);
    Mistake {
        launch: launch.flag("config", &file),
        named,
    }
}

fn mistakes() -> Vec<Mistake> {
    let file = |launch: Launch, variable: &str, text: &str| {
        let path = launch.file("secret", text);
        let plain = variable.strip_suffix("_FILE").unwrap();
        launch.without(plain).variable(variable, &path)
    };
    let pem = "-----BEGIN PRIVATE KEY-----\nMARKER\n-----END PRIVATE KEY-----";
    let mut mistakes = vec![
        mistake("KORA_API_KEY", |one| {
            one.variable("KORA_API_KEY", "MARKER\nMARKER")
        }),
        mistake("KORA_API_KEY", |one| {
            one.without("KORA_API_KEY")
                .variable("KORA_API_KEY_FILE", KEY)
        }),
        mistake("KORA_API_KEY", |one| one.variable("KORA_API_KEY_FILE", KEY)),
        mistake("KORA_API_KEY", |one| {
            file(one, "KORA_API_KEY_FILE", "MARKER\nMARKER")
        }),
        mistake("KORA_API_KEY", |one| {
            file(one, "KORA_API_KEY_FILE", &"MARKER".repeat(20_000))
        }),
        mistake("KORA_WEBHOOK_SECRET", |one| {
            file(one, "KORA_WEBHOOK_SECRET_FILE", &"MARKER\n".repeat(17))
        }),
        mistake("KORA_WEBHOOK_SECRET", |one| {
            one.without("KORA_WEBHOOK_SECRET")
                .variable("KORA_WEBHOOK_SECRET_FILE", "whsec_MARKER")
        }),
        mistake("kora-base-url", |one| {
            one.flag("kora-base-url", "https://MARKER:MARKER@kora.example/")
        }),
        mistake("kora-base-url", |one| {
            one.flag("kora-base-url", "https://kora.example/?key=MARKER")
        }),
        mistake("kora-base-url", |one| {
            one.flag("kora-base-url", "http://MARKER.example/")
        }),
        mistake("kora-proxy", |one| {
            one.flag("kora-proxy", "socks5://MARKER:MARKER@proxy.example")
        }),
        mistake("event-log", |one| {
            one.flag("event-log", "nats://MARKER:MARKER@127.0.0.1:4222")
        }),
        mistake("event-log", |one| {
            one.flag("event-log", "nats://127.0.0.1:4222/MARKER")
        }),
        mistake("nats-credentials-file", |one| {
            one.flag("event-log", "nats://127.0.0.1:9")
                .flag("nats-credentials-file", "MARKER-SEED")
        }),
        mistake("tls-key", |one| {
            let cert = one.file("cert", "MARKER of no certificate");
            one.flag("tls-cert", &cert).variable("GATEWAY_TLS_KEY", pem)
        }),
        mistake("webhook-tls-cert", |one| {
            one.flag("webhook-tls-key", "MARKER")
                .flag("webhook-tls-cert", "MARKER")
        }),
        mistake("RUST_LOG", |one| {
            one.variable("RUST_LOG", "MARKER=MARKER=MARKER")
        }),
        mistake("config", |one| {
            let path = one.file(
                "gateway.toml",
                "kora_api_key = \"MARKER\nkora_timeout = \"1s\"\n",
            );
            one.flag("config", &path)
        }),
        mistake("kora-timeout", |one| {
            let path = one.file("gateway.toml", "kora_timeout = [\"MARKER\"]\n");
            let one = one.flag("config", &path);
            one.flag("kora-timeout", "MARKER")
        }),
        mistake("unexpected argument", |one| {
            one.flag("kora-api-key", "MARKER")
        }),
        mistake("unexpected argument", |one| {
            one.flag("kora-webhook-secret", "MARKER")
        }),
        by_file(
            "tenants[2].api_key_file",
            &format!("[[tenants]]\nname = \"third\"\napi_key_file = \"{KEY}\"\n"),
        ),
        by_file(
            "tenants[2].name",
            "[[tenants]]\nname = \"MARKER of a name\"\nkora_tenant_id = \"MARKER\\n\"\n",
        ),
        by_file(
            "callers[0].token_sha256",
            &format!("[[callers]]\nname = \"a\"\ntoken_sha256 = [\"{TOKEN}\"]\n"),
        ),
        by_file(
            "callers[0].san",
            "[[callers]]\nname = \"a\"\nsan = [\"MARKER of none\"]\n",
        ),
        by_file(
            "config",
            &format!("[[callers]]\nname = \"a\"\ntoken_sha256 = [{TOKEN}]\n"),
        ),
    ];
    for (name, value) in [
        ("grpc-addr", "MARKER"),
        ("kora-timeout", "MARKER"),
        ("max-calls", "MARKER"),
        ("retention-size", "MARKER"),
        ("reflection", "MARKER"),
        ("nats-stream-prefix", "MARKER of none"),
    ] {
        mistakes.push(mistake(name, |one| one.flag(name, value)));
    }
    mistakes
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_named_and_not_shown() {
    for Mistake { launch, named } in mistakes() {
        let mut outputs = Outputs::default();
        for verb in ["check-config", "serve"] {
            let ended = launch.end_as(verb).await;
            assert_eq!(
                ended.code,
                Some(64),
                "{verb} {named}: {}{}",
                ended.stdout,
                ended.stderr
            );
            assert!(ended.stderr.contains(named), "{named}: {}", ended.stderr);
            assert_eq!(ended.stdout, "");
            outputs.add(verb, ended.stderr);
        }
        outputs.look();
    }
}

/// Secrets have no flag: whoever takes one for a setting gets to read its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_on_the_command_line_is_not_repeated() {
    for flag in ["--kora-api-key", "--kora-webhook-secret", "--token"] {
        let ended = Launch::verb(&["serve", flag, "MARKER"]).end().await;
        assert_eq!(ended.code, Some(64));
        assert!(ended.stderr.contains(flag), "{}", ended.stderr);
        let mut outputs = Outputs::default();
        outputs.add("serve", ended.stdout + &ended.stderr);
        outputs.look();
    }
}

/// And what can be used is shown without its secrets.
#[tokio::test(flavor = "multi_thread")]
async fn settings_are_shown_without_their_secrets() {
    let launch = Launch::gateway(NO_KORA).flag("kora-proxy", "http://MARKER:MARKER@127.0.0.1:9/");
    let ended = launch.end_as("check-config").await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("(redacted)") && ended.stdout.contains("redacted@127.0.0.1"));
    let mut outputs = Outputs::default();
    outputs.add("check-config", ended.stdout);
    outputs.look();
}
