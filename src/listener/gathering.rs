//! A socket on which the frames of many streams leave together.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};

/// How large a frame may be that leaves in one write with its header. h2 hands them over one after the other.
const BUFFER_BYTES: usize = 8 << 10;

/// A socket for HTTP/2, where a system call for each frame would cost more than all the rest.
///
/// It says that it has no vectored writes: to a socket that has them, h2 hands each DATA frame of 256 bytes or
/// more in a write of its own, else it first copies frames of up to 1 KiB together. And before it writes, it
/// once lets the tasks go first that are ready: an event makes many streams of a connection ready, and what
/// they send while the connection waits for its turn leaves in the same write. Nothing stays here after a
/// flush, which h2 ends each of its turns with.
#[derive(Debug)]
pub(super) struct Gathering<S> {
    socket: BufWriter<S>,
    /// Since the last flush.
    has_let_others_go: bool,
}

impl<S: AsyncWrite> Gathering<S> {
    pub(super) fn new(socket: S) -> Self {
        Gathering {
            socket: BufWriter::with_capacity(BUFFER_BYTES, socket),
            has_let_others_go: false,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.has_let_others_go {
            self.has_let_others_go = true;
            // A task that wakes itself queues up behind those that are ready.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        false
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.has_let_others_go = false;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    async fn pair() -> (Gathering<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap());
        let (far, accepted) = tokio::join!(far, listener.accept());
        (Gathering::new(accepted.unwrap().0), far.unwrap())
    }

    #[tokio::test]
    async fn before_each_write_what_is_ready_goes_first() {
        let (mut near, mut far) = pair().await;
        for round in [b"one", b"two"] {
            let order = RefCell::new(Vec::new());
            let write = async {
                near.write_all(round).await.unwrap();
                order.borrow_mut().push("written");
                near.flush().await.unwrap();
            };
            let other = async { order.borrow_mut().push("other") };
            tokio::join!(biased; write, other);
            assert_eq!(order.into_inner(), ["other", "written"]);
            let mut read = [0; 3];
            far.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, round);
        }
    }

    #[tokio::test]
    async fn frames_are_not_written_one_by_one() {
        let (near, _far) = pair().await;
        assert!(!near.is_write_vectored());
    }
}
