//! Slices of several servers in turn, A B C A B C: what the machine does besides meets them all
//! alike. Ratios are between slices of the same round, and the median of these is what counts.

use serde_json::{Value, json};

use crate::report::{Outcome, ms};
use crate::servers::Slice;
use crate::settings::Settings;
use crate::stats::{decimal, median, thousands};

/// The slices of each server, by round. A server may have been left out of a round.
#[derive(Debug, Default)]
pub struct Slices {
    servers: Vec<(&'static str, Vec<Option<Slice>>)>,
}

impl Slices {
    /// Runs `turn` for every server in every round. The order moves on by one from round to round,
    /// so that nobody always comes after the same one.
    pub fn take<S>(
        servers: &mut [S],
        label: impl Fn(&S) -> &'static str,
        rounds: usize,
        mut turn: impl FnMut(usize, &mut S) -> Option<Slice>,
    ) -> Self {
        let mut all: Vec<_> = servers.iter().map(|s| (label(s), vec![None; rounds])).collect();
        for round in 0..rounds {
            for place in 0..servers.len() {
                let number = (round + place) % servers.len();
                all[number].1[round] = turn(round, &mut servers[number]);
            }
        }
        Self { servers: all }
    }

    /// The names of the servers that have slices.
    pub fn labels(&self) -> impl Iterator<Item = &'static str> {
        let with_slices = self.servers.iter().filter(|(_, all)| all.iter().any(Option::is_some));
        with_slices.map(|(label, _)| *label)
    }

    fn of(&self, label: &str) -> &[Option<Slice>] {
        let found = self.servers.iter().find(|(name, _)| *name == label);
        found.map_or(&[], |(_, slices)| slices)
    }

    /// A server's slices.
    pub fn all(&self, label: &str) -> impl Iterator<Item = &Slice> {
        self.of(label).iter().flatten()
    }

    /// A server's median of something.
    pub fn median(&self, label: &str, of: impl Fn(&Slice) -> f64) -> f64 {
        median(self.all(label).map(of))
    }

    /// The median of the ratios of two servers in the rounds that have both.
    pub fn ratio(&self, label: &str, to: &str, of: impl Fn(&Slice) -> f64) -> f64 {
        let pairs = self.of(label).iter().zip(self.of(to));
        median(pairs.filter_map(|(one, other)| Some(of(one.as_ref()?) / of(other.as_ref()?))))
    }

    /// The usual cells of a server: requests/s and its ratio, latencies, processor time and its
    /// ratio, and the time that the hypervisor took.
    pub fn cells(&self, label: &str, base: &str) -> Vec<String> {
        let rate = |slice: &Slice| slice.requests_per_second;
        let cpu = |slice: &Slice| slice.cpu_seconds_per_100k;
        vec![
            thousands(self.median(label, rate)),
            decimal(self.ratio(label, base, rate), 2),
            ms(self.median(label, |slice| slice.p50_ms)),
            ms(self.median(label, |slice| slice.p99_ms)),
            ms(self.median(label, |slice| slice.p999_ms)),
            decimal(self.median(label, cpu), 2),
            decimal(self.ratio(label, base, cpu), 2),
            decimal(self.median(label, |slice| slice.stolen * 100.0), 1),
        ]
    }

    /// The same with all slices, for programs.
    pub fn json(&self, base: &str) -> Value {
        let one = |label: &str| {
            json!({
                "requests_per_second": self.median(label, |slice| slice.requests_per_second),
                "requests_per_second_ratio": self.ratio(label, base, |slice| slice.requests_per_second),
                "p50_ms": self.median(label, |slice| slice.p50_ms),
                "p99_ms": self.median(label, |slice| slice.p99_ms),
                "p999_ms": self.median(label, |slice| slice.p999_ms),
                "max_ms": self.median(label, |slice| slice.max_ms),
                "cpu_seconds_per_100k": self.median(label, |slice| slice.cpu_seconds_per_100k),
                "stolen": self.median(label, |slice| slice.stolen),
                "load_idle": self.median(label, |slice| slice.load_idle),
                "cpu_ratio": self.ratio(label, base, |slice| slice.cpu_seconds_per_100k),
                "slices": self.of(label),
            })
        };
        self.labels().map(|label| (label.to_owned(), one(label))).collect()
    }
}

/// The heads of the usual cells.
pub const HEADS: [&str; 8] = [
    "requests/s",
    "ratio",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "CPU s per 100,000",
    "CPU ratio",
    "stolen %",
];

/// Runs `turn` once per round. A round that fails is a failure of the section, and left out.
pub fn rounds<T>(
    settings: &Settings,
    outcome: &mut Outcome,
    mut turn: impl FnMut() -> Result<T, String>,
) -> Vec<T> {
    let mut rounds = Vec::new();
    for _ in 0..settings.rounds {
        match turn() {
            Ok(round) => rounds.push(round),
            Err(why) => outcome.failures.push(why),
        }
    }
    rounds
}
