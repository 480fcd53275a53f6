//! Metrics made and registered in one step. Names, labels and buckets are constants of the caller.
//!
//! # Panics
//! All of them, if a name is malformed or registered twice: a mistake that every start would show.

use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

const VALID: &str = "names, labels and buckets are valid constants, each registered once";

fn registered<T: Collector + Clone + 'static>(registry: &Registry, metric: T) -> T {
    registry.register(Box::new(metric.clone())).expect(VALID);
    metric
}

/// A count that only grows.
#[must_use]
pub fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    registered(registry, IntCounter::new(name, help).expect(VALID))
}

/// Counts that only grow, told apart by labels.
#[must_use]
pub fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(registry, IntCounterVec::new(Opts::new(name, help), labels).expect(VALID))
}

/// A whole number that goes up and down.
#[must_use]
pub fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    registered(registry, IntGauge::new(name, help).expect(VALID))
}

/// Whole numbers that go up and down, told apart by labels. Without labels it is one number that
/// can be absent.
#[must_use]
pub fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    registered(registry, IntGaugeVec::new(Opts::new(name, help), labels).expect(VALID))
}

/// A number that goes up and down.
#[must_use]
pub fn float_gauge(registry: &Registry, name: &str, help: &str) -> Gauge {
    registered(registry, Gauge::new(name, help).expect(VALID))
}

/// How often something was how large: counts in buckets, each `factor` times as wide as the one
/// before it, the first up to `start`.
#[must_use]
pub fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    (start, factor, count): (f64, f64, usize),
) -> Histogram {
    let buckets = prometheus::exponential_buckets(start, factor, count).expect(VALID);
    let options = HistogramOpts::new(name, help).buckets(buckets);
    registered(registry, Histogram::with_opts(options).expect(VALID))
}
