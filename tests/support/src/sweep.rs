//! Many runs of one test at different points: which points, and several at a time.
//!
//! A part of the points is tried by default, other ones each time, with the seed printed:
//! `SEWERTEST_SEED=<seed>` tries the same again. All of them, with their number printed:
//!
//! ```text
//! SEWERTEST_SWEEP=all cargo test --workspace --test 'power_*' -- --nocapture
//! SEWERTEST_SWEEP=all cargo test -p sewer-wal --test wal power_cut -- --nocapture
//! ```

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::random::Random;

/// Whether every point is to be tried and not a part of them: `SEWERTEST_SWEEP=all`.
pub fn is_complete() -> bool {
    std::env::var_os("SEWERTEST_SWEEP").is_some_and(|value| value == "all")
}

/// The points `1..=last` to try: every one if [`is_complete`], else every `nth`, from one by
/// chance.
pub fn points(last: u64, nth: u64, random: &mut Random) -> Vec<u64> {
    if is_complete() {
        return (1..=last).collect();
    }
    let nth = nth.max(1);
    (1 + random.below(nth)..=last).step_by(usize::try_from(nth).unwrap_or(usize::MAX)).collect()
}

/// Tries each item, as many at a time as there are processors, until one fails.
///
/// # Errors
/// What the first one said that failed.
///
/// # Panics
/// If `attempt` does.
pub fn each<T: Send>(
    items: impl IntoIterator<Item = T>,
    attempt: impl Fn(T) -> Result<(), String> + Sync,
) -> Result<(), String> {
    let waiting: Mutex<VecDeque<T>> = Mutex::new(items.into_iter().collect());
    let failed = Mutex::new(None);
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = next() {
                    if let Err(why) = attempt(item) {
                        waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
                        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        failed.get_or_insert(why);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn every_item_is_tried_and_a_failure_is_told() {
        let sum = AtomicU64::new(0);
        let add = |item| {
            sum.fetch_add(item, Ordering::Relaxed);
            if item == 7 { Err("seven".to_owned()) } else { Ok(()) }
        };
        assert_eq!(each(1..=6, add), Ok(()));
        assert_eq!(sum.load(Ordering::Relaxed), 21);
        assert_eq!(each([7], add), Err("seven".into()));
    }

    #[test]
    fn a_part_of_the_points_is_spread_over_all() {
        let found = points(100, 10, &mut Random::new(1));
        assert!(is_complete() || found.len() == 10, "{found:?}");
        assert!(found[0] >= 1 && found[found.len() - 1] <= 100);
    }
}
