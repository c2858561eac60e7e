//! Reads single values. An error says what was expected and never repeats the value.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use bytesize::ByteSize;
use url::{Host, Url};

use crate::kora;

/// Sizes are limits on memory, and must fit in it.
const MAX_BYTES: u64 = 1 << 30;

/// How large webhooks may be allowed to be.
const MAX_WEBHOOK_BYTES: usize = 32 << 20;

/// How long something may be kept.
const MIN_PERIOD: Duration = Duration::from_secs(1);
const MAX_PERIOD: Duration = Duration::from_secs(3650 * 24 * 3600);

/// How much may be kept on disk.
const MIN_DISK_BYTES: u64 = 64 << 10;
const MAX_DISK_BYTES: u64 = 1 << 50;

/// The least that is kept of request records.
const MIN_REQUEST_RETENTION: Duration = Duration::from_secs(3600);
const MIN_REQUEST_BYTES: u64 = 1 << 20;

/// How long the beginning of the names of streams may be.
const MAX_STREAM_PREFIX: usize = 32;

/// How many servers NATS lets keep a message.
const MAX_STREAM_REPLICAS: usize = 5;

/// Every connection to Kora costs a TLS handshake.
const MIN_CONNECTION_AGE: Duration = Duration::from_secs(1);

/// No wait may be longer than this.
const MAX_DURATION: Duration = Duration::from_secs(3600);

pub(super) fn socket_addr(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "is not an address such as 127.0.0.1:50051".to_owned())
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|_| "is not a duration such as 35s or 1m 30s".to_owned())?;
    if duration.is_zero() || duration > MAX_DURATION {
        return Err("is not between 1ns and 1h".to_owned());
    }
    Ok(duration)
}

/// How old a connection may get. All of them are replaced that often.
pub(super) fn connection_age(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        age if age < MIN_CONNECTION_AGE => Err("is not between 1s and 1h".to_owned()),
        age => Ok(age),
    }
}

/// How long something is kept: days and more.
pub(super) fn period(text: &str) -> Result<Duration, String> {
    let period = humantime::parse_duration(text)
        .map_err(|_| "is not a duration such as 1h or 30d".to_owned())?;
    match (MIN_PERIOD..=MAX_PERIOD).contains(&period) {
        true => Ok(period),
        false => Err("is not between 1s and 10 years".to_owned()),
    }
}

/// How long request records are kept. A call lasts up to 10 min: a record that goes while its request can still
/// be repeated has the request sent twice.
pub(super) fn request_retention(text: &str) -> Result<Duration, String> {
    let period = period(text)?;
    if period < MIN_REQUEST_RETENTION {
        return Err("is not between 1h and 10 years".to_owned());
    }
    Ok(period)
}

/// How much is kept on disk.
pub(super) fn disk_bytes(text: &str) -> Result<u64, String> {
    match disk_size(text)? {
        size @ MIN_DISK_BYTES..=MAX_DISK_BYTES => Ok(size),
        _ => Err("is not between 64KiB and 1PiB".to_owned()),
    }
}

/// How much of request records is kept.
pub(super) fn request_bytes(text: &str) -> Result<u64, String> {
    match disk_size(text)? {
        size @ MIN_REQUEST_BYTES..=MAX_DISK_BYTES => Ok(size),
        _ => Err("is not between 1MiB and 1PiB".to_owned()),
    }
}

fn disk_size(text: &str) -> Result<u64, String> {
    let size: ByteSize = text
        .parse()
        .map_err(|_| "is not a size such as 10GiB".to_owned())?;
    Ok(size.as_u64())
}

/// Where the event log is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EventLogPlace {
    /// In this directory.
    Directory(PathBuf),
    /// On the NATS servers with these URLs, of one cluster.
    Nats(Vec<String>),
}

