//! Signals. The first of those that stop drains, the second one stops at once; a server has others of its own. They act before
//! anything is logged, or without waiting for it: nobody may be reading the log.

use std::{io, process, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Reload, Shutdown};
use crate::telemetry;

/// The exit code of a gateway that a second signal stopped.
pub const STOPPED_AT_ONCE: i32 = 1;

/// The signals that stop a program.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    /// A server's alone; a program at a terminal ends on it with a core dump, as users expect.
    quit: Option<Signal>,
}

/// How long a process that stops at once waits for its last lines to be written.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Listens for SIGTERM and SIGINT from now on; the first gives the order to stop, the second ends the process. Other
/// signals keep their default action.
///
/// # Errors
/// If the signals cannot be listened for.
pub fn stop_on_signals(shutdown: Shutdown) -> io::Result<()> {
    StopSignals::new(None)?.spawn(shutdown);
    Ok(())
}

/// Listens for the signals of a server from now on: SIGTERM, SIGINT and SIGQUIT stop as in [`stop_on_signals`], and SIGHUP
/// requests a reload. SIGUSR1, SIGUSR2 and SIGALRM, which would end the process, are ignored.
///
/// # Errors
/// If the signals cannot be listened for.
pub fn serve_signals(shutdown: Shutdown) -> io::Result<Reload> {
    let mut hangup = signal(SignalKind::hangup())?;
    for ignored in [
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
        SignalKind::alarm(),
    ] {
        // The handler stays for as long as the process, whoever listens.
        drop(signal(ignored)?);
    }
    StopSignals::new(Some(signal(SignalKind::quit())?))?.spawn(shutdown);
    let reload = Reload::default();
    let requested = reload.clone();
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            requested.request();
        }
    });
    Ok(reload)
}

impl StopSignals {
    fn new(quit: Option<Signal>) -> io::Result<Self> {
        Ok(StopSignals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit,
        })
    }

    fn spawn(mut self, shutdown: Shutdown) {
        tokio::spawn(async move {
            let name = self.next().await;
            shutdown.start();
            tracing::info!("{name} received: draining");
            let name = self.next().await;
            tracing::warn!("{name} received while draining: stopping at once");
            telemetry::flush(LAST_WORDS);
            process::exit(STOPPED_AT_ONCE);
        });
    }

    /// Waits for one of them, and tells its name.
    async fn next(&mut self) -> &'static str {
        let quit = async {
            match &mut self.quit {
                Some(quit) => quit.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = quit => "SIGQUIT",
        }
    }
}
