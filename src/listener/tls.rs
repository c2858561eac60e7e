//! Certificates, keys and the authorities of clients, read again whenever their files change.

use std::{path::PathBuf, sync::Arc, time::Duration};

use thiserror::Error;
use tokio::{
    sync::{Notify, watch},
    task::spawn_blocking,
    time,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        server::{NoServerSessionStorage, WebPkiClientVerifier},
    },
};
use xxhash_rust::xxh3::xxh3_128;

use super::pem::{Unusable, authorities, certificates, private_key, read};

/// How often the files are looked at. Orchestrators replace them by links, which tell nobody.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The files of a port, all in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The port's certificate and those between it and its authority.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities that sign the certificates of clients.
    pub client_ca: Option<PathBuf>,
    /// Whether clients have to show a certificate where there are authorities. One that is wrong is refused in any case.
    pub is_certificate_required: bool,
}

/// TLS 1.2 and 1.3 on a port. Clones share what was read last.
#[derive(Clone, Debug)]
pub struct Tls {
    files: TlsFiles,
    alpn: &'static [u8],
    /// What new connections get.
    current: watch::Sender<Arc<ServerConfig>>,
    asked: Arc<Notify>,
}

/// One of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFile {
    /// The certificates.
    Cert,
    /// The key.
    Key,
    /// The authorities of clients.
    ClientCa,
}

/// Why the files cannot be used. It does not name the file by its path, which can be the key itself, given by mistake.
#[derive(Debug, Error)]
#[error("{what}")]
pub struct TlsError {
    /// Which one.
    pub file: TlsFile,
    what: Unusable,
}

/// The files' contents.
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the files, for a port that speaks `alpn` alone.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub fn load(files: TlsFiles, alpn: &'static [u8]) -> Result<Self, TlsError> {
        let config = Contents::read(&files)?.server_config(&files, alpn)?;
        Ok(Tls {
            current: watch::Sender::new(Arc::new(config)),
            files,
            alpn,
            asked: Arc::default(),
        })
    }

    /// Has the files looked at now.
    pub fn look_again(&self) {
        self.asked.notify_one();
    }

    /// Accepts one connection with what was read last.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.borrow()))
    }

    /// Reads the files again whenever they change. What cannot be used leaves things as they are; connections that are
    /// open are left alone.
    pub(super) async fn follow(self, listener: &'static str) {
        let mut last = None;
        loop {
            let files = self.files.clone();
            // Only a panic, which is reported, or the end of the runtime stop it.
            let Ok(contents) = spawn_blocking(move || Contents::read(&files)).await else {
                return;
            };
            let seen = contents.as_ref().map(Contents::hash).ok();
            if last.is_none_or(|last| last != seen) {
                match contents.and_then(|all| all.server_config(&self.files, self.alpn)) {
                    Ok(config) => {
                        self.current.send_replace(Arc::new(config));
                        if last.is_some() {
                            tracing::info!(listener, "the certificates were read again");
                        }
                    }
                    Err(error) => {
                        let file = error.file.name();
                        tracing::error!(listener, file, %error, "the certificates stay as they were");
                    }
                }
                last = Some(seen);
            }
            let _ = time::timeout(LOOK_AGAIN, self.asked.notified()).await;
        }
    }
}

impl TlsFile {
    fn name(self) -> &'static str {
        match self {
            TlsFile::Cert => "cert",
            TlsFile::Key => "key",
            TlsFile::ClientCa => "client_ca",
        }
    }

    /// What was got from this file.
    fn of<T>(self, got: Result<T, Unusable>) -> Result<T, TlsError> {
        got.map_err(|what| TlsError { file: self, what })
    }
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Contents {
            cert: TlsFile::Cert.of(read(&files.cert))?,
            key: TlsFile::Key.of(read(&files.key))?,
            client_ca: match &files.client_ca {
                Some(path) => Some(TlsFile::ClientCa.of(read(path))?),
                None => None,
            },
        })
    }

    fn hash(&self) -> [u128; 3] {
        let client_ca = self.client_ca.as_deref().unwrap_or_default();
        [&self.cert, &self.key, client_ca].map(xxh3_128)
    }

    /// What they come to together.
    fn server_config(&self, files: &TlsFiles, alpn: &[u8]) -> Result<ServerConfig, TlsError> {
        let chain = TlsFile::Cert.of(certificates(&self.cert))?;
        let key = TlsFile::Key.of(private_key(&self.key))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider has ciphers for both versions");
        let builder = match self.client_ca.as_deref() {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let roots = Arc::new(TlsFile::ClientCa.of(authorities(pem))?);
                let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                if !files.is_certificate_required {
                    verifier = verifier.allow_unauthenticated();
                }
                let built = verifier.build().map_err(Unusable::because);
                builder.with_client_cert_verifier(TlsFile::ClientCa.of(built)?)
            }
        };
        let built = builder.with_single_cert(chain, key);
        let mut config = TlsFile::Key.of(built.map_err(Unusable::because))?;
        config.alpn_protocols = vec![alpn.to_vec()];
        if files.client_ca.is_some() {
            // A session that is resumed is not asked for its certificate again: it could have expired since.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(config)
    }
}