pub(super) fn event_log(text: &str) -> Result<EventLogPlace, String> {
    if let Some(directory) = text.strip_prefix("file:").filter(|path| !path.is_empty()) {
        return Ok(EventLogPlace::Directory(directory.into()));
    }
    let servers: Vec<_> = text.split(',').collect();
    for server in &servers {
        check_nats_server(server)?;
    }
    let is_tls = |server: &&&str| server.starts_with("tls:");
    match servers.iter().filter(is_tls).count() {
        0 => {}
        count if count == servers.len() => {}
        _ => return Err("mixes nats:// and tls://: one would be reached in the clear".to_owned()),
    }
    Ok(EventLogPlace::Nats(
        servers.into_iter().map(str::to_owned).collect(),
    ))
}

fn check_nats_server(text: &str) -> Result<(), String> {
    let url = Url::parse(text)
        .ok()
        // The parser takes blanks away that the client would not.
        .filter(|_| text.bytes().all(|byte| byte.is_ascii_graphic()))
        .filter(|url| matches!(url.scheme(), "nats" | "tls") && url.has_host())
        .ok_or_else(|| "is neither file:DIR nor nats://HOST:PORT,…".to_owned())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "holds a user name or password: name a file with --nats-credentials-file".to_owned(),
        );
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err("holds more than HOST:PORT".to_owned());
    }
    Ok(())
}

/// What the names of streams begin with.
pub(super) fn stream_prefix(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    match (1..=MAX_STREAM_PREFIX).contains(&text.len()) && text.bytes().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("is not 1 to 32 letters, digits, - and _".to_owned()),
    }
}

/// How many servers of a NATS cluster keep each message.
pub(super) fn stream_replicas(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(replicas @ 1..=MAX_STREAM_REPLICAS) => Ok(replicas),
        _ => Err("is not a whole number from 1 to 5".to_owned()),
    }
}

/// A webhook is held in memory until it is on disk.
pub(super) fn webhook_bytes(text: &str) -> Result<usize, String> {
    match bytes(text)? {
        size @ ..=MAX_WEBHOOK_BYTES => Ok(size),
        _ => Err("is not between 1B and 32MiB".to_owned()),
    }
}

pub(super) fn bytes(text: &str) -> Result<usize, String> {
    let size: ByteSize = text
        .parse()
        .map_err(|_| "is not a size such as 4MiB".to_owned())?;
    match size.as_u64() {
        size @ 1..=MAX_BYTES => Ok(size as usize),
        _ => Err("is not between 1B and 1GiB".to_owned()),
    }
}

pub(super) fn positive(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err("is not a whole number above 0".to_owned()),
    }
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "on" => Ok(true),
        "false" | "0" | "off" => Ok(false),
        _ => Err("is neither true nor false".to_owned()),
    }
}

pub(super) fn text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

/// A tenant's id at Kora. Space around it does not get to Kora, so that two that differ by it alone are one.
pub(super) fn tenant_id(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if text.trim() != text {
        return Err("begins or ends with white space".to_owned());
    }
    kora::check_tenant_id(text)?;
    Ok(text.to_owned())
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    Ok(text.into())
}

/// A file that is there: its path is shown, and must not be what the file should hold, given by mistake.
pub(super) fn existing_file(text: &str) -> Result<PathBuf, String> {
    match fs::metadata(text) {
        Ok(_) => Ok(text.into()),
        Err(error) => Err(format!("names a file that cannot be read: {error}")),
    }
}

/// The key travels with every request, so it leaves the machine only encrypted.
pub(super) fn base_url(text: &str) -> Result<Url, String> {
    let url = http_url(text)?;
    if url.scheme() != "https" && !is_loopback(&url) {
        return Err(
            "is not https, and not on loopback: the key would travel in the clear".to_owned(),
        );
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user name or password".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("holds a query or a fragment".to_owned());
    }
    Ok(url)
}

pub(super) fn proxy_url(text: &str) -> Result<Url, String> {
    http_url(text)
}

