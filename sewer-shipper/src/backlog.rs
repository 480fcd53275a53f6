//! What is sealed and not yet shipped, oldest first, and which run of it is due.
//!
//! What is in `sealed/` and cannot be shipped is set aside: it is reported, left where it is, and
//! looked at again now and then, while the rest is shipped.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sewer_wal::footer::Footer;
use sewer_wal::sealed::{self, SealedSegment};
use sewer_wal::{Layout, Lsn, LsnRange, WalError, WalId};

use crate::config::RollConfig;

/// How often what was set aside is looked at again.
const ASIDE_RECHECK: Duration = Duration::from_mins(1);
/// How often the log tells of it while nothing changes.
const ASIDE_REPORT: Duration = Duration::from_hours(1);

/// A sealed segment that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its first LSN, by its name.
    pub base: Lsn,
    /// Its size in bytes.
    pub bytes: u64,
    /// What it says of itself; `None` if the footer is damaged.
    pub footer: Option<Footer>,
    /// When it was first seen, for the age of segments whose timestamps lie in the future.
    seen: Instant,
}

/// The oldest run of segments that make a shipment.
#[derive(Debug, Default)]
struct Run {
    segments: Vec<Waiting>,
    /// Whether what follows does not fit or does not join, so that waiting makes it no larger.
    is_full: bool,
}

impl Waiting {
    /// Its LSNs, as far as the footer tells.
    pub fn range(&self) -> LsnRange {
        self.footer.map_or(LsnRange::new(self.base, 0), |footer| footer.range())
    }

    /// How long its oldest event has waited.
    fn age(&self, now_ms: i64) -> Duration {
        let since_event =
            self.footer.map_or(0, |footer| now_ms.saturating_sub(footer.first_timestamp_ms));
        let since_event = Duration::from_millis(u64::try_from(since_event).unwrap_or(0));
        since_event.max(self.seen.elapsed())
    }

    /// Whether its last event came before `boundary_ms`, a moment of the clock. One without a
    /// footer, or from a clock that was ahead, counts once it has been here for `period`.
    fn ended_before(&self, boundary_ms: i64, period: Duration) -> bool {
        self.footer.is_some_and(|footer| footer.last_timestamp_ms < boundary_ms)
            || self.seen.elapsed() >= period
    }
}

/// The figures of the backlog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many segments wait.
    pub segments: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Their events.
    pub events: u64,
    /// The timestamp of the oldest event, in milliseconds since the Unix epoch.
    pub oldest_ms: Option<i64>,
    /// What was set aside; not among the segments above.
    pub set_aside: u64,
}

/// Something in `sealed/` that is not shipped.
#[derive(Debug)]
struct Aside {
    problem: String,
    looked: Instant,
    reported: Instant,
}

/// The sealed segments of one WAL. Footers are read once.
#[derive(Debug)]
pub struct Backlog {
    layout: Layout,
    wal_id: WalId,
    segments: BTreeMap<Lsn, Waiting>,
    aside: BTreeMap<PathBuf, Aside>,
}

impl Backlog {
    /// An empty backlog; [`Self::refresh`] fills it.
    pub fn new(layout: Layout, wal_id: WalId) -> Self {
        Self { layout, wal_id, segments: BTreeMap::new(), aside: BTreeMap::new() }
    }

    /// Looks at the directory again.
    ///
    /// # Errors
    /// If it cannot be listed. What cannot be shipped is no error; see [`Self::set_aside`].
    pub fn refresh(&mut self) -> Result<(), WalError> {
        let found = sealed::list(&self.layout)?;
        let strangers = self.layout.strangers_in_sealed()?;
        let bases: BTreeSet<_> = found.iter().map(|segment| segment.base).collect();
        let paths: BTreeSet<_> =
            found.iter().map(|segment| &segment.path).chain(&strangers).cloned().collect();
        self.segments.retain(|base, _| bases.contains(base));
        self.aside.retain(|path, _| paths.contains(path));
        for segment in found {
            if !self.segments.contains_key(&segment.base) && self.is_to_be_looked_at(&segment.path)
            {
                self.look_at(segment);
            }
        }
        for path in strangers {
            let problem = WalError::Stranger { path: path.clone() }.to_string();
            self.set_path_aside(path, problem);
        }
        Ok(())
    }

    fn is_to_be_looked_at(&self, path: &PathBuf) -> bool {
        self.aside.get(path).is_none_or(|aside| aside.looked.elapsed() >= ASIDE_RECHECK)
    }

    fn look_at(&mut self, segment: SealedSegment) {
        match sealed::inspect(&segment, self.wal_id) {
            Ok(footer) => {
                let (base, bytes) = (segment.base, segment.bytes);
                self.segments.insert(base, Waiting { base, bytes, footer, seen: Instant::now() });
                self.aside.remove(&segment.path);
            }
            Err(e) if e.is_not_found() => {}
            Err(e) => self.set_path_aside(segment.path, e.to_string()),
        }
    }

