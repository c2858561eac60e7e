//! A server that lets in only who has credentials, over TLS alone.

use std::{fs, path::PathBuf, time::SystemTime};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use kora_gateway::store::{EventLog, jetstream::OpenError};
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::outages::{LOOK_AGAIN, PATIENCE, until_writable};
use crate::{
    log_laws::{NatsPlace, Place, all_after, append, by_id, named},
    nats_server::{NatsServer, ROOM_BYTES},
};

/// The server's keys, and the place of a log on it with all that it takes to be let in.
struct Secured {
    files: TempDir,
    account: KeyPair,
    place: NatsPlace,
}

impl Secured {
    fn start() -> Secured {
        let files = tempfile::tempdir().unwrap();
        let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let path = |name: &str| files.path().join(name);
        fs::write(path("ca.pem"), certified.cert.pem()).unwrap();
        fs::write(path("key.pem"), certified.signing_key.serialize_pem()).unwrap();
        let unlimited = json!({
            "type": "account", "version": 2, "limits": {
                "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
                "conn": -1, "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
            },
        });
        // JetStream wants an account for itself.
        let system = KeyPair::new_account();
        let itself = json!({
            "type": "operator", "version": 2, "system_account": system.public_key(),
        });
        let settings = json!({
            "operator": token(&operator, &operator, itself),
            "resolver": "MEMORY",
            "resolver_preload": {
                account.public_key(): token(&operator, &account, unlimited),
                system.public_key(): token(&operator, &system, json!({"type": "account", "version": 2})),
            },
            "jetstream": {"max_file": ROOM_BYTES},
            "tls": {"cert_file": path("ca.pem"), "key_file": path("key.pem")},
        });
        fs::write(path("server.conf"), settings.to_string()).unwrap();
        let settings = path("server.conf");
        let server = NatsServer::start_with(&["-c", settings.to_str().unwrap()]);
        let mut place = NatsPlace::on(server);
        place.config.servers[0] = place.config.servers[0].replace("nats:", "tls:");
        place.config.ca_file = Some(path("ca.pem"));
        let mut secured = Secured {
            files,
            account,
            place,
        };
        let credentials = secured.credentials(&secured.account);
        secured.place.config.credentials_file = Some(credentials);
        secured
    }

    /// A file with credentials of a new user that this account lets in.
    fn credentials(&self, account: &KeyPair) -> PathBuf {
        let user = KeyPair::new_user();
        let claims = json!({
            "type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1,
        });
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            token(account, &user, claims),
            user.seed().unwrap(),
        );
        let path = self.files.path().join(user.public_key());
        fs::write(&path, text).unwrap();
        path
    }
}

/// What the issuer says of somebody.
fn token(issuer: &KeyPair, subject: &KeyPair, claims: Value) -> String {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let said = format!(
        "{}.{}",
        part(json!({"typ": "JWT", "alg": "ed25519-nkey"})),
        part(json!({
            "jti": subject.public_key(), "iat": now, "iss": issuer.public_key(),
            "name": "test", "sub": subject.public_key(), "nats": claims,
        })),
    );
    let signature = issuer.sign(said.as_bytes()).unwrap();
    format!("{said}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_credentials_and_trusts_the_server_is_let_in_again_after_an_outage() {
    let mut secured = Secured::start();
    let log = secured.place.open().await;
    append(&log, "a").await;
    secured.place.server.kill();
    until_writable(&log, false).await;
    secured.place.server.resume();
    let again = async {
        while log.append(by_id("b")).await.is_err() {
            sleep(LOOK_AGAIN).await;
        }
    };
    timeout(PATIENCE, again).await.unwrap();
    assert_eq!(all_after(&log, 0).await, named(&[(1, "a"), (2, "b")]));
}

#[tokio::test]
async fn nobody_else_gets_in_and_nothing_is_said_to_a_server_that_is_not_trusted() {
    let mut secured = Secured::start();
    let good = secured.place.config.clone();
    let strange = KeyPair::new_account();
    for config in [
        kora_gateway::store::jetstream::Config {
            credentials_file: None,
            ..good.clone()
        },
        kora_gateway::store::jetstream::Config {
            credentials_file: Some(secured.credentials(&strange)),
            ..good.clone()
        },
        kora_gateway::store::jetstream::Config {
            ca_file: None,
            ..good.clone()
        },
    ] {
        secured.place.config = config;
        let refused = secured.place.try_open().await;
        assert!(
            matches!(refused, Err(OpenError::Misconfigured(_))),
            "{refused:?}"
        );
    }
    secured.place.config = good.clone();
    secured.place.config.credentials_file = Some(secured.files.path().join("absent"));
    let refused = secured.place.try_open().await;
    assert!(
        matches!(refused, Err(OpenError::Misconfigured(_))),
        "{refused:?}"
    );
    secured.place.config = good;
    drop(secured.place.open().await);
}

#[tokio::test]
async fn a_server_without_tls_gets_no_credentials_where_tls_is_wanted() {
    let mut place = NatsPlace::new().await;
    place.config.servers[0] = place.config.servers[0].replace("nats:", "tls:");
    let refused = place.try_open().await;
    assert!(
        matches!(refused, Err(OpenError::Misconfigured(_))),
        "{refused:?}"
    );
}
