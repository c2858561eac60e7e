//! What operators see of the budget. Read from the pools when it is asked for.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use super::Pool;

#[derive(Debug)]
struct Pools(Vec<Pool>);

#[derive(Clone, Debug, EncodeLabelSet)]
struct Labels {
    pool: &'static str,
}

pub(super) fn register(pools: Vec<Pool>, registry: &mut Registry) {
    registry.register_collector(Box::new(Pools(pools)));
}

impl Collector for Pools {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.gauge(
            &mut encoder,
            "memory_budget_bytes",
            "The size of each pool of the memory budget",
            Pool::size,
        )?;
        self.gauge(
            &mut encoder,
            "memory_used_bytes",
            "How much of each pool of the memory budget is charged",
            Pool::used,
        )?;
        self.counter(
            &mut encoder,
            "memory_waits",
            "Charges that had to wait until a pool of the memory budget had room",
            Pool::waits,
        )?;
        self.counter(
            &mut encoder,
            "memory_refusals",
            "What was refused because a pool of the memory budget had no room in time",
            Pool::refusals,
        )
    }
}

impl Pools {
    fn gauge(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&Pool) -> usize,
    ) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for pool in &self.0 {
            let labels = Labels { pool: pool.name() };
            let value = i64::try_from(value(pool)).unwrap_or(i64::MAX);
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn counter(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&Pool) -> u64,
    ) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for pool in &self.0 {
            let labels = Labels { pool: pool.name() };
            ConstCounter::new(value(pool)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
