//! Writes that are repeated until they land.

use std::time::Duration;

use tokio::time::sleep;

use super::AppendError;

/// The longest pause after the first try, and what later ones grow to.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Repeats a write, with growing pauses, until the store has taken or refused it, or `stop` is here. A try that is
/// under way then is waited for. The write must have the same effect however often it lands.
///
/// # Errors
/// [`AppendError::Broken`] and [`AppendError::TooLarge`], after which no try can succeed; after `stop`, that of the last
/// try.
pub async fn until_written<T, W>(
    mut write: impl FnMut() -> W,
    stop: impl Future<Output = ()>,
) -> Result<T, AppendError>
where
    W: Future<Output = Result<T, AppendError>>,
{
    tokio::pin!(stop);
    let mut longest = FIRST_PAUSE;
    loop {
        let error = match write().await {
            Err(error @ (AppendError::TooSlow | AppendError::Unavailable)) => error,
            written => return written,
        };
        // Half of it at least: a store that refuses at once is not asked all the time.
        let pause = longest.mul_f64(0.5 + 0.5 * fastrand::f64());
        tokio::select! {
            biased;
            () = &mut stop => return Err(error),
            () = sleep(pause) => {}
        }
        longest = (2 * longest).min(MAX_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        future::{pending, ready},
    };

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_write_is_repeated_until_it_lands_with_pauses_that_have_a_limit() {
        const FAILURES: u32 = 40;
        let tries = Cell::new(0);
        let start = Instant::now();
        let write = || {
            tries.set(tries.get() + 1);
            ready(if tries.get() > FAILURES {
                Ok(tries.get())
            } else {
                Err(AppendError::TooSlow)
            })
        };
        assert_eq!(until_written(write, pending()).await, Ok(FAILURES + 1));
        let waited = start.elapsed();
        assert!(
            MAX_PAUSE * FAILURES / 3 < waited && waited < MAX_PAUSE * FAILURES,
            "{waited:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_the_tries_and_a_broken_store_is_tried_once() {
        for (error, stop) in [
            (AppendError::Unavailable, true),
            (AppendError::Broken, false),
            (AppendError::TooLarge, false),
        ] {
            let tries = Cell::new(0);
            let write = || {
                tries.set(tries.get() + 1);
                ready(Err::<(), _>(error))
            };
            let stopped = async {
                if !stop {
                    pending::<()>().await;
                }
            };
            assert_eq!(until_written(write, stopped).await, Err(error));
            assert_eq!(tries.get(), 1);
        }
    }
}
