//! The flags that say where the gateway is and how to get in.

use std::{panic::resume_unwind, path::PathBuf, time::Duration};

use clap::Args;
use thiserror::Error;
use tokio::{task::spawn_blocking, time::timeout};
use tokio_rustls::rustls;
use url::Url;

use super::way_in::WayIn;
use crate::{config::is_loopback, listener::Unusable};

/// How long reading the files may take: a pipe can be one that nobody writes to.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the gateway is, and how to get in.
#[derive(Args, Clone, Debug)]
pub(super) struct GatewayArgs {
    /// The gateway's callers' address; https:// where it speaks TLS
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:50051")]
    gateway: String,
    /// The caller's token is the text of this file
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// The tenant to call for, where the caller may for several
    #[arg(long, value_name = "NAME")]
    pub(super) tenant: Option<String>,
    /// PEM certificates to trust for the gateway instead of the system's
    #[arg(long, value_name = "FILE")]
    pub(super) ca_file: Option<PathBuf>,
    /// The caller's certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires = "key_file")]
    pub(super) cert_file: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    pub(super) key_file: Option<PathBuf>,
}

/// Why a flag, or the file that it names, is of no use. It says nothing of what is in the file.
#[derive(Debug, Error)]
pub(super) enum BadFlag {
    /// `--gateway` is something else.
    #[error("--gateway is not a URL that starts with http:// or https://")]
    NoUrl,
    /// It holds what others can see in the list of processes.
    #[error("--gateway holds a user name or password: callers show a --token-file")]
    UserInfo,
    /// The token would be read on its way.
    #[error(
        "--token-file is for a --gateway that starts with https://, or is on loopback: the token would travel in the clear"
    )]
    InTheClear,
    /// The file holds no token.
    #[error("--token-file: the token {0}")]
    Token(String),
    /// It cannot be sent.
    #[error("--tenant holds characters that no name has")]
    Tenant,
    /// It would do nothing.
    #[error("{0} is for a --gateway that starts with https://")]
    WithoutTls(&'static str),
    /// The file cannot be used.
    #[error("{0}: {1}")]
    File(&'static str, Unusable),
    /// A file is a pipe that nobody writes to, or on a disk that does not answer.
    #[error("a file that a flag names was not read within 10 s")]
    Slow,
    /// The certificate is another key's, or the like.
    #[error("--cert-file and --key-file cannot be used together: {0}")]
    Pair(rustls::Error),
    /// There is nothing to know the gateway by.
    #[error(
        "--gateway cannot be known by the system's certificates ({0}): name its authority with --ca-file"
    )]
    NoTls(String),
}

impl GatewayArgs {
    /// Reads the files: each time, because they can have been replaced since.
    ///
    /// # Errors
    /// Which flag is of no use, and why.
    pub(super) async fn way_in(&self) -> Result<WayIn, BadFlag> {
        let args = self.clone();
        let read = timeout(READ_TIMEOUT, spawn_blocking(move || WayIn::read(&args))).await;
        read.map_err(|_| BadFlag::Slow)?
            .unwrap_or_else(|panic| resume_unwind(panic.into_panic()))
    }

    /// Where the gateway is, if everything that is given may go there.
    ///
    /// # Errors
    /// Which flag must not be given with it.
    pub(super) fn url(&self) -> Result<Url, BadFlag> {
        let url = Url::parse(&self.gateway)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or(BadFlag::NoUrl)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadFlag::UserInfo);
        }
        if url.scheme() == "https" {
            return Ok(url);
        }
        if self.token_file.is_some() && !is_loopback(&url) {
            return Err(BadFlag::InTheClear);
        }
        match (&self.ca_file, &self.cert_file) {
            (Some(_), _) => Err(BadFlag::WithoutTls("--ca-file")),
            (_, Some(_)) => Err(BadFlag::WithoutTls("--cert-file")),
            (None, None) => Ok(url),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: GatewayArgs,
    }

    impl GatewayArgs {
        /// Of a gateway that wants to know nothing.
        pub(in crate::cli) fn to(gateway: String) -> Self {
            Line::parse_from(["", "--gateway", &gateway]).args
        }
    }

    fn url(flags: &[&str]) -> Result<String, String> {
        let line = [&["", "--gateway"], flags].concat();
        let url = Line::parse_from(line).args.url();
        url.map(String::from).map_err(|bad| bad.to_string())
    }

    #[test]
    fn a_token_travels_encrypted_or_not_at_all() {
        for good in [
            "https://gateway.internal:50051",
            "http://127.0.0.1:50051",
            "http://[::1]:50051",
            "http://localhost:50051",
            // Read here as it will be read there.
            "http://2130706433:50051",
        ] {
            assert!(url(&[good, "--token-file=t"]).is_ok(), "{good}");
        }
        for bad in [
            "http://gateway.internal:50051",
            "http://10.0.0.1:50051",
            "http://127.0.0.1.example.com:50051",
            "http://localhost.example.com:50051",
        ] {
            let refused = url(&[bad, "--token-file=t"]).unwrap_err();
            assert!(refused.starts_with("--token-file"), "{refused}");
            assert!(refused.contains("in the clear"), "{refused}");
            // Who shows nothing has nothing to lose.
            assert!(url(&[bad]).is_ok(), "{bad}");
        }
        let read = url(&["http://2130706433:50051"]).unwrap();
        assert_eq!(read, "http://127.0.0.1:50051/");
    }

    #[test]
    fn a_gateway_is_an_http_url_without_a_password() {
        for bad in [
            "",
            "gateway:50051",
            "ftp://gateway",
            "http://",
            "/run/socket",
        ] {
            let refused = url(&[bad]).unwrap_err();
            assert!(refused.starts_with("--gateway is not a URL"), "{refused}");
        }
        for bad in ["https://user:secret@gateway:1", "https://secret@gateway:1"] {
            let refused = url(&[bad]).unwrap_err();
            assert!(refused.starts_with("--gateway holds"), "{refused}");
            assert!(!refused.contains("secret"), "{refused}");
        }
    }

    #[test]
    fn flags_of_tls_need_tls_and_one_another() {
        let pair = ["--cert-file=c", "--key-file=k"];
        for (flags, name) in [(&["--ca-file=c"][..], "--ca-file"), (&pair, "--cert-file")] {
            let with = |url| [&[url], flags].concat();
            assert!(url(&with("https://127.0.0.1:1")).is_ok());
            let refused = url(&with("http://127.0.0.1:1")).unwrap_err();
            assert!(refused.starts_with(name), "{refused}");
        }
        for alone in pair {
            assert!(Line::try_parse_from(["", alone]).is_err(), "{alone}");
        }
    }
}
