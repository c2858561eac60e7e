//! As much of HTTP/1 as the proxy has to know: where a message ends.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const BLANK_LINE: &[u8] = b"\r\n\r\n";

/// Reads a message to its end, but no more than `most` bytes of it; less if the connection ends.
pub async fn read_message(stream: &mut TcpStream, most: usize) -> Vec<u8> {
    let mut message = Vec::new();
    while message.len() < most && !is_whole(&message) {
        let room = (most - message.len()) as u64;
        if stream.take(room).read_buf(&mut message).await.unwrap_or(0) == 0 {
            break;
        }
    }
    message
}

/// Whether these are all the bytes of a message. Those of the gateway and of the emulator tell their length.
pub fn is_whole(message: &[u8]) -> bool {
    let Some(end_of_head) = message
        .windows(BLANK_LINE.len())
        .position(|bytes| bytes == BLANK_LINE)
    else {
        return false;
    };
    let head = String::from_utf8(message[..end_of_head].to_vec()).unwrap();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map(|(_, length)| length.parse::<usize>().unwrap());
    let length = length.expect("a message that does not tell its length");
    message.len() == end_of_head + BLANK_LINE.len() + length
}

/// The status of an answer.
pub fn status(answer: &[u8]) -> u16 {
    let line = answer.split(|byte| *byte == b'\r').next().unwrap();
    let line = std::str::from_utf8(line).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The same answer, after which the connection is not used again.
pub fn closing(answer: &[u8]) -> Vec<u8> {
    let end_of_line = answer.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let (line, rest) = answer.split_at(end_of_line);
    [line, b"connection: close\r\n", rest].concat()
}

/// Reads to the end of the connection, and returns what came.
pub async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut rest).await;
    rest
}

/// Ends the connection in this direction.
pub async fn close(stream: &mut TcpStream) {
    // The far side may have ended all of it.
    let _ = stream.shutdown().await;
}
