//! PEM files: certificates, keys and authorities.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use thiserror::Error;
use tokio_rustls::rustls::RootCertStore;

/// How large a file may be.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Why a file cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{file}: {error}", file = .0.display(), error = .1)]
    Unreadable(PathBuf, io::Error),
    /// A file does not have what it should.
    #[error("{file}: {what}", file = .0.display(), what = .1)]
    Unusable(PathBuf, String),
}

impl TlsError {
    /// The file.
    pub fn file(&self) -> &Path {
        let (TlsError::Unreadable(file, _) | TlsError::Unusable(file, _)) = self;
        file
    }

    pub(super) fn unusable(path: &Path, what: &str) -> Self {
        TlsError::Unusable(path.to_owned(), what.to_owned())
    }
}

/// What a file holds, which is 1 MiB at most. Blocks.
///
/// # Errors
/// If it cannot be read, or is larger.
pub fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let explain = |error| TlsError::Unreadable(path.to_owned(), error);
    let mut contents = Vec::new();
    // A pipe or a device does not say how long it is.
    let opened = File::open(path).map(|file| file.take(MAX_FILE_BYTES + 1));
    let read = opened.and_then(|mut file| file.read_to_end(&mut contents));
    if read.map_err(explain)? as u64 > MAX_FILE_BYTES {
        return Err(TlsError::unusable(path, "it is larger than 1 MiB"));
    }
    Ok(contents)
}

/// The certificates that were read from the file `path`, in their order.
///
/// # Errors
/// If there is none.
pub fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(TlsError::unusable(path, "there is no certificate in it")),
    }
}

/// The key that was read from the file `path`.
///
/// # Errors
/// If there is none.
pub fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|_| TlsError::unusable(path, "there is no private key in it"))
}

/// The certificates that were read from the file `path`, as authorities.
///
/// # Errors
/// If there is none, or one cannot be an authority.
pub fn authorities(path: &Path, pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, pem)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::unusable(path, &error.to_string()))?;
    }
    Ok(roots)
}
