//! When the writer has a thread: while there is something to write, and a moment longer. A gateway can have a thousand
//! logs, most of them quiet, and a thread costs much more memory than a task that waits.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tokio::{
    runtime::{self, Runtime},
    sync::{
        mpsc::{self, error::TryRecvError},
        oneshot,
    },
    time::{sleep, timeout},
};

use super::{
    backup::{Copying, Target},
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
    connection: Connection,
    duties: Duties,
}

/// All of it but the connection, which a backup borrows while the duties go on.
struct Duties {
    writer: Writer,
    commands: mpsc::Receiver<Command>,
    /// The pause between two rounds of maintenance while all is well.
    idle: Duration,
    last_maintenance: Instant,
}

/// What to do after a command.
enum Then {
    Do(Command),
    /// There is maintenance to go on with.
    Maintain,
    Wait,
}

/// Writes until it is closed or nobody is left to ask.
pub(super) async fn write_until_closed(
    writer: Writer,
    connection: Connection,
    commands: mpsc::Receiver<Command>,
    kept_for: Duration,
) {
    let idle = (kept_for / IDLE_PART).clamp(MIN_IDLE, MAX_IDLE);
    let duties = Duties {
        last_maintenance: Instant::now(),
        writer,
        commands,
        idle,
    };
    let mut work = Work { connection, duties };
    loop {
        let first = work.duties.next().await;
        match on_thread(work, first).await {
            Some(idle) => work = idle,
            None => return,
        }
    }
}

impl Work {
    /// Does this, and what comes right after it; none if nobody asks for anything any more. Blocks.
    fn run(mut self, first: Command) -> Option<Work> {
        let waiting = runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime with nothing but a timer needs nothing of the system");
        let mut next = first;
        loop {
            let then = match next {
                Command::Close => break,
                Command::BackUp(target) => self.back_up(*target, &waiting),
                other => self.duties.perform(&self.connection, other),
            };
            let commands = &mut self.duties.commands;
            // Between two steps of maintenance comes whatever waits.
            next = match then {
                Then::Do(command) => command,
                Then::Maintain | Then::Wait => match commands.try_recv() {
                    Ok(command) => command,
                    Err(TryRecvError::Disconnected) => Command::Close,
                    Err(TryRecvError::Empty) if matches!(then, Then::Maintain) => {
                        Command::LookAfter
                    }
                    Err(TryRecvError::Empty) => {
                        let more = async { timeout(LINGER, commands.recv()).await };
                        match waiting.block_on(more) {
                            Ok(command) => command.unwrap_or(Command::Close),
                            Err(_) => return Some(self),
                        }
                    }
                },
            };
        }
        self.duties.writer.close(&self.connection);
        None
    }

    /// Copies the log, a bounded step at a time, and performs between the steps whatever else is asked for. SQLite brings
    /// the copy up to date with each commit, because both use the one connection.
    fn back_up(&mut self, mut target: Target, waiting: &Runtime) -> Then {
        let Work { connection, duties } = self;
        let mut copying = match Copying::begin(connection, &mut target) {
            Ok(copying) => copying,
            Err(given_up) => {
                given_up.report();
                return Then::Wait;
            }
        };
        loop {
            let pause = duties.writer.maintenance_pause(duties.idle);
            let until = pause.saturating_sub(duties.last_maintenance.elapsed());
            let commands = &mut duties.commands;
            // Which of them comes first is random, so that neither starves.
            let next = waiting.block_on(async {
                tokio::select! {
                    command = commands.recv() => Some(command.unwrap_or(Command::Close)),
                    () = copying.is_wanted() => None,
                    () = sleep(until) => Some(Command::LookAfter),
                }
            });
            let then = match next {
                None => {
                    if copying.step() {
                        continue;
                    }
                    return Then::Wait;
                }
                Some(Command::Close) => return Then::Do(Command::Close),
                // Its sender sees that nobody reports.
                Some(Command::BackUp(_)) => continue,
                Some(other) => duties.perform(connection, other),
            };
            match then {
                Then::Do(Command::Close) => return then,
                Then::Do(Command::LookAfter) | Then::Maintain => {
                    duties.maintain(connection);
                }
                Then::Do(Command::Write(_) | Command::BackUp(_)) | Then::Wait => {}
            }
        }
    }
}

impl Duties {
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

    /// Writes this and what waits behind it, or looks after the log.
    fn perform(&mut self, connection: &Connection, command: Command) -> Then {
        let has_more = match command {
            Command::Write(first) => {
                let (batch, next) = gather(*first, &mut self.commands);
                let has_more = self.writer.write(connection, batch);
                if let Some(next) = next {
                    return Then::Do(next);
                }
                // Writes that keep coming do not put it off.
                if self.is_maintenance_due() {
                    self.maintain(connection)
                } else {
                    has_more
                }
            }
            Command::LookAfter => self.maintain(connection),
            other @ (Command::BackUp(_) | Command::Close) => return Then::Do(other),
        };
        if has_more { Then::Maintain } else { Then::Wait }
    }

    fn is_maintenance_due(&self) -> bool {
        self.last_maintenance.elapsed() >= self.writer.maintenance_pause(self.idle)
    }

    /// One step. Returns whether there is more to do at once.
    fn maintain(&mut self, connection: &Connection) -> bool {
        let has_more = self.writer.maintain(connection);
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
    work.duties.writer.has_no_thread(error);
    match first {
        Command::Write(write) => refuse([write.answer].into_iter(), AppendError::Unavailable),
        // Whoever wants a backup sees that nobody reports.
        Command::LookAfter | Command::BackUp(_) => {}
        Command::Close => return None,
    }
    sleep(MIN_IDLE).await;
    Some(work)
}
