//! How long to wait after a failure: exponential with jitter, capped, for ever.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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

/// The chain of failures of one destination, shared by all shipments that go there: while one
/// waits, the failures of the others are the same trouble and do not make the waits longer.
#[derive(Debug)]
pub struct SharedBackoff(Mutex<Shared>);

#[derive(Debug)]
struct Shared {
    backoff: Backoff,
    next_try: Option<Instant>,
}

impl SharedBackoff {
    /// A chain without a failure yet.
    pub fn new(config: &RetryConfig) -> Self {
        Self(Mutex::new(Shared { backoff: Backoff::new(config), next_try: None }))
    }

    /// How long the shipment that failed now waits.
    pub fn after_failure(&self) -> Duration {
        let mut shared = self.lock();
        let now = Instant::now();
        match shared.next_try {
            Some(next_try) if next_try > now => next_try - now,
            _ => {
                let wait = shared.backoff.after_failure(false);
                shared.next_try = Some(now + wait);
                wait
            }
        }
    }

    /// Something succeeded.
    pub fn reset(&self) {
        let mut shared = self.lock();
        shared.backoff.reset();
        shared.next_try = None;
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Every state of it is a good one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn shipments_that_fail_together_fail_once() {
        let config = RetryConfig { initial: Duration::from_secs(4), ..RetryConfig::default() };
        let shared = SharedBackoff::new(&config);
        let first = shared.after_failure();
        for _ in 0..10 {
            assert!(shared.after_failure() <= first, "the others wait for the same moment");
        }
        shared.reset();
        assert!(shared.after_failure() <= config.initial);
    }
}