fn http_url(text: &str) -> Result<Url, String> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| "is not an http or https URL".to_owned())
}

/// Whether a URL leads to this machine, by its own words.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_never_travels_in_the_clear() {
        for good in [
            "https://api.korastratum.com/api/v1",
            "http://127.0.0.1:4010/api/v1",
            "http://[::1]:4010",
            "http://localhost:1/x",
        ] {
            assert!(base_url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://api.korastratum.com/api/v1",
            "http://127.0.0.1.example.com/",
            "http://localhost.example.com/",
            "ftp://127.0.0.1/",
            "https://user:pass@kora.example/",
            "https://kora.example/?a=b",
            "kora.example",
        ] {
            assert!(base_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_event_log_is_a_directory_or_on_nats() {
        let directory = EventLogPlace::Directory("./data".into());
        assert_eq!(event_log("file:./data"), Ok(directory));
        for server in [
            "nats://127.0.0.1:4222",
            "tls://nats.example:4222",
            "nats://nats",
        ] {
            let nats = EventLogPlace::Nats(vec![server.to_owned()]);
            assert_eq!(event_log(server), Ok(nats));
        }
        let two = ["tls://a:4222", "tls://b:4222"];
        assert_eq!(
            event_log(&two.join(",")),
            Ok(EventLogPlace::Nats(two.map(str::to_owned).into()))
        );
        for bad in [
            "file:",
            "./data",
            "",
            "nats:",
            "nats://",
            "http://127.0.0.1:4222",
            "nats://user:secret@127.0.0.1:4222",
            "nats://token@127.0.0.1:4222",
            "nats://127.0.0.1:4222/stream",
            "nats://127.0.0.1:4222?x=y",
            "nats://a:4222,",
            ",nats://a:4222",
            "nats://a:4222, nats://b:4222",
            "nats://a:4222,b:4222",
            "nats://a:4222,file:./data",
            "nats://a:4222,nats://user:secret@b:4222",
            "nats://a:4222,tls://b:4222",
        ] {
            assert!(event_log(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_names_streams_is_plain_and_short() {
        assert!(stream_prefix("kora-gateway_2").is_ok() && stream_prefix(&"x".repeat(32)).is_ok());
        for bad in ["", "a.b", "a b", "a>", "é", &"x".repeat(33)] {
            assert!(stream_prefix(bad).is_err(), "{bad}");
        }
        assert_eq!(stream_replicas("5"), Ok(5));
        for bad in ["0", "6", "-1", "many"] {
            assert!(stream_replicas(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_durations_and_numbers_have_bounds() {
        assert_eq!(bytes("4MiB"), Ok(4 << 20));
        assert_eq!(bytes("1000"), Ok(1000));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(connection_age("1s"), Ok(MIN_CONNECTION_AGE));
        assert!(connection_age("999ms").is_err());
        for bad in ["0", "2TiB", "-1", "many"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        for bad in ["0s", "35", "2h", "soon"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(period("30d"), Ok(Duration::from_secs(30 * 24 * 3600)));
        for bad in ["0s", "999ms", "4000d", "30"] {
            assert!(period(bad).is_err(), "{bad}");
        }
        assert_eq!(period("1s"), Ok(MIN_PERIOD));
        assert_eq!(period("3650d"), Ok(MAX_PERIOD));
        assert_eq!(disk_bytes("10GiB"), Ok(10 << 30));
        assert_eq!(disk_bytes("64KiB"), Ok(MIN_DISK_BYTES));
        assert_eq!(disk_bytes("1PiB"), Ok(MAX_DISK_BYTES));
        for bad in ["1KiB", "2PiB", "x"] {
            assert!(disk_bytes(bad).is_err(), "{bad}");
        }
        assert!(webhook_bytes("32MiB").is_ok() && webhook_bytes("33MiB").is_err());
        for bad in ["0", "-1", "1.5", ""] {
            assert!(positive(bad).is_err(), "{bad}");
        }
    }
}
