//! Every setting: its names, its default and its meaning. Flags, environment, file, `check-config` and
//! the manual all go by this table.

/// What kind of value a setting has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value, shown as this placeholder in the help.
    Value(&'static str),
    /// On or off.
    Switch,
    /// A secret: no flag, and it can be given as a file whose path is in `…_FILE`.
    Secret,
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// The flag without its dashes; with underscores, the key in the file.
    pub name: &'static str,
    /// The environment variable.
    pub env: &'static str,
    /// The kind of value.
    pub kind: Kind,
    /// The value where none is given; `None` where one is required, or where there may be none.
    pub default: Option<&'static str>,
    /// The meaning, for the help.
    pub help: &'static str,
}

/// All of them.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "grpc-addr",
        env: "GATEWAY_GRPC_ADDR",
        kind: Kind::Value("ADDR"),
        default: Some("127.0.0.1:50051"),
        help: "Where callers connect (gRPC)",
    },
    Setting {
        name: "webhook-addr",
        env: "GATEWAY_WEBHOOK_ADDR",
        kind: Kind::Value("ADDR"),
        default: Some("127.0.0.1:8080"),
        help: "Where Kora delivers webhooks: POST /webhooks/compliance",
    },
    Setting {
        name: "admin-addr",
        env: "GATEWAY_ADMIN_ADDR",
        kind: Kind::Value("ADDR"),
        default: Some("127.0.0.1:9090"),
        help: "Where the orchestrator finds /livez, /readyz, /metrics and grpc.health.v1",
    },
    Setting {
        name: "kora-base-url",
        env: "KORA_BASE_URL",
        kind: Kind::Value("URL"),
        default: Some("https://api.korastratum.com/api/v1"),
        help: "Where Kora's API is; https, except on loopback",
    },
    Setting {
        name: "kora-api-key",
        env: "KORA_API_KEY",
        kind: Kind::Secret,
        default: None,
        help: "The bearer key for Kora (required without [[tenants]])",
    },
    Setting {
        name: "kora-tenant-id",
        env: "KORA_TENANT_ID",
        kind: Kind::Value("ID"),
        default: None,
        help: "The tenant's id at Kora (required without [[tenants]])",
    },
    Setting {
        name: "kora-webhook-secret",
        env: "KORA_WEBHOOK_SECRET",
        kind: Kind::Secret,
        default: None,
        help: "The secrets that webhooks are signed with, one per line; all are accepted (required without [[tenants]])",
    },
    Setting {
        name: "kora-timeout",
        env: "KORA_TIMEOUT",
        kind: Kind::Value("DURATION"),
        default: Some("35s"),
        help: "How long one attempt at Kora may take once it was sent",
    },
    Setting {
        name: "kora-idle-timeout",
        env: "KORA_IDLE_TIMEOUT",
        kind: Kind::Value("DURATION"),
        default: Some("4s"),
        help: "When an idle connection to Kora is dropped; must be below the far side's keep-alive",
    },
    Setting {
        name: "kora-connection-max-age",
        env: "KORA_CONNECTION_MAX_AGE",
        kind: Kind::Value("DURATION"),
        default: Some("5m"),
        help: "How old a connection to Kora may be that is used for another request; at least 1s",
    },
    Setting {
        name: "kora-proxy",
        env: "KORA_PROXY",
        kind: Kind::Value("URL"),
        default: None,
        help: "An HTTP proxy on the way to Kora (the environment's proxy variables are ignored)",
    },
    Setting {
        name: "kora-ca-file",
        env: "KORA_CA_FILE",
        kind: Kind::Value("PATH"),
        default: None,
        help: "PEM certificates to trust for Kora instead of the system's",
    },
    Setting {
        name: "trust-kora-503",
        env: "KORA_TRUST_503",
        kind: Kind::Switch,
        default: Some("false"),
        help: "Take Kora's 503 SERVICE_UNAVAILABLE to a POST for \"not done\"",
    },
    Setting {
        name: "require-request-id",
        env: "GATEWAY_REQUIRE_REQUEST_ID",
        kind: Kind::Switch,
        default: Some("false"),
        help: "Refuse Screen and CreateSubject without a request_id",
    },
    Setting {
        name: "kora-max-response-bytes",
        env: "KORA_MAX_RESPONSE_BYTES",
        kind: Kind::Value("BYTES"),
        default: Some("4MiB"),
        help: "How large an answer of Kora's may be",
    },
    Setting {
        name: "event-log",
        env: "GATEWAY_EVENT_LOG",
        kind: Kind::Value("PLACE"),
        default: Some("file:./kora-gateway-data"),
        help: "Where events are kept: file:DIR, or nats://HOST:PORT,… (tls://HOST:PORT,…) for several gateways",
    },
    Setting {
        name: "nats-credentials-file",
        env: "GATEWAY_NATS_CREDENTIALS_FILE",
        kind: Kind::Value("PATH"),
        default: None,
        help: "The credentials file for NATS, where it wants one",
    },
    Setting {
        name: "nats-ca-file",
        env: "GATEWAY_NATS_CA_FILE",
        kind: Kind::Value("PATH"),
        default: None,
        help: "PEM certificates to trust for NATS besides the system's",
    },
    Setting {
        name: "nats-stream-prefix",
        env: "GATEWAY_NATS_STREAM_PREFIX",
        kind: Kind::Value("TEXT"),
        default: Some("kora-gateway"),
        help: "What the names of the streams and subjects on NATS begin with",
    },
    Setting {
        name: "nats-replicas",
        env: "GATEWAY_NATS_REPLICAS",
        kind: Kind::Value("N"),
        default: Some("1"),
        help: "How many servers of a NATS cluster keep each message",
    },
    Setting {
        name: "retention-age",
        env: "GATEWAY_RETENTION_AGE",
        kind: Kind::Value("DURATION"),
        default: Some("30d"),
        help: "How long events are kept",
    },
    Setting {
        name: "retention-size",
        env: "GATEWAY_RETENTION_SIZE",
        kind: Kind::Value("BYTES"),
        default: Some("10GiB"),
        help: "How many bytes of events are kept",
    },
    Setting {
        name: "request-retention",
        env: "GATEWAY_REQUEST_RETENTION",
        kind: Kind::Value("DURATION"),
        default: Some("7d"),
        help: "How long the records of requests with a request_id are kept after the request ended; at least 1h",
    },
    Setting {
        name: "request-size",
        env: "GATEWAY_REQUEST_SIZE",
        kind: Kind::Value("BYTES"),
        default: Some("2GiB"),
        help: "How many bytes of request records a tenant keeps; beyond that the oldest answers are evicted; at least 1MiB",
    },
    Setting {
        name: "dedup-window",
        env: "GATEWAY_DEDUP_WINDOW",
        kind: Kind::Value("DURATION"),
        default: Some("1h"),
        help: "How long an event without an id of Kora's is known again",
    },
    Setting {
        name: "clock-step-hold",
        env: "GATEWAY_CLOCK_STEP_HOLD",
        kind: Kind::Value("DURATION"),
        default: Some("1h"),
        help: "For how long a step of the wall clock by 5 minutes or more has to stand before it is followed",
    },
    Setting {
        name: "webhook-max-bytes",
        env: "GATEWAY_WEBHOOK_MAX_BYTES",
        kind: Kind::Value("BYTES"),
        default: Some("4MiB"),
        help: "How large a webhook may be",
    },
    Setting {
        name: "webhook-idle-timeout",
        env: "GATEWAY_WEBHOOK_IDLE_TIMEOUT",
        kind: Kind::Value("DURATION"),
        default: Some("75s"),
        help: "When an idle connection to the webhook port is closed; must be above the keep-alive of what stands before it",
    },
    Setting {
        name: "max-calls",
        env: "GATEWAY_MAX_CALLS",
        kind: Kind::Value("N"),
        default: Some("1024"),
        help: "Calls in flight at a time, those whose callers have gone included; more are refused",
    },
    Setting {
        name: "max-watch-streams",
        env: "GATEWAY_MAX_WATCH_STREAMS",
        kind: Kind::Value("N"),
        default: Some("20000"),
        help: "How many streams of events may be open",
    },
    Setting {
        name: "max-request-bytes",
        env: "GATEWAY_MAX_REQUEST_BYTES",
        kind: Kind::Value("BYTES"),
        default: Some("1MiB"),
        help: "How large a caller's message may be",
    },
    Setting {
        name: "memory-budget",
        env: "GATEWAY_MEMORY_BUDGET",
        kind: Kind::Value("BYTES"),
        default: Some("256MiB"),
        help: "How much memory large webhooks, events and messages may take together; at least 32MiB and 8 times webhook-max-bytes and max-request-bytes",
    },
    Setting {
        name: "max-connections",
        env: "GATEWAY_MAX_CONNECTIONS",
        kind: Kind::Value("N"),
        default: Some("4096"),
        help: "How many connections callers may have open",
    },
    Setting {
        name: "max-streams-per-connection",
        env: "GATEWAY_MAX_STREAMS_PER_CONNECTION",
        kind: Kind::Value("N"),
        default: Some("1024"),
        help: "How many calls at a time one connection may carry",
    },
    Setting {
        name: "tls-cert",
        env: "GATEWAY_TLS_CERT",
        kind: Kind::Value("PATH"),
        default: None,
        help: "The callers' port speaks TLS with this certificate chain (PEM; read again when it changes)",
    },
    Setting {
        name: "tls-key",
        env: "GATEWAY_TLS_KEY",
        kind: Kind::Value("PATH"),
        default: None,
        help: "Its key (PEM; read again when it changes)",
    },
    Setting {
        name: "tls-client-ca",
        env: "GATEWAY_TLS_CLIENT_CA",
        kind: Kind::Value("PATH"),
        default: None,
        help: "Callers' certificates are verified by these authorities; without [[callers]] nobody else is let in (PEM; read again when it changes)",
    },
    Setting {
        name: "webhook-tls-cert",
        env: "GATEWAY_WEBHOOK_TLS_CERT",
        kind: Kind::Value("PATH"),
        default: None,
        help: "The webhook port speaks TLS with this certificate chain (PEM; read again when it changes)",
    },
    Setting {
        name: "webhook-tls-key",
        env: "GATEWAY_WEBHOOK_TLS_KEY",
        kind: Kind::Value("PATH"),
        default: None,
        help: "Its key (PEM; read again when it changes)",
    },
    Setting {
        name: "drain-timeout",
        env: "GATEWAY_DRAIN_TIMEOUT",
        kind: Kind::Value("DURATION"),
        default: Some("55s"),
        help: "The bound on a stop",
    },
    Setting {
        name: "allow-unauthenticated",
        env: "GATEWAY_ALLOW_UNAUTHENTICATED",
        kind: Kind::Switch,
        default: Some("false"),
        help: "Serve callers without authentication on an address that is not loopback",
    },
    Setting {
        name: "reflection",
        env: "GATEWAY_REFLECTION",
        kind: Kind::Switch,
        default: Some("true"),
        help: "Serve the API's descriptors to anybody who reaches the callers' port (gRPC reflection)",
    },
    Setting {
        name: "emulator-addr",
        env: "GATEWAY_EMULATOR_ADDR",
        kind: Kind::Value("ADDR"),
        default: Some("127.0.0.1:4010"),
        help: "Where the emulator listens, where one runs",
    },
];

impl Setting {
    /// The setting with this name.
    ///
    /// # Panics
    /// If there is none: names are written in the code alone.
    pub fn named(name: &str) -> &'static Setting {
        SETTINGS
            .iter()
            .find(|setting| setting.name == name)
            .expect("settings are asked for by a name of the table")
    }

    /// The key in the file.
    pub fn key(&self) -> String {
        self.name.replace('-', "_")
    }

    /// The variable that names the file of a secret.
    pub fn file_env(&self) -> String {
        format!("{}_FILE", self.env)
    }

    /// The ways to set it, for people.
    pub fn ways(&self) -> String {
        match self.kind {
            Kind::Secret => format!("{} or {}", self.env, self.file_env()),
            _ => format!(
                "--{}, {} or `{}` in the file",
                self.name,
                self.env,
                self.key()
            ),
        }
    }
}
