//! The least that a delivery costs: copies of one frame written to loopback sockets by a bare program.

use std::{
    io::{IoSlice, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::{process::cpu_time_of_thread, streams::CONNECTIONS};

/// How many slices one `writev` takes (`IOV_MAX`).
const MAX_SLICES: usize = 1024;

/// The writer's processor time for each copy, where `copies` of a frame are written for each event, an equal
/// share to each connection. With a `pace`, an event starts no earlier than that after the one before.
pub fn cpu_per_copy(
    copies: usize,
    frame_bytes: usize,
    events: u32,
    pace: Option<Duration>,
) -> Duration {
    let share = copies / CONNECTIONS;
    let (mut near, far): (Vec<_>, Vec<_>) = (0..CONNECTIONS).map(|_| pair()).unzip();
    let readers: Vec<_> = far
        .into_iter()
        .map(|socket| thread::spawn(move || read_to_end(socket)))
        .collect();
    let frame = vec![7; frame_bytes];
    let slices = vec![IoSlice::new(&frame); share];
    let before = cpu_time_of_thread();
    let mut next = Instant::now();
    for _ in 0..events {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        next += pace.unwrap_or_default();
        for socket in &mut near {
            for slices in slices.chunks(MAX_SLICES) {
                // A blocking socket takes all of it.
                let written = socket.write_vectored(slices).unwrap();
                assert_eq!(written, slices.len() * frame_bytes);
            }
        }
    }
    let cpu = cpu_time_of_thread() - before;
    drop(near);
    let read: usize = readers
        .into_iter()
        .map(|reader| reader.join().unwrap())
        .sum();
    let written = share * CONNECTIONS * events as usize;
    assert_eq!(read, written * frame_bytes);
    cpu / u32::try_from(written).unwrap()
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (near, _) = listener.accept().unwrap();
    near.set_nodelay(true).unwrap();
    (near, far)
}

fn read_to_end(mut socket: TcpStream) -> usize {
    let (mut buffer, mut read) = (vec![0; 256 << 10], 0);
    loop {
        match socket.read(&mut buffer).unwrap() {
            0 => return read,
            some => read += some,
        }
    }
}
