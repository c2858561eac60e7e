//! The way into a gateway: where it is, and what is shown there.

use std::{path::Path, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use tokio_rustls::rustls;
use tonic::{
    Request,
    metadata::AsciiMetadataValue,
    transport::{ClientTlsConfig, Endpoint, Identity},
};

use super::{
    cause::{cause, innermost},
    gateway_args::{BadFlag, GatewayArgs},
};
use crate::{listener::pem, secret};

/// How long connecting to the gateway may take, and then the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a token may be: it travels in a header, of which the gateway takes 16 KiB in all.
const MAX_TOKEN_BYTES: usize = 4096;

/// The metadata that names a tenant.
pub(super) const TENANT: &str = "x-kora-tenant";

/// The way in, as the flags and their files said when they were read.
#[derive(Debug)]
pub(super) struct WayIn {
    endpoint: Endpoint,
    /// Visible ASCII alone.
    token: Option<SecretString>,
    tenant: Option<AsciiMetadataValue>,
    /// The certificate that is shown (PEM).
    certificate: Option<Vec<u8>>,
}

impl WayIn {
    /// Reads the files. Blocks.
    ///
    /// # Errors
    /// Which flag is of no use, and why.
    pub(super) fn read(args: &GatewayArgs) -> Result<Self, BadFlag> {
        let url = args.url()?;
        let token = args.token_file.as_deref().map(token).transpose()?;
        let tenant = args.tenant.as_deref().map(AsciiMetadataValue::try_from);
        let tenant = tenant.transpose().map_err(|_| BadFlag::Tenant)?;
        // As it was read here, so that nobody else reads another host in it.
        let endpoint = Endpoint::from_shared(String::from(url.clone()));
        let endpoint = endpoint
            .map_err(|_| BadFlag::NoUrl)?
            .connect_timeout(CONNECT_TIMEOUT);
        let (endpoint, certificate) = match url.scheme() {
            "https" => with_tls(endpoint, args)?,
            _ => (endpoint, None),
        };
        Ok(WayIn {
            endpoint,
            token,
            tenant,
            certificate,
        })
    }

    /// Where the gateway is, and whether by TLS.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// A request that shows who calls, and for whom.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        if let Some(token) = &self.token {
            let text = format!("Bearer {}", token.expose_secret());
            let mut value = AsciiMetadataValue::try_from(text).expect("a token is visible ASCII");
            value.set_sensitive(true);
            metadata.insert("authorization", value);
        }
        if let Some(tenant) = &self.tenant {
            metadata.insert(TENANT, tenant.clone());
        }
        request
    }

    /// Whether both show the same caller by the same means.
    pub(super) fn shows_the_same_as(&self, other: &WayIn) -> bool {
        let tokens = [self, other].map(|way| way.token.as_ref().map(SecretString::expose_secret));
        tokens[0] == tokens[1] && self.certificate == other.certificate
    }
}

/// TLS, and the certificate that is shown.
fn with_tls(
    endpoint: Endpoint,
    args: &GatewayArgs,
) -> Result<(Endpoint, Option<Vec<u8>>), BadFlag> {
    let mut tls = ClientTlsConfig::new().timeout(CONNECT_TIMEOUT);
    tls = match &args.ca_file {
        Some(file) => {
            let of = |error| BadFlag::File("--ca-file", error);
            let authorities = pem::read(file).and_then(|pem| pem::authorities(&pem));
            tls.trust_anchors(authorities.map_err(of)?.roots)
        }
        None => tls.with_native_roots(),
    };
    let mut certificate = None;
    if let Some((cert, key)) = args.cert_file.as_deref().zip(args.key_file.as_deref()) {
        let (cert, key) = pair_of(cert, key)?;
        tls = tls.identity(Identity::from_pem(&cert, key));
        certificate = Some(cert);
    }
    match endpoint.tls_config(tls) {
        Ok(endpoint) => Ok((endpoint, certificate)),
        Err(error) => Err(match cause::<rustls::Error>(&error) {
            Some(error) => BadFlag::Pair(error.clone()),
            None => BadFlag::NoTls(innermost(&error)),
        }),
    }
}

fn token(file: &Path) -> Result<SecretString, BadFlag> {
    let read = secret::read(file, check_token);
    read.map(|read| read.text).map_err(BadFlag::Token)
}

