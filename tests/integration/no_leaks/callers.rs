//! Callers and tenants by a file: what callers show of themselves, and a file that goes bad while the gateway runs.

use std::fs;

use kora_gateway::{access::TokenHash, pb};
use tonic::{Code, Request};

use super::{
    launch::Launch,
    marked::{self, KEY, NAME, TOKEN, WEBHOOK_SECRET},
    outputs::Outputs,
    process::Running,
};
use crate::{
    call::{Call, Rpc},
    deliveries::{Webhooks, signature_by},
    scripted_kora::{Act, ScriptedKora},
    subscriber::{EventStream, Subscriber},
};

/// The tenants of these gateways.
const TENANTS: [&str; 2] = ["acme-uk", "acme-de"];

/// Of a caller that may do everything for both.
pub const OTHER_TOKEN: &str = "MARKER-OTHER-TOKEN";

/// A caller of the file.
fn caller(name: &str, token: &str, tenants: &str, rights: &str) -> String {
    let hash = TokenHash::of(token.as_bytes());
    format!(
        "[[callers]]\nname = \"{name}\"\ntoken_sha256 = [\"{hash}\"]\ntenants = [{tenants}]\nrights = [{rights}]\n"
    )
}

fn callers() -> String {
    let all = r#""screen", "subjects", "watch", "raw_json""#;
    caller("onboarding", TOKEN, r#""acme-uk""#, all)
        + &caller(
            "reports",
            OTHER_TOKEN,
            r#""acme-uk", "acme-de""#,
            r#""screen""#,
        )
}

/// The tenants of a file, whose keys and secrets are in files of their own.
pub fn tenants(launch: &Launch, base_url: &str) -> String {
    let key = launch.file("key", KEY);
    let describe = |(number, name): (usize, &str)| {
        let secret = launch.file(
            &format!("secret-{name}"),
            &format!("{WEBHOOK_SECRET}-{name}"),
        );
        format!(
            "[[tenants]]\nname = \"{name}\"\nkora_tenant_id = \"tenant-{number}\"\napi_key_file = \"{key}\"\n\
             webhook_secret_file = \"{secret}\"\nbase_url = \"{base_url}\"\n"
        )
    };
    TENANTS.into_iter().enumerate().map(describe).collect()
}

/// A gateway of both tenants and these callers.
pub async fn start(base_url: &str) -> Running {
    let launch = Launch::bare();
    let text = tenants(&launch, base_url) + &callers();
    let file = launch.file("gateway.toml", &text);
    launch
        .flag("config", &file)
        .flag("kora-timeout", "300ms")
        .start()
        .await
}

pub fn bearer(call: Call, token: &str) -> Call {
    call.header("authorization", &format!("Bearer {token}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_callers_show_of_themselves_is_not_repeated() {
    let kora = ScriptedKora::start(Act::json(422, &marked::complaint())).await;
    let gateway = start(&kora.base_url()).await;
    let mut outputs = Outputs::default();
    let denied = (Code::PermissionDenied, "PERMISSION_MISSING");
    let unknown = (Code::Unauthenticated, "UNAUTHENTICATED");
    let refused = (Code::InvalidArgument, "KORA_VALIDATION");
    let screen = || marked::call(Rpc::Screen);
    let create = || marked::call(Rpc::CreateSubject);
    let raw = Call::new(
        Rpc::GetScreening,
        &pb::GetScreeningRequest {
            screening_id: NAME.to_owned(),
            include_raw_json: true,
        },
    );
    let calls = [
        (bearer(screen(), TOKEN), refused),
        (
            bearer(screen(), OTHER_TOKEN).header("x-kora-tenant", "acme-de"),
            refused,
        ),
        (
            bearer(screen(), OTHER_TOKEN),
            (Code::InvalidArgument, "INVALID_REQUEST"),
        ),
        (
            bearer(screen(), OTHER_TOKEN).header("x-kora-tenant", NAME),
            denied,
        ),
        (
            bearer(screen(), TOKEN).header("x-kora-tenant", "acme-de"),
            denied,
        ),
        (
            bearer(create(), OTHER_TOKEN).header("x-kora-tenant", "acme-de"),
            denied,
        ),
        (
            bearer(raw, OTHER_TOKEN).header("x-kora-tenant", "acme-de"),
            denied,
        ),
        (bearer(screen(), "MARKER-WRONG"), unknown),
        (
            bearer(screen(), &TokenHash::of(TOKEN.as_bytes()).to_string()),
            unknown,
        ),
        (screen().header("authorization", "Basic MARKER"), unknown),
        (screen().header("authorization", "MARKER"), unknown),
        (
            screen().header("authorization", &format!("Bearer {TOKEN} {TOKEN}")),
            unknown,
        ),
        (screen().header("authorization", ""), unknown),
        (
            bearer(Call::raw("/MARKER/MARKER".to_owned(), b""), TOKEN),
            (Code::Unimplemented, "UNKNOWN_METHOD"),
        ),
    ];
    let count = calls.len();
    for (number, (call, expected)) in calls.into_iter().enumerate() {
        let answer = call.send(gateway.grpc()).await;
        assert_eq!(
            (answer.status.code(), &*answer.reason()),
            expected,
            "call {number}"
        );
        outputs.add_answer("a failure", &answer);
    }
    // Signed by the other tenant.
    let body = marked::complaint().to_string();
    let signature = signature_by(&format!("{WEBHOOK_SECRET}-acme-de"), body.as_bytes());
    let door = Webhooks::on(gateway.webhook(), "/webhooks/compliance/acme-uk");
    let answer = door.offer_signed(body.as_bytes(), signature).await;
    assert_eq!(answer.status(), 401);
    let log = gateway.end(&mut outputs).await;
    assert_eq!(log.matches("call failed").count(), count);
    let hash = TokenHash::of(TOKEN.as_bytes()).to_string();
    assert!(!log.contains(&hash), "a hash is in the log");
    outputs.look();
}

/// Each is the whole file, or what stands in the place of the callers.
fn broken_files() -> Vec<String> {
    vec![
        "MARKER is no TOML\n".to_owned(),
        callers() + "token_sha256 = \"MARKER\n",
        callers() + "MARKER = [\"MARKER\", MARKER]\n",
        callers().replace("[\"acme-uk\"]", "[\"MARKER\"]"),
        callers().replace("\"screen\"]", "\"MARKER\"]"),
        callers().replace("name = \"onboarding\"", "name = \"MARKER of a name\""),
        callers().replace("[[callers]]", "[callers]"),
        // A token in place of its hash, which is the mistake to expect.
        format!(
            "[[callers]]\nname = \"a\"\ntoken_sha256 = [\"{TOKEN}\"]\ntenants = [\"acme-uk\"]\nrights = [\"screen\"]\n"
        ),
        format!(
            "[[callers]]\nname = \"a\"\nsan = [\"{NAME}\"]\ntenants = [\"acme-uk\"]\nrights = [\"screen\"]\n"
        ),
        format!("[[callers]]\nname = \"a\"\ntoken_sha256 = \"{TOKEN}\"\n"),
        "callers = \"MARKER\"\n".to_owned(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_goes_bad_is_told_of_by_its_place_alone() {
    let mut all = Vec::new();
    for broken in broken_files() {
        all.push(tokio::spawn(async move {
            let mut gateway = start("http://127.0.0.1:9/api/v1").await;
            let mut outputs = Outputs::default();
            fs::write(gateway.files.path().join("gateway.toml"), &broken).unwrap();
            gateway.wait_for_log("the callers stay as they were").await;
            // Who was let in is let in.
            let answer = bearer(marked::call(Rpc::Screen), TOKEN)
                .send(gateway.grpc())
                .await;
            assert_eq!(answer.reason(), "KORA_UNREACHABLE", "{broken}");
            gateway.end(&mut outputs).await;
            outputs
        }));
    }
    for one in all {
        one.await.unwrap().look();
    }
}

/// A stream whose caller is taken out while it is open.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_is_taken_out_is_told_nothing_of_itself() {
    let mut gateway = start("http://127.0.0.1:9/api/v1").await;
    let mut outputs = Outputs::default();
    let mut stream = watch(&gateway, TOKEN).await;
    stream.message().await;
    let path = gateway.files.path().join("gateway.toml");
    let text = fs::read_to_string(&path).unwrap();
    let text = text.replace(
        &callers(),
        &caller("reports", OTHER_TOKEN, r#""acme-de""#, r#""screen""#),
    );
    fs::write(&path, text).unwrap();
    gateway.wait_for_log("the callers were read count=1").await;
    let status = loop {
        if let Err(status) = stream.next().await {
            break status;
        }
    };
    assert_eq!(status.code(), Code::Unauthenticated);
    outputs.add_status("a stream", &status);
    let log = gateway.end(&mut outputs).await;
    assert!(log.contains("UNAUTHENTICATED"));
    outputs.look();
}

/// A stream with the most frequent heartbeats.
pub async fn watch(gateway: &Running, token: &str) -> EventStream {
    let mut request = Request::new(pb::WatchEventsRequest {
        heartbeat_interval: Some(prost_types::Duration {
            seconds: 5,
            nanos: 0,
        }),
        ..Default::default()
    });
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    let subscriber = Subscriber::connect(gateway.grpc()).await;
    subscriber.watch_with(request).await.unwrap()
}
