//! The first bytes of a connection: TLS where the port speaks it, then whatever tells what the client speaks.
//!
//! hyper waits for them for ever. Here they are read within a limit, and given back to be read once more.

use std::{
    io::{Error, ErrorKind, Result},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::{PeerNames, Protocol, Tls};

/// What a client that speaks HTTP/2 begins with (RFC 9113, 3.4). A SETTINGS frame follows.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The head of a frame: its length, type, flags and stream.
const FRAME_HEAD_BYTES: usize = 9;

/// The type of a SETTINGS frame.
const SETTINGS: u8 = 4;

/// How large the first SETTINGS frame may be.
const MAX_SETTINGS_BYTES: usize = 1 << 10;

/// A socket, with TLS or without.
pub(super) type Socket = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// A connection whose client has begun to speak.
pub(super) struct Opened {
    pub(super) io: Rewound<Socket>,
    pub(super) version: Version,
    pub(super) peer: PeerNames,
}

/// Which HTTP a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

/// What was read of it comes first.
pub(super) struct Rewound<S> {
    head: Bytes,
    io: S,
}

/// Opens a connection. Takes as long as its client does.
///
/// # Errors
/// If the client ends it, or speaks something else.
pub(super) async fn open(
    stream: TcpStream,
    tls: Option<&Tls>,
    protocol: Protocol,
) -> Result<Opened> {
    let (mut socket, peer) = match tls {
        None => (Either::Left(stream), PeerNames::default()),
        Some(tls) => {
            let stream = tls.acceptor().accept(stream).await?;
            let peer = PeerNames::of(stream.get_ref().1.peer_certificates());
            (Either::Right(Box::new(stream)), peer)
        }
    };
    let (head, version) = match protocol {
        // Its head has a limit of its own.
        Protocol::Http1(_) => (BytesMut::new(), Version::Http1),
        Protocol::Http2 => read_preface(&mut socket, false).await?,
        Protocol::Http1OrHttp2(_) => read_preface(&mut socket, true).await?,
    };
    Ok(Opened {
        io: Rewound {
            head: head.freeze(),
            io: socket,
        },
        version,
        peer,
    })
}

/// Reads until it is clear what the client speaks: all of what begins HTTP/2, or a byte that does not.
async fn read_preface(
    socket: &mut (impl AsyncRead + Unpin),
    is_http1_spoken: bool,
) -> Result<(BytesMut, Version)> {
    let mut head = BytesMut::new();
    loop {
        let known = head.len().min(PREFACE.len());
        if head[..known] != PREFACE[..known] {
            // Methods of HTTP/1.1 are written in capitals (RFC 9110, 9.1). Who begins like that can read an answer.
            return if is_http1_spoken || head[0].is_ascii_uppercase() {
                Ok((head, Version::Http1))
            } else {
                Err(ErrorKind::InvalidData.into())
            };
        }
        if has_settings(&head)? {
            return Ok((head, Version::Http2));
        }
        if socket.read_buf(&mut head).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Whether all of the first frame is there.
fn has_settings(head: &[u8]) -> Result<bool> {
    let frame = head.get(PREFACE.len()..).unwrap_or_default();
    let Some([high, middle, low, kind, ..]) = frame.get(..FRAME_HEAD_BYTES) else {
        return Ok(false);
    };
    let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
    if *kind != SETTINGS || length > MAX_SETTINGS_BYTES {
        let what = "the first frame is not that of a client that speaks HTTP/2";
        return Err(Error::new(ErrorKind::InvalidData, what));
    }
    Ok(frame.len() >= FRAME_HEAD_BYTES + length)
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        if self.head.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        }
        let count = self.head.len().min(buffer.remaining());
        buffer.put_slice(&self.head[..count]);
        self.head.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the client of the h2 crate begins with: two settings.
    fn opening() -> Vec<u8> {
        let settings = [0, 0, 12, SETTINGS, 0, 0, 0, 0, 0];
        [PREFACE, &settings, &[7; 12]].concat()
    }

    async fn read(mut bytes: &[u8], is_http1_spoken: bool) -> Option<(Vec<u8>, Version)> {
        let read = read_preface(&mut bytes, is_http1_spoken).await;
        read.ok().map(|(head, version)| (head.to_vec(), version))
    }

    #[tokio::test]
    async fn http2_has_begun_with_its_settings_and_not_before() {
        let whole = opening();
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length], true).await, None, "{length}");
        }
        let begun = Some((whole.clone(), Version::Http2));
        assert_eq!(read(&whole, false).await, begun);
        assert_eq!(read(&whole, true).await, begun);
    }

    #[tokio::test]
    async fn another_first_frame_is_refused() {
        let mut other = opening();
        other[PREFACE.len() + 3] = 0;
        assert_eq!(read(&other, true).await, None);
        let mut large = opening();
        large[PREFACE.len()] = 1;
        large.resize(1 << 20, 0);
        assert_eq!(read(&large, true).await, None);
    }

    #[tokio::test]
    async fn whatever_does_not_begin_as_http2_is_http1_where_that_is_spoken() {
        for begin in ["GET / HTTP/1.1\r\n", "PRINT", "PRI * HTTP/2.1"] {
            let begin = begin.as_bytes();
            let expected = Some((begin.to_vec(), Version::Http1));
            assert_eq!(read(begin, true).await, expected);
            assert_eq!(read(begin, false).await, expected, "it can be told so");
        }
        let hello = b"\x16\x03\x01\x02\0";
        assert_eq!(read(hello, false).await, None);
        assert_eq!(read(b"PRI", true).await, None);
    }

    #[tokio::test]
    async fn what_was_read_is_read_again() {
        let mut io = Rewound {
            head: Bytes::from_static(b"head"),
            io: &b" and rest"[..],
        };
        let mut read = String::new();
        io.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "head and rest");
    }
}