    /// Leaves a segment out until it is looked at again, since it cannot be read to its end.
    pub fn set_aside(&mut self, base: Lsn, problem: String) {
        self.segments.remove(&base);
        self.set_path_aside(self.layout.sealed_file(base), problem);
    }

    fn set_path_aside(&mut self, path: PathBuf, problem: String) {
        let now = Instant::now();
        let known = self.aside.get(&path).filter(|aside| {
            aside.problem == problem && now.duration_since(aside.reported) < ASIDE_REPORT
        });
        let reported = known.map_or(now, |aside| aside.reported);
        if known.is_none() {
            tracing::error!(path = %path.display(), "not shipped: {problem}");
        }
        self.aside.insert(path, Aside { problem, looked: now, reported });
    }

    /// What is in `sealed/` and not shipped, and why.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.aside.values().map(|aside| aside.problem.as_str())
    }

    /// The figures now.
    pub fn totals(&self) -> Totals {
        let segments = self.segments.values();
        Totals {
            segments: self.segments.len() as u64,
            bytes: segments.clone().map(|segment| segment.bytes).sum(),
            events: segments.clone().map(|segment| segment.range().count()).sum(),
            set_aside: self.aside.len() as u64,
            oldest_ms: segments
                .filter_map(|segment| segment.footer)
                .map(|footer| footer.first_timestamp_ms)
                .min(),
        }
    }

    /// The segments that no shipment has yet.
    fn unclaimed<'a>(&'a self, claimed: &'a BTreeSet<Lsn>) -> impl Iterator<Item = &'a Waiting> {
        self.segments.values().filter(|segment| !claimed.contains(&segment.base))
    }

    /// The oldest run of unclaimed segments whose LSNs join, up to the limits of `roll` (but at
    /// least one segment).
    fn oldest_run(&self, roll: &RollConfig, claimed: &BTreeSet<Lsn>) -> Run {
        let mut run = Run::default();
        let (mut bytes, mut events) = (0_u64, 0_u64);
        let (bytes_max, events_max) =
            (roll.max_bytes.as_u64(), roll.max_events.map_or(u64::MAX, NonZeroU64::get));
        for segment in self.unclaimed(claimed) {
            let more_bytes = bytes.saturating_add(segment.bytes);
            let more_events = events.saturating_add(segment.range().count());
            if let Some(last) = run.segments.last() {
                let joins = last.footer.is_some() && last.range().end == segment.base;
                if !joins || more_bytes > bytes_max || more_events > events_max {
                    run.is_full = true;
                    return run;
                }
            }
            (bytes, events) = (more_bytes, more_events);
            run.segments.push(segment.clone());
        }
        run.is_full = bytes >= bytes_max || events >= events_max;
        run
    }

    /// The run that is due now, without what is `claimed` by shipments under way; `force` makes any
    /// run due.
    ///
    /// A run is due when it is as large as a shipment gets, when its oldest event is old enough,
    /// or, with `roll.even`, when the clock has passed a multiple of `roll.max_age` since.
    pub fn due(
        &self,
        roll: &RollConfig,
        claimed: &BTreeSet<Lsn>,
        force: bool,
    ) -> Option<Vec<Waiting>> {
        let Run { mut segments, is_full } = self.oldest_run(roll, claimed);
        let oldest = segments.first()?;
        if force || is_full {
            return Some(segments);
        }
        if !roll.even {
            return (oldest.age(now_ms()) >= roll.max_age).then_some(segments);
        }
        // What the boundary cuts waits for the next one, so that there is one file between two.
        let boundary_ms = boundary_before(now_ms(), roll.max_age);
        let ended = |segment: &&Waiting| segment.ended_before(boundary_ms, roll.max_age);
        let count = segments.iter().take_while(ended).count();
        segments.truncate(count);
        (count > 0).then_some(segments)
    }

    /// How long until a run is due, if nothing comes; `None` if there is nothing.
    pub fn until_due(&self, roll: &RollConfig, claimed: &BTreeSet<Lsn>) -> Option<Duration> {
        let oldest = self.unclaimed(claimed).next()?;
        if !roll.even {
            return Some(roll.max_age.saturating_sub(oldest.age(now_ms())));
        }
        let now = now_ms();
        let since_boundary_ms = now.saturating_sub(boundary_before(now, roll.max_age));
        let since_boundary = Duration::from_millis(u64::try_from(since_boundary_ms).unwrap_or(0));
        Some(roll.max_age.saturating_sub(since_boundary))
    }
}

/// The last multiple of `period` on the clock, in milliseconds since the Unix epoch.
fn boundary_before(now_ms: i64, period: Duration) -> i64 {
    let period_ms = i64::try_from(period.as_millis()).unwrap_or(i64::MAX).max(1);
    now_ms - now_ms.rem_euclid(period_ms)
}

