//! What operators see of the wall clock's steps.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::gateway_time::Change;

/// The metrics of a clock.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    steps: Family<Labels, Counter>,
    pending: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    direction: &'static str,
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "clock_steps",
            "Steps of the wall clock by 5 minutes or more, by direction",
            self.steps.clone(),
        );
        registry.register(
            "clock_step_pending_seconds",
            "By how much the wall clock differs from gateway time, while that step is not followed; 0: they agree",
            self.pending.clone(),
        );
    }

    /// Counts and logs a change.
    pub(super) fn report(&self, change: Change) {
        match change {
            Change::Seen(step) => {
                let direction = if step.is_positive() {
                    "forward"
                } else {
                    "backward"
                };
                self.steps.get_or_create(&Labels { direction }).inc();
                self.pending.set(step.as_secs());
                tracing::warn!(
                    step_seconds = step.as_secs(),
                    "the wall clock differs from gateway time; it is not followed until the difference has stood for \
                     --clock-step-hold, or is accepted with `kora-gateway clock accept`"
                );
            }
            Change::Followed(step) => {
                self.pending.set(0);
                tracing::warn!(
                    step_seconds = step.as_secs(),
                    "gateway time follows the wall clock again"
                );
            }
            Change::Withdrawn => {
                self.pending.set(0);
                tracing::info!("the wall clock agrees with gateway time again");
            }
        }
    }
}
