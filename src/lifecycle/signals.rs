//! SIGTERM and Ctrl-C: the first one drains, the second one stops at once. They act before anything is logged, or without
//! waiting for it: nobody may be reading the log.

use std::{io, process, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Shutdown;
use crate::telemetry;

/// The exit code of a gateway that a second signal stopped.
pub const STOPPED_AT_ONCE: i32 = 1;

/// How long a process that stops at once waits for its last lines to be written.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Listens for the signals from now on; the first gives the order to stop, the second ends the process.
///
/// # Errors
/// If the signals cannot be listened for.
pub fn stop_on_signals(shutdown: Shutdown) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        shutdown.start();
        tracing::info!("told to stop: draining");
        either(&mut terminate, &mut interrupt).await;
        tracing::warn!("told to stop again: stopping at once");
        telemetry::flush(LAST_WORDS);
        process::exit(STOPPED_AT_ONCE);
    });
    Ok(())
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
