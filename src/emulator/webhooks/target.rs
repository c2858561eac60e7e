//! Where webhooks go: an address of this machine, and nowhere else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::http::HeaderValue;
use url::{Host, Position, Url};

/// Why a URL is not taken.
pub(in crate::emulator) const NOT_A_TARGET: &str =
    "must be an http URL on loopback: the emulator posts to this machine only, without TLS";

/// The URL of a receiver on loopback.
///
/// Real Kora wants https (Kora docs: webhooks). The emulator has no TLS and takes http instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::emulator) struct Target {
    /// The addresses to try, in this order. All are loopback addresses: no name is resolved.
    pub(super) addresses: Vec<SocketAddr>,
    /// The value of the header `Host`.
    pub(super) host: HeaderValue,
    /// Path and query.
    pub(super) path: String,
}

impl Target {
    /// Reads a URL. `None` when it is not one that the emulator posts to.
    pub(in crate::emulator) fn read(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok()?;
        let has_credentials = !url.username().is_empty() || url.password().is_some();
        if url.scheme() != "http" || has_credentials {
            return None;
        }
        let addresses = match url.host()? {
            Host::Ipv4(address) => vec![IpAddr::V4(address)],
            Host::Ipv6(address) => vec![IpAddr::V6(address)],
            Host::Domain("localhost") => vec![
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(Ipv6Addr::LOCALHOST),
            ],
            Host::Domain(_) => return None,
        };
        if !addresses.iter().all(IpAddr::is_loopback) {
            return None;
        }
        let port = url.port_or_known_default()?;
        let authority = &url[Position::BeforeHost..Position::AfterPort];
        Some(Self {
            host: HeaderValue::from_str(authority).ok()?,
            path: url[Position::BeforePath..Position::AfterQuery].to_owned(),
            addresses: addresses
                .into_iter()
                .map(|address| SocketAddr::new(address, port))
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_keeps_address_host_and_path() {
        let target = Target::read("http://127.0.0.1:8080/webhooks/compliance?a=b#c").unwrap();
        assert_eq!(target.addresses, ["127.0.0.1:8080".parse().unwrap()]);
        assert_eq!(target.host, "127.0.0.1:8080");
        assert_eq!(target.path, "/webhooks/compliance?a=b");

        let target = Target::read("http://localhost").unwrap();
        let both = ["127.0.0.1:80", "[::1]:80"].map(|address| address.parse().unwrap());
        assert_eq!(target.addresses, both);
        assert_eq!(target.host, "localhost");
        assert_eq!(target.path, "/");
        assert!(Target::read("http://[::1]:1/x").is_some());
        assert!(Target::read("http://127.1.2.3:1/x").is_some());
    }

    #[test]
    fn nothing_but_http_on_loopback_is_a_target() {
        for url in [
            "",
            "127.0.0.1:8080",
            "/webhooks",
            "https://127.0.0.1/",
            "ftp://127.0.0.1/",
            "http://example.com/",
            "http://localhost.example.com/",
            "http://127.0.0.1.example.com/",
            "http://127.0.0.1@example.com/",
            "http://user:pass@127.0.0.1/",
            "http://0.0.0.0/",
            "http://10.0.0.1/",
            "http://169.254.169.254/",
            "http://[::]/",
            "http://[::ffff:10.0.0.1]/",
        ] {
            assert_eq!(Target::read(url), None, "{url}");
        }
    }
}
