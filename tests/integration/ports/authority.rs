//! An authority of certificates, and who trusts it.

use std::{net::SocketAddr, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub pem: String,
}

/// A certificate for 127.0.0.1 and its key, in PEM.
pub struct Identity {
    pub cert: String,
    pub key: String,
    pub der: CertificateDer<'static>,
}

impl Authority {
    pub fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A new one.
    pub fn identity(&self) -> Identity {
        self.identity_with(Vec::new())
    }

    /// A new one with these names besides.
    pub fn identity_with(&self, names: Vec<SanType>) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.subject_alt_names.extend(names);
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            cert: cert.pem(),
            key: key.serialize_pem(),
            der: cert.der().clone(),
        }
    }

    /// Who trusts it alone, and speaks HTTP/2.
    pub fn connector(&self, client: Option<&Identity>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap();
        roots.add(root).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots);
        let mut config = match client {
            None => config.with_no_client_auth(),
            Some(Identity { key, der, .. }) => {
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config
                    .with_client_auth_cert(vec![der.clone()], key)
                    .unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        TlsConnector::from(Arc::new(config))
    }

    /// What a server shows to a new client.
    pub async fn certificate_of(&self, server: SocketAddr) -> CertificateDer<'static> {
        let socket = TcpStream::connect(server).await.unwrap();
        let socket = self
            .connector(None)
            .connect(server.ip().into(), socket)
            .await
            .unwrap();
        let (_, session) = socket.get_ref();
        assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
        session.peer_certificates().unwrap()[0].clone().into_owned()
    }
}
