//! The node's last three days in memory: rings of points in four resolutions, which the dashboard
//! draws. A point sums up what was seen in its span, so that it can be added to, also after a
//! restart.
//!
//! ```text
//! 60 points of 1 min · 48 of 5 min · 96 of 15 min · 72 of 1 h
//! ```
//! Invariants of a ring: times are multiples of its step and rise; at most its length of them.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::metrics::latency::Latencies;

/// The step of each ring in seconds, and how many points it holds.
pub const RESOLUTIONS: [(i64, usize); 4] = [(60, 60), (300, 48), (900, 96), (3600, 72)];

/// What was seen in a span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// When the span begins, in seconds since the Unix epoch.
    pub at_s: i64,
    /// How much of it was watched.
    pub watched_s: f64,
    /// Requests answered, however.
    pub requests: u64,
    /// Those that were not answered 204.
    pub refused: u64,
    /// How long commits took.
    pub commits: Latencies,
    /// The largest backlog.
    pub backlog_bytes: u64,
    /// The longest lag in seconds.
    pub lag_s: f64,
    /// The least free space on the WAL's file system.
    pub free_bytes: u64,
}

impl Point {
    fn add(&mut self, more: &Self) {
        self.watched_s += more.watched_s;
        self.requests = self.requests.saturating_add(more.requests);
        self.refused = self.refused.saturating_add(more.refused);
        self.commits.add(&more.commits);
        self.backlog_bytes = self.backlog_bytes.max(more.backlog_bytes);
        self.lag_s = self.lag_s.max(more.lag_s);
        self.free_bytes = self.free_bytes.min(more.free_bytes);
    }

    /// A count of this point per second.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // It is drawn.
    pub fn per_second(&self, count: u64) -> Option<f64> {
        (self.watched_s > 0.0).then(|| count as f64 / self.watched_s)
    }
}

/// Points of one resolution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ring {
    step_s: i64,
    points: VecDeque<Point>,
}

impl Ring {
    /// The span of a point in seconds.
    #[must_use]
    pub const fn step_s(&self) -> i64 {
        self.step_s
    }

    /// Its points of the time before `now_s`, oldest first, none older than the ring is long.
    pub fn points(&self, now_s: i64) -> impl Iterator<Item = &Point> {
        let oldest = self.oldest(now_s);
        self.points.iter().filter(move |point| point.at_s >= oldest && point.at_s <= now_s)
    }

    fn length(&self) -> usize {
        RESOLUTIONS
            .iter()
            .find(|(step_s, _)| *step_s == self.step_s)
            .map_or(0, |(_, length)| *length)
    }

    /// The time of the oldest point that the ring has room for.
    fn oldest(&self, now_s: i64) -> i64 {
        let spans = i64::try_from(self.length()).unwrap_or(i64::MAX) - 1;
        now_s.div_euclid(self.step_s) * self.step_s - spans * self.step_s
    }

    fn add(&mut self, seen: &Point) {
        let at_s = seen.at_s.div_euclid(self.step_s) * self.step_s;
        // After the clock was set back, what it said before is not known to be true.
        while self.points.back().is_some_and(|last| last.at_s > at_s) {
            self.points.pop_back();
        }
        match self.points.back_mut() {
            Some(last) if last.at_s == at_s => last.add(seen),
            _ => self.points.push_back(Point { at_s, ..*seen }),
        }
        let oldest = self.oldest(seen.at_s);
        while self.points.front().is_some_and(|first| first.at_s < oldest) {
            self.points.pop_front();
        }
    }

    fn is_sound(&self, (step_s, length): (i64, usize)) -> bool {
        let rises = |pair: (&Point, &Point)| pair.0.at_s < pair.1.at_s;
        let is_sound = |point: &Point| {
            point.at_s % step_s == 0
                && [point.watched_s, point.lag_s].iter().all(|s| s.is_finite() && *s >= 0.0)
        };
        self.step_s == step_s
            && self.points.len() <= length
            && self.points.iter().all(is_sound)
            && self.points.iter().zip(self.points.iter().skip(1)).all(rises)
    }
}

/// All rings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct History([Ring; RESOLUTIONS.len()]);

impl Default for History {
    fn default() -> Self {
        Self(RESOLUTIONS.map(|(step_s, _)| Ring { step_s, points: VecDeque::new() }))
    }
}

impl History {
    /// Takes what was seen since the last call; `seen.at_s` is the time now.
    pub fn add(&mut self, seen: &Point) {
        self.0.iter_mut().for_each(|ring| ring.add(seen));
    }

    /// The rings, the finest first.
    #[must_use]
    pub fn rings(&self) -> &[Ring] {
        &self.0
    }

    /// Whether the invariants hold, for what was read from a file.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.0.iter().zip(RESOLUTIONS).all(|(ring, resolution)| ring.is_sound(resolution))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(at_s: i64) -> Point {
        Point { at_s, watched_s: 30.0, requests: 60, free_bytes: 7, ..Point::default() }
    }

    fn times(history: &History, ring: usize, now_s: i64) -> Vec<i64> {
        history.rings()[ring].points(now_s).map(|point| point.at_s).collect()
    }

    #[test]
    fn a_point_sums_up_its_span_in_every_resolution() {
        let mut history = History::default();
        for at_s in [7200, 7230, 7260] {
            history.add(&seen(at_s));
        }
        assert_eq!(times(&history, 0, 7260), [7200, 7260]);
        assert_eq!(times(&history, 3, 7260), [7200]);
        let hour = history.rings()[3].points(7260).next().unwrap();
        assert_eq!((hour.requests, hour.free_bytes), (180, 7));
        assert_eq!(hour.per_second(hour.requests), Some(2.0));
        assert_eq!(Point::default().per_second(0), None);
        assert!(history.is_sound());
    }

    #[test]
    fn rings_hold_their_length_and_forget_what_is_older() {
        let mut history = History::default();
        let days = 5 * 24 * 3600;
        for at_s in (0..days).step_by(30) {
            history.add(&seen(at_s));
        }
        for (ring, (step_s, length)) in RESOLUTIONS.into_iter().enumerate() {
            let times = times(&history, ring, days - 1);
            assert_eq!(times.len(), length, "{step_s}");
            assert_eq!(times.last(), Some(&(days - step_s)));
        }
        assert!(history.is_sound());
        // After a day off, the last hour is empty and three days ago is still there.
        let later = days + 24 * 3600;
        assert_eq!(times(&history, 0, later), [0; 0]);
        assert_eq!(times(&history, 3, later).len(), 47);
    }

    #[test]
    fn a_clock_that_is_set_back_takes_the_future_with_it() {
        let mut history = History::default();
        history.add(&seen(72_000));
        history.add(&seen(3600));
        assert_eq!(times(&history, 0, 3600), [3600]);
        assert!(history.is_sound());
    }
}
