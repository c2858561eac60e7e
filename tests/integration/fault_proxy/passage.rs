//! One connection, from the gateway's first byte to the end on both sides.

use std::{io::Read, net::SocketAddr};

use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    Fault, Orders, Passage, Place,
    http1::{close, closing, is_whole, read_message, read_to_end, status},
};

/// The connection to Kora for one request. There is none before there is a byte to send.
struct Upstream {
    addr: SocketAddr,
    stream: Option<TcpStream>,
    sent: Vec<u8>,
}

/// Serves one connection of the gateway's.
pub async fn pass(mut gateway: TcpStream, kora: SocketAddr, orders: Orders) -> Passage {
    let mut seen = Passage::default();
    let mut kora = Upstream {
        addr: kora,
        stream: None,
        sent: Vec::new(),
    };
    let most = match orders.plan.place {
        Place::Request(offset) => offset,
        Place::Answer(_) => usize::MAX,
    };
    let request = read_message(&mut gateway, most).await;
    seen.received = request.len();
    kora.send(&request).await;
    let mut answer = Vec::new();
    if let Place::Answer(offset) = orders.plan.place
        && is_whole(&request)
    {
        answer = closing(&kora.answer().await);
        seen.answer = Some((status(&answer), answer.len()));
        let rest = answer.split_off(offset.min(answer.len()));
        // A gateway that has left already is seen by what it reports.
        if gateway.write_all(&answer).await.is_ok() {
            seen.passed_on = answer.len();
        }
        answer = rest;
    }
    match orders.plan.fault {
        Fault::Cut => {
            close(&mut gateway).await;
            seen.received += read_to_end(&mut gateway).await.len();
        }
        Fault::Reset => {
            seen.received += reset(gateway);
        }
        Fault::Stall => {
            orders.call_is_over.cancelled().await;
            let _ = gateway.write_all(&answer).await;
            let rest = read_to_end(&mut gateway).await;
            seen.received += rest.len();
            kora.send(&rest).await;
        }
    }
    seen.request_length = is_whole(&kora.sent).then_some(kora.sent.len());
    seen.sent_on = kora.sent.len();
    kora.end(seen.answer.is_some()).await;
    seen
}

impl Upstream {
    async fn send(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(TcpStream::connect(self.addr).await.unwrap()),
        };
        stream.write_all(bytes).await.unwrap();
        self.sent.extend_from_slice(bytes);
    }

    /// Kora's answer to the whole request.
    async fn answer(&mut self) -> Vec<u8> {
        let stream = self.stream.as_mut().unwrap();
        let answer = read_message(stream, usize::MAX).await;
        assert!(is_whole(&answer), "Kora gave no whole answer");
        answer
    }

    /// Ends the connection, and returns when Kora has ended it too: nothing of it arrives later. The work of a
    /// whole request is seen to be done.
    async fn end(mut self, is_answered: bool) {
        if is_whole(&self.sent) && !is_answered {
            self.answer().await;
        }
        if let Some(mut stream) = self.stream {
            close(&mut stream).await;
            read_to_end(&mut stream).await;
        }
    }
}

/// Resets the connection; tells how many bytes were there, unread.
fn reset(stream: TcpStream) -> usize {
    stream.set_zero_linger().unwrap();
    // The system is asked itself: tokio would say "nothing" until it has heard of something.
    let mut stream = stream.into_std().unwrap();
    let (mut count, mut buffer) = (0, [0; 4096]);
    while let Ok(more @ 1..) = stream.read(&mut buffer) {
        count += more;
    }
    count
}
