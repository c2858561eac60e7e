//! Bounds how many log lines strangers can cause.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Instant, sleep_until},
};

/// How many lines are written in one window; the others are counted.
const LINES: u32 = 20;

/// How long a window is.
const WINDOW: Duration = Duration::from_secs(10);

/// The limit of one kind of log line. What it leaves out is counted, and the count is logged when the window ends.
#[derive(Debug)]
pub struct Throttle {
    /// What the lines say, for the line that counts those that were left out.
    what: &'static str,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    /// `None` before the first line.
    start: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl Throttle {
    /// The limit of lines that say this.
    pub const fn new(what: &'static str) -> Self {
        Throttle {
            what,
            window: Mutex::new(Window {
                start: None,
                written: 0,
                left_out: 0,
            }),
        }
    }

    /// Whether a line may be written now. If not, it is counted.
    pub fn allows(&'static self) -> bool {
        let mut window = self.window();
        let now = Instant::now();
        let start = match window.start {
            Some(start) if now.duration_since(start) < WINDOW => start,
            _ => {
                window.written = 0;
                *window.start.insert(now)
            }
        };
        if window.written < LINES {
            window.written += 1;
            return true;
        }
        window.left_out += 1;
        if window.left_out == 1
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(self.report_at(start + WINDOW));
        }
        false
    }

    async fn report_at(&self, end: Instant) {
        sleep_until(end).await;
        let lines = std::mem::take(&mut self.window().left_out);
        tracing::info!(lines, what = self.what, "lines were left out of the log");
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_lines_are_allowed_in_each_window_and_the_others_are_counted() {
        static THROTTLE: Throttle = Throttle::new("test");
        let allowed = |lines: u32| (0..lines).filter(|_| THROTTLE.allows()).count() as u32;
        assert_eq!(allowed(LINES + 5), LINES);
        sleep(WINDOW / 2).await;
        assert_eq!(allowed(1), 0);
        assert_eq!(THROTTLE.window().left_out, 6);
        sleep(WINDOW).await;
        assert_eq!(THROTTLE.window().left_out, 0);
        assert_eq!(allowed(LINES + 1), LINES);
    }
}
