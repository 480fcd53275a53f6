//! Rates over the last minute, five minutes and hour, from what was counted at known moments.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::metrics::Totals;

/// The windows, with their names.
pub const WINDOWS: [(&str, Duration); 3] = [
    ("1m", Duration::from_mins(1)),
    ("5m", Duration::from_mins(5)),
    ("1h", Duration::from_hours(1)),
];

/// Totals at moments of the last hour. Bounded: the caller counts every few seconds.
#[derive(Debug)]
pub struct Rates(VecDeque<(Instant, Totals)>);

/// Per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Requests answered.
    pub requests: f64,
    /// Requests not answered 204.
    pub refused: f64,
    /// Events on stable storage.
    pub events: f64,
    /// Bytes appended to the WAL.
    pub bytes: f64,
}

impl Rates {
    /// Nothing has been counted at `start`.
    #[must_use]
    pub fn new(start: Instant) -> Self {
        Self([(start, Totals::default())].into())
    }

    /// Takes what has been counted until `now`.
    pub fn add(&mut self, now: Instant, totals: Totals) {
        let (_, longest) = WINDOWS[WINDOWS.len() - 1];
        // One that is older stays: the window reaches back to it.
        while self.0.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= longest) {
            self.0.pop_front();
        }
        self.0.push_back((now, totals));
    }

    /// The rates over the last `window`, or since the start if that is later.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // Rates are shown.
    pub fn over(&self, window: Duration) -> Rate {
        let Some((now, latest)) = self.0.back() else { return Rate::default() };
        let reaches_back = |(at, _): &&(Instant, Totals)| now.duration_since(*at) >= window;
        let base = self.0.iter().rev().find(reaches_back).or(self.0.front());
        let Some((since, earlier)) = base else { return Rate::default() };
        let seconds = now.duration_since(*since).as_secs_f64();
        if seconds <= 0.0 {
            return Rate::default();
        }
        let rate = |total: fn(&Totals) -> u64| {
            total(latest).saturating_sub(total(earlier)) as f64 / seconds
        };
        Rate {
            requests: rate(|totals| totals.requests),
            refused: rate(|totals| totals.refused),
            events: rate(|totals| totals.events),
            bytes: rate(|totals| totals.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_window_has_its_own_rate_and_memory_is_bounded() {
        let start = Instant::now();
        let mut rates = Rates::new(start);
        assert_eq!(rates.over(Duration::from_mins(1)), Rate::default());
        // Ten a second for two hours, then a hundred a second for a minute.
        let mut requests = 0;
        for second in (5..=7260).step_by(5) {
            requests += if second <= 7200 { 50 } else { 500 };
            let totals = Totals { requests, ..Totals::default() };
            rates.add(start + Duration::from_secs(second), totals);
        }
        let over = WINDOWS.map(|(_, window)| rates.over(window).requests.round());
        assert_eq!(over.map(|rate| rate.to_string()), ["100", "28", "12"]);
        assert!(rates.0.len() < 725, "{}", rates.0.len());
    }

    #[test]
    fn a_young_process_has_the_rate_since_its_start() {
        let start = Instant::now();
        let mut rates = Rates::new(start);
        rates.add(start + Duration::from_secs(10), Totals { events: 30, ..Totals::default() });
        assert!((rates.over(Duration::from_hours(1)).events - 3.0).abs() < 1e-9);
    }
}
