//! What was said not to be sent is not sent, not even later.

use std::time::Duration;

use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpSocket, TcpStream},
    time::{Instant, timeout, timeout_at},
};

use crate::{call::Rpc, harness::Gateway};

/// A listener whose queue is full: the kernel drops what else wants to connect, until somebody accepts.
async fn full_listener() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut fillers = Vec::new();
    while let Ok(stream) = timeout(Duration::from_millis(200), TcpStream::connect(addr)).await {
        fillers.push(stream.unwrap());
    }
    (listener, fillers)
}

/// Accepts everything for `long`, and returns how many came besides the fillers and what they sent.
async fn drained(
    listener: TcpListener,
    fillers: Vec<TcpStream>,
    long: Duration,
) -> (usize, Vec<u8>) {
    let mine: Vec<_> = fillers
        .iter()
        .map(|stream| stream.local_addr().unwrap())
        .collect();
    let (mut others, mut bytes, end) = (0, Vec::new(), Instant::now() + long);
    while let Ok(accepted) = timeout_at(end, listener.accept()).await {
        let (mut stream, peer) = accepted.unwrap();
        if !mine.contains(&peer) {
            others += 1;
            let _ = timeout_at(end, stream.read_to_end(&mut bytes)).await;
        }
    }
    (others, bytes)
}

#[tokio::test]
async fn what_was_said_not_to_be_sent_is_not_sent_later() {
    for hang_up in [false, true] {
        let (listener, fillers) = full_listener().await;
        let url = format!("http://{}/api/v1", listener.local_addr().unwrap());
        let gateway = Gateway::start(&url, &[]).await;
        if hang_up {
            let mut call = tokio::spawn(Rpc::Screen.call().send(gateway.grpc));
            // Long enough to be connecting, which takes for ever here.
            assert!(
                timeout(Duration::from_millis(300), &mut call)
                    .await
                    .is_err()
            );
            call.abort();
            gateway
                .wait_for_metric("method=\"Screen\",code=\"CANCELLED\"")
                .await;
        } else {
            let call = Rpc::Screen.call().header("grpc-timeout", "300m");
            assert_eq!(
                call.send(gateway.grpc).await.reason(),
                "DEADLINE_BEFORE_SEND"
            );
        }
        // With the call, the connection is given up too; one that was made carries nothing.
        let (_, bytes) = drained(listener, fillers, Duration::from_millis(2500)).await;
        assert!(
            bytes.is_empty(),
            "hang_up {hang_up}: {}",
            String::from_utf8_lossy(&bytes)
        );
        gateway.stop().await;
    }
}

#[tokio::test]
async fn the_attempts_limit_starts_when_it_is_sent() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/api/v1", silent.local_addr().unwrap());
    let gateway = Gateway::start(&url, &[("kora-timeout", "200ms")]).await;
    for rpc in [Rpc::Screen, Rpc::CreateSubject] {
        let answer = rpc.call().send(gateway.grpc).await;
        assert_eq!(
            (answer.reason().as_str(), answer.outcome().as_deref()),
            ("KORA_UNREACHABLE", Some("NOT_SENT"))
        );
    }
    gateway.stop().await;
}
