//! A gateway of many tenants and many callers, beside one of a single tenant that asks nobody who it is.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use kora_gateway::pb::{self, compliance_service_client::ComplianceServiceClient};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::runtime::Builder;
use tonic::{Request, metadata::MetadataMap, transport::Endpoint};

use crate::gateway::{Gateway, hex, new_directory};

/// How many there are.
pub const TENANTS: usize = 1_000;
pub const CALLERS: usize = 10_000;

/// How many of the callers come, and that they are not the first ones of the file.
const STEP: usize = 149;

/// How long the gateway has to read its file again.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// How long to leave the machine to the gateway before asking again.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// The files of such a gateway.
pub struct Multitude {
    directory: TempDir,
    tenants: String,
}

impl Multitude {
    /// Writes them; each tenant's Kora is this one.
    pub fn of(kora: SocketAddr) -> Self {
        let directory = new_directory();
        let path = |name: &str| directory.path().join(name);
        let mut text = format!(
            "kora_base_url = \"http://{kora}\"\nevent_log = \"file:{}\"\n",
            path("logs").display()
        );
        for number in 0..TENANTS {
            let [key, secret] = ["key", "secret"].map(|what| path(&format!("{number}.{what}")));
            fs::write(&key, format!("key-{number}")).unwrap();
            fs::write(&secret, format!("secret-{number}")).unwrap();
            write!(
                text,
                "[[tenants]]\nname = \"t{number}\"\nkora_tenant_id = \"id-{number}\"\n\
                 api_key_file = {key:?}\nwebhook_secret_file = {secret:?}\n"
            )
            .unwrap();
        }
        let multitude = Multitude {
            directory,
            tenants: text,
        };
        multitude.list(CALLERS);
        multitude
    }

    pub fn config(&self) -> PathBuf {
        self.directory.path().join("gateway.toml")
    }

    /// Lists so many callers. The file is replaced as orchestrators do.
    fn list(&self, callers: usize) {
        let mut text = self.tenants.clone();
        for number in 0..callers {
            let hash = hex(&Sha256::digest(token(number)));
            write!(
                text,
                "[[callers]]\nname = \"c{number}\"\ntoken_sha256 = [\"{hash}\"]\n\
                 tenants = [{:?}, {:?}]\nrights = [\"screen\"]\n",
                tenant(number),
                tenant(number + 1),
            )
            .unwrap();
        }
        let new = self.directory.path().join("gateway.toml.new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.config()).unwrap();
    }

    /// Lists one more, and waits until that one is let in.
    pub fn reload(&self, gateway: &Gateway) -> Duration {
        let began = Instant::now();
        self.list(CALLERS + 1);
        while !is_let_in(gateway.grpc, CALLERS) {
            assert!(
                began.elapsed() < RELOAD_TIMEOUT,
                "the file is not read again"
            );
            thread::sleep(ASK_AGAIN);
        }
        began.elapsed()
    }
}

/// What one of those who come at a time sends with each call.
pub fn metadata_of(number: usize) -> MetadataMap {
    metadata(number * STEP % CALLERS)
}

fn metadata(caller: usize) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    let bearer = format!("Bearer {}", token(caller));
    metadata.insert("authorization", bearer.parse().unwrap());
    metadata.insert("x-kora-tenant", tenant(caller).parse().unwrap());
    metadata
}

/// As long as those that `token new` makes.
fn token(caller: usize) -> String {
    format!("kgw_{caller:0>43}")
}

fn tenant(caller: usize) -> String {
    format!("t{}", caller % TENANTS)
}

fn is_let_in(gateway: SocketAddr, caller: usize) -> bool {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://{gateway}")).unwrap();
        let mut client = ComplianceServiceClient::new(endpoint.connect().await.unwrap());
        let mut request = Request::new(pb::GetRequestRequest {
            request_id: "6f9619ff-8b86-4011-b42d-00c04fc964ff".to_owned(),
        });
        *request.metadata_mut() = metadata(caller);
        let answer = client.get_request(request).await.unwrap_err();
        answer.code() == tonic::Code::NotFound
    })
}