fn check_token(token: &SecretString) -> Result<(), &'static str> {
    let token = token.expose_secret().as_bytes();
    if token.contains(&b'\n') {
        return Err("has more than one line in its file");
    }
    if !token.iter().all(u8::is_ascii_graphic) {
        return Err("holds blanks, control characters or letters beyond ASCII");
    }
    match token.len() {
        ..=MAX_TOKEN_BYTES => Ok(()),
        _ => Err("is longer than 4096 characters"),
    }
}

/// A certificate and its key.
fn pair_of(cert: &Path, key: &Path) -> Result<(Vec<u8>, Vec<u8>), BadFlag> {
    let read_cert = pem::read(cert).and_then(|pem| pem::certificates(&pem).map(|_| pem));
    let read_key = pem::read(key).and_then(|pem| pem::private_key(&pem).map(|_| pem));
    Ok((
        read_cert.map_err(|error| BadFlag::File("--cert-file", error))?,
        read_key.map_err(|error| BadFlag::File("--key-file", error))?,
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const HERE: &str = "http://127.0.0.1:1";

    fn with_token(file: &Path) -> Result<WayIn, String> {
        let mut args = GatewayArgs::to(HERE.to_owned());
        args.token_file = Some(file.to_owned());
        args.tenant = Some("acme-uk".to_owned());
        WayIn::read(&args).map_err(|bad| bad.to_string())
    }

    #[test]
    fn a_token_is_sent_and_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let longest = "x".repeat(MAX_TOKEN_BYTES);
        for token in ["kgw_hidden", &longest] {
            fs::write(&file, format!(" {token}\n")).unwrap();
            let way_in = with_token(&file).unwrap();
            let request = way_in.request(());
            let metadata = request.metadata();
            let sent = metadata.get("authorization").unwrap();
            assert_eq!(sent.to_str().unwrap(), format!("Bearer {token}"));
            assert_eq!(metadata.get(TENANT).unwrap(), "acme-uk");
            let printed = format!("{way_in:?} {request:?}");
            assert!(!printed.contains(token), "{printed}");
        }
        let nobody = WayIn::read(&GatewayArgs::to(HERE.to_owned())).unwrap();
        assert!(nobody.request(()).metadata().is_empty());
    }

    #[test]
    fn what_is_no_token_is_refused_and_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        for (text, what) in [
            ("", "has an empty file"),
            (" \n", "has an empty file"),
            ("kgw_hidden\ntoken_sha256 = []", "has more than one line"),
            ("Bearer kgw_hidden", "holds blanks"),
            ("kgw_\u{7}hidden", "holds blanks, control characters"),
            ("kgw_hidden\u{e4}", "letters beyond ASCII"),
            (&"x".repeat(MAX_TOKEN_BYTES + 1), "is longer than 4096"),
            (&"x".repeat(100_000), "has a file of more than 64 KiB"),
        ] {
            fs::write(&file, text).unwrap();
            let problem = with_token(&file).unwrap_err();
            assert!(problem.starts_with("--token-file: the token "), "{problem}");
            assert!(problem.contains(what), "{problem}");
            assert!(!problem.contains("hidden"), "{problem}");
        }
        // It can be the token itself, given by mistake.
        let problem = with_token(Path::new("kgw_hidden")).unwrap_err();
        assert!(
            problem.starts_with("--token-file: the token cannot be read"),
            "{problem}"
        );
        assert!(!problem.contains("hidden"), "{problem}");
    }

    #[test]
    fn another_token_is_another_way_in() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let read = |token| {
            fs::write(&file, token).unwrap();
            with_token(&file).unwrap()
        };
        let (one, same, other) = (read("one"), read("one\n"), read("other"));
        assert!(one.shows_the_same_as(&same));
        assert!(!one.shows_the_same_as(&other));
    }

    #[test]
    fn a_tenant_is_what_metadata_can_hold() {
        let mut args = GatewayArgs::to(HERE.to_owned());
        args.tenant = Some("acme\nuk".to_owned());
        let bad = WayIn::read(&args).unwrap_err().to_string();
        assert!(bad.starts_with("--tenant holds"), "{bad}");
    }
}
