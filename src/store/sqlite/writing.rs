//! When the writer has a thread: while there is something to write, and a moment longer. A gateway can have a thousand
//! logs, most of them quiet, and a thread costs much more memory than a task that waits.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime,
    sync::{
        mpsc::{self, error::TryRecvError},
        oneshot,
    },
    time::{sleep, timeout},
};

use super::{
    queue::{Command, gather, refuse},
    writer::{RECOVERY_PAUSE, Writer},
};
use crate::store::AppendError;

/// How long a thread waits for more before it ends.
const LINGER: Duration = Duration::from_secs(1);

/// The shortest and the longest time between two rounds of maintenance of a log that is well, whether it is written to or
/// not.
const MIN_IDLE: Duration = Duration::from_secs(1);
const MAX_IDLE: Duration = Duration::from_secs(60);

/// In between, it is such a part of the time for which anything is kept.
const IDLE_PART: u32 = 1000;

/// What is handed from the task to a thread and back.
struct Work {
    writer: Writer,
    commands: mpsc::Receiver<Command>,
    /// The pause between two rounds of maintenance while all is well.
    idle: Duration,
    last_maintenance: Instant,
}

/// Writes until it is closed or nobody is left to ask.
pub(super) async fn write_until_closed(
    writer: Writer,
    commands: mpsc::Receiver<Command>,
    kept_for: Duration,
) {
    let idle = (kept_for / IDLE_PART).clamp(MIN_IDLE, MAX_IDLE);
    let mut work = Work {
        last_maintenance: Instant::now(),
        writer,
        commands,
        idle,
    };
    loop {
        let first = work.next().await;
        match on_thread(work, first).await {
            Some(idle) => work = idle,
            None => return,
        }
    }
}

impl Work {
    /// What to do next.
    async fn next(&mut self) -> Command {
        let pause = self.writer.maintenance_pause(self.idle);
        let until = pause.saturating_sub(self.last_maintenance.elapsed());
        let mut writable = self.writer.writable();
        let quiet = async {
            let unwritable = writable.wait_for(|is_writable| !*is_writable);
            // A log that cannot write is looked after soon, whoever found that out.
            let _ = timeout(until.saturating_sub(RECOVERY_PAUSE), unwritable).await;
            sleep(RECOVERY_PAUSE).await;
        };
        tokio::select! {
            biased;
            command = self.commands.recv() => command.unwrap_or(Command::Close),
            () = quiet => Command::LookAfter,
        }
    }

    /// Does this, and what comes right after it; none if nobody asks for anything any more. Blocks.
    fn run(mut self, first: Command) -> Option<Work> {
        let waiting = runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime with nothing but a timer needs nothing of the system");
        let mut next = first;
        loop {
            let has_more = match next {
                Command::Write(first) => {
                    let (batch, is_last) = gather(*first, &mut self.commands);
                    let has_more = self.writer.write(batch);
                    if is_last {
                        break;
                    }
                    // Writes that keep coming do not put it off.
                    if self.is_maintenance_due() {
                        self.maintain()
                    } else {
                        has_more
                    }
                }
                Command::LookAfter => self.maintain(),
                Command::Close => break,
            };
            // Between two steps of maintenance comes whatever waits.
            next = match self.commands.try_recv() {
                Ok(command) => command,
                Err(TryRecvError::Disconnected) => Command::Close,
                Err(TryRecvError::Empty) if has_more => Command::LookAfter,
                Err(TryRecvError::Empty) => {
                    let more = async { timeout(LINGER, self.commands.recv()).await };
                    match waiting.block_on(more) {
                        Ok(command) => command.unwrap_or(Command::Close),
                        Err(_) => return Some(self),
                    }
                }
            };
        }
        self.writer.close();
        None
    }

    fn is_maintenance_due(&self) -> bool {
        self.last_maintenance.elapsed() >= self.writer.maintenance_pause(self.idle)
    }

    /// One step. Returns whether there is more to do at once.
    fn maintain(&mut self) -> bool {
        let has_more = self.writer.maintain();
        self.last_maintenance = Instant::now();
        has_more
    }
}

/// Runs it on a thread of its own: a disk that hangs holds up nothing else. None if it is over, also by a panic, which was
/// reported and has said that nobody writes any more.
async fn on_thread(work: Work, first: Command) -> Option<Work> {
    let (ended, rest) = oneshot::channel();
    // Where the system has no thread for it, it must not be lost.
    let handed = Arc::new(Mutex::new(Some((work, first, ended))));
    let taken = Arc::clone(&handed);
    let take = |handed: &Mutex<Option<_>>| {
        let mut handed = handed.lock().unwrap_or_else(PoisonError::into_inner);
        handed.take()
    };
    let spawned = thread::Builder::new()
        .name("event-log-writer".to_owned())
        .spawn(move || {
            if let Some((work, first, ended)) = take(&taken) {
                // Whoever waited for it is gone when the whole gateway is.
                let _ = ended.send(Work::run(work, first));
            }
        });
    match spawned {
        Ok(_) => rest.await.ok().flatten(),
        Err(error) => {
            let (work, first, _) = take(&handed)?;
            without_thread(work, first, &error).await
        }
    }
}

/// Refuses what cannot be done now. A log can be closed all the same: what is left over is read at the next start.
async fn without_thread(work: Work, first: Command, error: &io::Error) -> Option<Work> {
    work.writer.has_no_thread(error);
    match first {
        Command::Write(write) => refuse([write.answer].into_iter(), AppendError::Unavailable),
        Command::LookAfter => {}
        Command::Close => return None,
    }
    sleep(MIN_IDLE).await;
    Some(work)
}
