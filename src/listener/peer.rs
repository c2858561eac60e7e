//! Who is at the other end of a connection, as far as TLS has proved it.

use std::{fmt, sync::Arc};

use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

/// The names in the certificate of a connection's client: its subject alternative names that are URIs, then those that
/// are DNS names, as they stand there. None without TLS, or where the port asks for no certificate.
///
/// Every request carries them in its extensions. An authority of the port's has signed for them
/// ([`TlsFiles::client_ca`](super::TlsFiles)); rustls bounds the certificates of a handshake to 64 KiB together.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PeerNames(pub Arc<[String]>);

impl PeerNames {
    /// Those of the client whose certificate comes first in this chain, which was verified.
    pub(super) fn of(chain: Option<&[CertificateDer<'_>]>) -> Self {
        let Some(certificate) = chain.and_then(<[_]>::first) else {
            return PeerNames::default();
        };
        // What cannot be read was not let in, and would have no name.
        let Ok(certificate) = EndEntityCert::try_from(certificate) else {
            return PeerNames::default();
        };
        // A URI has a scheme (RFC 3986). Without one it would be taken for a DNS name, which authorities sign for by other
        // rules.
        let names = certificate.valid_uri_names();
        let names = names.filter(|uri| uri.contains(':'));
        let names = names.chain(certificate.valid_dns_names());
        PeerNames(names.map(str::to_owned).collect())
    }
}

impl fmt::Debug for PeerNames {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PeerNames({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_not_printed() {
        let names = PeerNames(Arc::new(["MARKER".to_owned()]));
        assert_eq!(format!("{names:?}"), "PeerNames(1)");
    }
}
