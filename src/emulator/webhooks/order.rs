//! Deliveries change places with their neighbours when disorder is wanted.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long a delivery lets the next one pass, where none comes.
const MAX_HOLD: Duration = Duration::from_secs(2);

/// The deliveries that let the next one pass, by their subscription.
#[derive(Debug, Default)]
pub(super) struct Order {
    held: HashMap<String, oneshot::Sender<()>>,
}

/// When a delivery may begin.
#[derive(Debug)]
pub(super) enum Turn {
    AtOnce,
    /// At once, and another one may begin when this is dropped.
    Before {
        _other: oneshot::Sender<()>,
    },
    /// After the one that comes next, or after [`MAX_HOLD`].
    After(oneshot::Receiver<()>),
}

impl Order {
    /// The turn of the next delivery to this subscription: of two, the first one goes second.
    pub(super) fn next(&mut self, subscription_id: &str) -> Turn {
        match self.held.remove(subscription_id) {
            Some(other) if !other.is_closed() => Turn::Before { _other: other },
            _ => {
                let (other, passed) = oneshot::channel();
                self.held.insert(subscription_id.to_owned(), other);
                Turn::After(passed)
            }
        }
    }
}

impl Turn {
    /// Waits until the delivery may begin.
    pub(super) async fn come(&mut self) {
        if let Self::After(passed) = self {
            // Passed by another one, released, or tired of waiting: it goes.
            let _ = timeout(MAX_HOLD, passed).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_two_deliveries_the_first_goes_second() {
        let mut order = Order::default();
        let mut first = order.next("a");
        assert!(matches!(order.next("b"), Turn::After(_)));
        let second = order.next("a");
        assert!(matches!(second, Turn::Before { .. }));
        let waiting = tokio::spawn(async move { first.come().await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(second);
        waiting.await.unwrap();
        assert!(matches!(order.next("a"), Turn::After(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_delivery_that_nothing_follows_goes_after_all() {
        let mut order = Order::default();
        let mut first = order.next("a");
        first.come().await;
        drop(first);
        assert!(matches!(order.next("a"), Turn::After(_)));
    }
}