/// Milliseconds since the Unix epoch; 0 while the clock stands before it.
pub fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytesize::ByteSize;

    /// Segments of 10 events and 100 bytes each, at the given bases, all of them `age_ms` old.
    fn backlog(bases: &[u64], age_ms: i64) -> Backlog {
        let mut backlog = Backlog::new(Layout::new("/nowhere"), WalId(1));
        for &base in bases {
            let base = Lsn(base);
            let timestamp = now_ms() - age_ms;
            let footer = Some(Footer {
                wal_id: WalId(1),
                base,
                count: 10,
                first_timestamp_ms: timestamp,
                last_timestamp_ms: timestamp,
                data_bytes: 36,
            });
            let waiting = Waiting { base, bytes: 100, footer, seen: Instant::now() };
            backlog.segments.insert(base, waiting);
        }
        backlog
    }

    fn roll(max_bytes: u64) -> RollConfig {
        let max_bytes = ByteSize(max_bytes);
        RollConfig { max_age: Duration::from_mins(1), max_bytes, ..RollConfig::default() }
    }

    fn due(backlog: &Backlog, roll: &RollConfig, force: bool) -> Option<Vec<u64>> {
        due_beside(backlog, roll, &[], force)
    }

    fn due_beside(
        backlog: &Backlog,
        roll: &RollConfig,
        claimed: &[u64],
        force: bool,
    ) -> Option<Vec<u64>> {
        let claimed = claimed.iter().copied().map(Lsn).collect();
        let run = backlog.due(roll, &claimed, force)?;
        Some(run.iter().map(|segment| segment.base.0).collect())
    }

    #[test]
    fn young_segments_wait_until_they_are_old_or_many() {
        let young = backlog(&[0, 10], 1_000);
        assert_eq!(due(&young, &roll(1_000), false), None);
        assert_eq!(due(&young, &roll(1_000), true), Some(vec![0, 10]));
        assert_eq!(due(&young, &roll(200), false), Some(vec![0, 10]));
        assert_eq!(due(&backlog(&[0, 10, 20], 1_000), &roll(250), false), Some(vec![0, 10]));
        assert_eq!(due(&backlog(&[0, 10], 61_000), &roll(1_000), false), Some(vec![0, 10]));
    }

    #[test]
    fn a_run_ends_where_lsns_are_missing() {
        assert_eq!(due(&backlog(&[0, 20], 1_000), &roll(1_000), false), Some(vec![0]));
    }

    #[test]
    fn a_segment_over_the_limit_is_shipped_alone() {
        assert_eq!(due(&backlog(&[0, 10], 1_000), &roll(50), false), Some(vec![0]));
    }

    #[test]
    fn a_clock_that_was_ahead_does_not_hold_segments_back_for_ever() {
        let mut ahead = backlog(&[0], -3_600_000);
        assert_eq!(due(&ahead, &roll(1_000), false), None);
        let first = ahead.segments.get_mut(&Lsn(0)).unwrap();
        first.seen = Instant::now().checked_sub(Duration::from_secs(61)).unwrap();
        assert_eq!(due(&ahead, &roll(1_000), false), Some(vec![0]));
    }

    #[test]
    fn a_run_ends_at_the_limit_of_events() {
        let twenty = RollConfig { max_events: NonZeroU64::new(20), ..roll(10_000) };
        assert_eq!(due(&backlog(&[0], 1_000), &twenty, false), None);
        assert_eq!(due(&backlog(&[0, 10], 1_000), &twenty, false), Some(vec![0, 10]));
        assert_eq!(due(&backlog(&[0, 10, 20], 1_000), &twenty, false), Some(vec![0, 10]));
    }

    #[test]
    fn what_a_shipment_has_is_left_to_it() {
        let all = backlog(&[0, 10, 20, 30], 61_000);
        assert_eq!(due_beside(&all, &roll(200), &[0, 10], false), Some(vec![20, 30]));
        assert_eq!(due_beside(&all, &roll(1_000), &[10], false), Some(vec![0]), "20 does not join");
        assert_eq!(due_beside(&all, &roll(1_000), &[0, 10, 20, 30], true), None);
    }

    #[test]
    fn even_rolls_come_at_multiples_of_the_age_on_the_clock() {
        let hour = Duration::from_hours(1);
        assert_eq!(boundary_before(7_200_000, hour), 7_200_000);
        assert_eq!(boundary_before(7_199_999, hour), 3_600_000);
        let even = RollConfig { max_age: hour, even: true, ..roll(1_000) };
        let since_hour_ms = now_ms() - boundary_before(now_ms(), hour);
        // The first one ended before the hour, the second one after.
        let mut both = backlog(&[0, 10], since_hour_ms + 1);
        both.segments.get_mut(&Lsn(10)).unwrap().footer.as_mut().unwrap().last_timestamp_ms =
            now_ms() + 1;
        assert_eq!(due(&both, &even, false), Some(vec![0]));
        assert_eq!(due_beside(&both, &even, &[0], false), None, "it waits for the next hour");
        assert_eq!(due(&both, &even, true), Some(vec![0, 10]));
        let until = both.until_due(&even, &BTreeSet::new()).unwrap();
        assert!(until <= hour, "{until:?}");
        assert_eq!(
            due(&both, &RollConfig { max_bytes: ByteSize(200), ..even }, false),
            Some(vec![0, 10])
        );
    }
}
