//! The wait after a failure: exponential, jittered, capped, without a last attempt.

use std::time::Duration;

use crate::config::RetryConfig;

/// The waits of one chain of failures.
#[derive(Clone, Debug)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// A chain without a failure yet.
    pub fn new(config: &RetryConfig) -> Self {
        Self { initial: config.initial, max: config.max, failures: 0 }
    }

    /// The wait after another failure; where only a person can help, the longest one at once.
    ///
    /// Half of it is random, so that a fleet does not come back in step.
    pub fn after_failure(&mut self, needs_a_human: bool) -> Duration {
        let doubled = self.initial.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        let wait = if needs_a_human { self.max } else { doubled.min(self.max) };
        wait / 2 + (wait / 2).mul_f64(rand::random())
    }

    /// Something succeeded.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_begin_again_after_a_success() {
        let config = RetryConfig {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(8),
            ..RetryConfig::default()
        };
        let mut backoff = Backoff::new(&config);
        for whole in [1, 2, 4, 8, 8] {
            let wait = backoff.after_failure(false);
            let whole = Duration::from_secs(whole);
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
        }
        backoff.reset();
        assert!(backoff.after_failure(true) >= Duration::from_secs(4));
        backoff.reset();
        assert!(backoff.after_failure(false) <= Duration::from_secs(1));
    }

    #[test]
    fn a_long_outage_does_not_overflow() {
        let mut backoff = Backoff::new(&RetryConfig::default());
        for _ in 0..100 {
            assert!(backoff.after_failure(false) <= RetryConfig::default().max);
        }
    }
}
