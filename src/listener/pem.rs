//! PEM files: certificates, keys and authorities.

use std::{fs::File, io::Read, path::Path};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use thiserror::Error;
use tokio_rustls::rustls::RootCertStore;

/// How large a file may be.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Why a file cannot be used. It does not name the file, whose name can be the key itself, given by mistake.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Unusable(String);

impl Unusable {
    pub(super) fn because(what: impl ToString) -> Self {
        Unusable(what.to_string())
    }
}

/// What a file holds, which is 1 MiB at most. Blocks.
///
/// # Errors
/// If it cannot be read, or is larger.
pub fn read(path: &Path) -> Result<Vec<u8>, Unusable> {
    let mut contents = Vec::new();
    // A pipe or a device does not say how long it is.
    let opened = File::open(path).map(|file| file.take(MAX_FILE_BYTES + 1));
    let read = opened.and_then(|mut file| file.read_to_end(&mut contents));
    if read.map_err(Unusable::because)? as u64 > MAX_FILE_BYTES {
        return Err(Unusable::because("it is larger than 1 MiB"));
    }
    Ok(contents)
}

/// The certificates in a file, in their order.
///
/// # Errors
/// If there is none.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(Unusable::because("there is no certificate in it")),
    }
}

/// The key in a file.
///
/// # Errors
/// If there is none.
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Unusable> {
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|_| Unusable::because("there is no private key in it"))
}

/// The certificates in a file, as authorities.
///
/// # Errors
/// If there is none, or one cannot be an authority.
pub fn authorities(pem: &[u8]) -> Result<RootCertStore, Unusable> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(Unusable::because)?;
    }
    Ok(roots)
}
