//! Lines on stdout and stderr that block nobody.
//!
//! A pipe that nobody reads blocks whoever writes to it, so a thread of its own writes, and lines that it has no room for
//! are dropped and counted. `tracing-appender` does the same, but cannot flush within a bound, prints to stdout when it
//! fails to, and does not say when it writes again.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// How many lines wait to be written at most.
const QUEUED_LINES: usize = 8192;

/// How long a flush waits before it looks again whether there is room in the queue.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A writer for whole lines. Clones share the thread that writes them.
#[derive(Clone, Debug)]
pub(super) struct Output {
    queue: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    /// Answered when everything before it is written.
    Flush(SyncSender<()>),
}

impl Output {
    /// Starts the thread that writes to `sink`. `recovered` is called there with the number of lines that were dropped,
    /// once there is nothing left to write.
    ///
    /// # Errors
    /// If there can be no more threads.
    pub(super) fn start(
        name: &str,
        sink: impl Write + Send + 'static,
        recovered: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, entries) = sync_channel(QUEUED_LINES);
        let dropped = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            sink,
            entries,
            dropped: Arc::clone(&dropped),
            reported: 0,
            recovered,
        };
        let thread = thread::Builder::new().name(name.to_owned());
        thread.spawn(move || writer.run())?;
        Ok(Output { queue, dropped })
    }

    /// Writes a line, or drops it if there is no room.
    pub(super) fn write_line(&self, line: Vec<u8>) {
        if self.queue.try_send(Entry::Line(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many lines were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until what was written before is out, at most this long.
    pub(super) fn flush(&self, within: Duration) {
        let deadline = Instant::now() + within;
        let (done, is_done) = sync_channel(1);
        let mut entry = Entry::Flush(done);
        while let Err(TrySendError::Full(refused)) = self.queue.try_send(entry) {
            if Instant::now() >= deadline {
                return;
            }
            entry = refused;
            thread::sleep(LOOK_AGAIN);
        }
        // Nobody reads it where that takes longer.
        let _ = is_done.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

/// `tracing` writes each line as a whole.
impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_line(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread's own part.
struct Writer<S, R> {
    sink: S,
    entries: Receiver<Entry>,
    dropped: Arc<AtomicU64>,
    /// How many of the dropped lines were reported.
    reported: u64,
    recovered: R,
}

impl<S: Write, R: Fn(u64)> Writer<S, R> {
    fn run(mut self) {
        while let Some(entry) = self.next() {
            // A reader that has gone away cannot be told.
            match entry {
                Entry::Line(line) => drop(self.sink.write_all(&line)),
                Entry::Flush(done) => {
                    let _ = self.sink.flush();
                    let _ = done.send(());
                }
            }
        }
    }

    fn next(&mut self) -> Option<Entry> {
        match self.entries.try_recv() {
            Ok(entry) => return Some(entry),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => {}
        }
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped > self.reported {
            (self.recovered)(dropped - self.reported);
            self.reported = dropped;
        }
        self.entries.recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc::channel};

    use super::*;

    /// A pipe that takes a line whenever somebody reads one.
    struct Pipe {
        reads: Receiver<()>,
        written: Arc<Mutex<Vec<String>>>,
    }

    impl Write for Pipe {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.reads.recv().map_err(io::Error::other)?;
            let text = String::from_utf8(line.to_vec()).unwrap();
            self.written.lock().unwrap().push(text);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_pipe_that_nobody_reads_blocks_nobody_and_what_it_lost_is_counted() {
        let (read, reads) = channel();
        let (report, reports) = channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let pipe = Pipe {
            reads,
            written: Arc::clone(&written),
        };
        let recovered = move |lines| report.send(lines).unwrap();
        let output = Output::start("test", pipe, recovered).unwrap();
        let lines = QUEUED_LINES as u64 + 100;
        for number in 0..lines {
            output.write_line(format!("{number}\n").into_bytes());
        }
        // The thread may have taken one out of the queue.
        let dropped = output.dropped();
        assert!((99..=100).contains(&dropped), "{dropped}");
        output.flush(Duration::from_millis(20));
        for _ in 0..lines {
            read.send(()).unwrap();
        }
        assert_eq!(reports.recv().unwrap(), dropped);
        output.write_line(b"last\n".to_vec());
        output.flush(Duration::from_secs(10));
        let written = written.lock().unwrap();
        let kept = (lines - dropped) as usize;
        let expected = (0..kept).map(|number| format!("{number}\n"));
        assert!(written[..kept].iter().cloned().eq(expected));
        assert_eq!(written[kept..], ["last\n"]);
        assert_eq!(output.dropped(), dropped);
    }
}
