//! Latencies as counts in buckets: they can be added up, and tell quantiles afterwards.

use serde::{Deserialize, Serialize};

/// The buckets of a histogram of commits: 50 µs, and 19 more, each up to twice as long: 26 s.
pub const BUCKETS: (f64, f64, usize) = (0.000_05, 2.0, 20);

/// The buckets, and one for what is longer than all of them.
const COUNTS: usize = BUCKETS.2 + 1;

/// How many latencies fell into each bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Latencies([u64; COUNTS]);

impl Latencies {
    /// From counts that each include those before, and the total, as Prometheus has them.
    pub fn from_cumulative(cumulative: impl Iterator<Item = u64>, total: u64) -> Self {
        let mut counts = [0; COUNTS];
        let mut before = 0;
        for (count, up_to) in counts.iter_mut().zip(cumulative.chain([total])) {
            *count = up_to.saturating_sub(before);
            before = before.max(up_to);
        }
        Self(counts)
    }

    /// What came since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut counts = self.0;
        counts
            .iter_mut()
            .zip(earlier.0)
            .for_each(|(count, was)| *count = count.saturating_sub(was));
        Self(counts)
    }

    /// Adds others.
    pub fn add(&mut self, others: &Self) {
        self.0
            .iter_mut()
            .zip(others.0)
            .for_each(|(count, more)| *count = count.saturating_add(more));
    }

    /// The latency in seconds that a share of them stays below, to the precision of the buckets;
    /// `None` if there are none.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // Buckets are coarser.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let total: u64 = self.0.iter().fold(0, |sum, count| sum.saturating_add(*count));
        if total == 0 {
            return None;
        }
        let rank = share * total as f64;
        let (mut below, mut lower, mut upper) = (0.0, 0.0, BUCKETS.0);
        for count in &self.0[..BUCKETS.2] {
            let count = *count as f64;
            if count > 0.0 && below + count >= rank {
                return Some(lower + (upper - lower) * ((rank - below) / count).clamp(0.0, 1.0));
            }
            below += count;
            lower = upper;
            upper *= BUCKETS.1;
        }
        Some(lower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_in_the_bucket_that_holds_them() {
        assert_eq!(Latencies::default().quantile(0.5), None);
        // 98 within 50 µs, 1 up to 100 µs, 1 beyond all.
        let cumulative = std::iter::once(98).chain(std::iter::repeat_n(99, 19));
        let some = Latencies::from_cumulative(cumulative, 100);
        let p50 = some.quantile(0.5).unwrap();
        assert!(p50 > 0.0 && p50 < 0.000_05, "{p50}");
        let p99 = some.quantile(0.99).unwrap();
        assert!((p99 - 0.0001).abs() < 1e-9, "{p99}");
        let most = some.quantile(1.0).unwrap();
        assert!(most > 26.0, "{most}");
    }

    #[test]
    fn what_came_since_and_what_was_before_add_up() {
        let before = Latencies::from_cumulative(std::iter::repeat_n(1, 20), 1);
        let after = Latencies::from_cumulative(std::iter::repeat_n(4, 20), 6);
        let mut sum = after.since(&before);
        sum.add(&before);
        assert_eq!(sum, after);
    }
}
