//! What is sealed and not yet shipped, oldest first, and which run of it is due.
//!
//! What is in `sealed/` and cannot be shipped is set aside: it is reported, left where it is, and
//! looked at again now and then, while the rest is shipped.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sewer_wal::sealed::{self, Inspected, SealedSegment};
use sewer_wal::{Footer, Identity, Layout, LsnRange, SegmentName, WalError, WalId};

use crate::config::RollConfig;

/// How often what was set aside is looked at again.
const ASIDE_RECHECK: Duration = Duration::from_mins(1);
/// How often the log tells of it while nothing changes.
const ASIDE_REPORT: Duration = Duration::from_hours(1);

/// A sealed segment that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its name.
    pub name: SegmentName,
    /// The WAL that it belongs to.
    pub wal_id: WalId,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its content, as its footer tells; `None` if that is damaged.
    pub content: Option<Content>,
    /// When it was first seen, for the age of segments whose timestamps lie in the future.
    seen: Instant,
}

/// The events of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// How many LSNs they span.
    pub events: u64,
    /// The smallest timestamp, in milliseconds since the Unix epoch.
    pub first_timestamp_ms: i64,
    /// The largest timestamp, in milliseconds since the Unix epoch.
    pub last_timestamp_ms: i64,
}

impl From<Footer> for Content {
    fn from(footer: Footer) -> Self {
        let Footer { count: events, first_timestamp_ms, last_timestamp_ms, .. } = footer;
        Self { events, first_timestamp_ms, last_timestamp_ms }
    }
}

/// The oldest run of segments of one WAL that make a shipment.
#[derive(Debug, Default)]
struct Run {
    segments: Vec<Waiting>,
    /// Whether what follows does not fit or does not join, so that waiting makes it no larger.
    is_full: bool,
}

impl Waiting {
    /// Its LSNs, as far as the footer tells.
    pub fn range(&self) -> LsnRange {
        LsnRange::new(self.name.base, self.content.map_or(0, |content| content.events))
    }

    /// How long its oldest event has waited.
    fn age(&self, now_ms: i64) -> Duration {
        let since_event =
            self.content.map_or(0, |content| now_ms.saturating_sub(content.first_timestamp_ms));
        let since_event = Duration::from_millis(u64::try_from(since_event).unwrap_or(0));
        since_event.max(self.seen.elapsed())
    }

    /// Whether its last event came before `boundary_ms`, a moment of the clock. One without a
    /// footer, or from a clock that was ahead, counts once it has been here for `period`.
    fn ended_before(&self, boundary_ms: i64, period: Duration) -> bool {
        self.content.is_some_and(|content| content.last_timestamp_ms < boundary_ms)
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

/// The sealed segments of a directory. Footers are read once.
#[derive(Debug)]
pub struct Backlog {
    layout: Layout,
    identity: Identity,
    segments: BTreeMap<SegmentName, Waiting>,
    aside: BTreeMap<PathBuf, Aside>,
}

impl Backlog {
    /// An empty backlog; [`Self::refresh`] fills it.
    pub fn new(layout: Layout, identity: Identity) -> Self {
        Self { layout, identity, segments: BTreeMap::new(), aside: BTreeMap::new() }
    }

    /// The identity of the WAL as it was known last.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Looks at the directory again.
    ///
    /// # Errors
    /// If it cannot be listed. What cannot be shipped is no error; see [`Self::set_aside`].
    pub fn refresh(&mut self) -> Result<(), WalError> {
        let found = sealed::list(&self.layout)?;
        let strangers = self.layout.strangers_in_sealed()?;
        let names: BTreeSet<_> = found.iter().map(|segment| segment.name).collect();
        let paths: BTreeSet<_> =
            found.iter().map(|segment| &segment.path).chain(&strangers).cloned().collect();
        self.segments.retain(|name, _| names.contains(name));
        self.aside.retain(|path, _| paths.contains(path));
        for segment in found {
            if !self.segments.contains_key(&segment.name) && self.is_to_be_looked_at(&segment.path)
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
        let SealedSegment { name, bytes, .. } = segment;
        match self.inspect(&segment) {
            Ok(Inspected { wal_id, footer }) => {
                let (content, seen) = (footer.map(Content::from), Instant::now());
                self.segments.insert(name, Waiting { name, wal_id, bytes, content, seen });
                self.aside.remove(&segment.path);
            }
            Err(e) if e.is_not_found() => {}
            Err(e) => self.set_path_aside(segment.path, e.to_string()),
        }
    }

    /// What the segment says of itself, unless it is a copy under another name.
    fn inspect(&mut self, segment: &SealedSegment) -> Result<Inspected, WalError> {
        let mut found = sealed::inspect(segment, &self.identity);
        let is_explained = match &found {
            Ok(inspected) => inspected.footer.is_some(),
            Err(error) => !matches!(error, WalError::ForeignSegment { .. }),
        };
        // A pixel may have begun another identity since the last look.
        if !is_explained && let Some(identity) = sewer_wal::look_up_identity(&self.layout)? {
            self.identity = identity;
            found = sealed::inspect(segment, &self.identity);
        }
        let inspected = found?;
        let SegmentName { wal_id, base } = segment.name;
        let other = SegmentName { wal_id: wal_id.xor(Some(inspected.wal_id)), base };
        if self.segments.get(&other).is_some_and(|known| known.wal_id == inspected.wal_id) {
            return Err(WalError::Misplaced { path: segment.path.clone(), base });
        }
        Ok(inspected)
    }

    /// Leaves a segment out until it is looked at again, since it cannot be read to its end.
    pub fn set_aside(&mut self, name: SegmentName, problem: String) {
        self.segments.remove(&name);
        self.set_path_aside(self.layout.sealed_file(name), problem);
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
                .filter_map(|segment| segment.content)
                .map(|content| content.first_timestamp_ms)
                .min(),
        }
    }

    /// The segments that no shipment has yet, by WAL, each in the order of LSNs.
    fn unclaimed(&self, claimed: &BTreeSet<SegmentName>) -> Vec<Vec<&Waiting>> {
        let mut wals = BTreeMap::<WalId, Vec<&Waiting>>::new();
        for segment in self.segments.values().filter(|s| !claimed.contains(&s.name)) {
            wals.entry(segment.wal_id).or_default().push(segment);
        }
        let mut wals: Vec<_> = wals.into_values().collect();
        for segments in &mut wals {
            // Names do not tell the order where a WAL has had both kinds of them.
            segments.sort_unstable_by_key(|segment| segment.name.base);
        }
        wals
    }

    /// The run that is due now, without what is `claimed` by shipments under way; `force` makes any
    /// run due. Of several WALs that have one, that with the oldest event comes first.
    ///
    /// A run is due when it is as large as a shipment gets, when its oldest event is old enough,
    /// or, with `roll.even`, when the clock has passed a multiple of `roll.max_age` since.
    pub fn due(
        &self,
        roll: &RollConfig,
        claimed: &BTreeSet<SegmentName>,
        force: bool,
    ) -> Option<Vec<Waiting>> {
        let now_ms = now_ms();
        let wals = self.unclaimed(claimed).into_iter();
        let due = wals.filter_map(|segments| oldest_run(&segments, roll).due(roll, now_ms, force));
        due.max_by_key(|run| run.first().map(|oldest| oldest.age(now_ms)))
    }

    /// How long until a run is due, if nothing comes; `None` if there is nothing.
    pub fn until_due(
        &self,
        roll: &RollConfig,
        claimed: &BTreeSet<SegmentName>,
    ) -> Option<Duration> {
        let wals = self.unclaimed(claimed);
        let now = now_ms();
        let oldest = wals.iter().filter_map(|segments| segments.first());
        let age = oldest.map(|oldest| oldest.age(now)).max()?;
        if !roll.even {
            return Some(roll.max_age.saturating_sub(age));
        }
        let since_boundary_ms = now.saturating_sub(boundary_before(now, roll.max_age));
        let since_boundary = Duration::from_millis(u64::try_from(since_boundary_ms).unwrap_or(0));
        Some(roll.max_age.saturating_sub(since_boundary))
    }
}

/// The oldest of the segments, as far as their LSNs join, up to the limits of `roll` (but at least
/// one segment).
fn oldest_run(segments: &[&Waiting], roll: &RollConfig) -> Run {
    let mut run = Run::default();
    let (mut bytes, mut events) = (0_u64, 0_u64);
    let (bytes_max, events_max) =
        (roll.max_bytes.as_u64(), roll.max_events.map_or(u64::MAX, NonZeroU64::get));
    for segment in segments {
        let more_bytes = bytes.saturating_add(segment.bytes);
        let more_events = events.saturating_add(segment.range().count());
        if let Some(last) = run.segments.last() {
            let joins = last.content.is_some() && last.range().end == segment.name.base;
            if !joins || more_bytes > bytes_max || more_events > events_max {
                run.is_full = true;
                return run;
            }
        }
        (bytes, events) = (more_bytes, more_events);
        run.segments.push((*segment).clone());
    }
    run.is_full = bytes >= bytes_max || events >= events_max;
    run
}

impl Run {
    /// The part of it that is due.
    fn due(self, roll: &RollConfig, now_ms: i64, force: bool) -> Option<Vec<Waiting>> {
        let Self { mut segments, is_full } = self;
        let oldest = segments.first()?;
        if force || is_full {
            return Some(segments);
        }
        if !roll.even {
            return (oldest.age(now_ms) >= roll.max_age).then_some(segments);
        }
        // What the boundary cuts waits for the next one, so that there is one file between two.
        let boundary_ms = boundary_before(now_ms, roll.max_age);
        let ended = |segment: &&Waiting| segment.ended_before(boundary_ms, roll.max_age);
        let count = segments.iter().take_while(ended).count();
        segments.truncate(count);
        (count > 0).then_some(segments)
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
    use sewer_wal::Lsn;

    /// Segments of 10 events and 100 bytes each, at the given bases, all of them `age_ms` old.
    fn backlog(bases: &[u64], age_ms: i64) -> Backlog {
        let mut backlog = Backlog::new(Layout::new("/nowhere"), Identity::new(WalId(1)));
        for &base in bases {
            add(&mut backlog, Lsn(base).into(), WalId(1), age_ms);
        }
        backlog
    }

    fn add(backlog: &mut Backlog, name: SegmentName, wal_id: WalId, age_ms: i64) {
        let timestamp = now_ms() - age_ms;
        let (first_timestamp_ms, last_timestamp_ms) = (timestamp, timestamp);
        let content = Some(Content { events: 10, first_timestamp_ms, last_timestamp_ms });
        let waiting = Waiting { name, wal_id, bytes: 100, content, seen: Instant::now() };
        backlog.segments.insert(name, waiting);
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
        let claimed = claimed.iter().map(|base| Lsn(*base).into()).collect();
        let run = backlog.due(roll, &claimed, force)?;
        Some(run.iter().map(|segment| segment.name.base.0).collect())
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
        let first = ahead.segments.get_mut(&Lsn(0).into()).unwrap();
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
        let second = both.segments.get_mut(&Lsn(10).into()).unwrap();
        second.content.as_mut().unwrap().last_timestamp_ms = now_ms() + 1;
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
    #[test]
    fn segments_of_two_wals_never_share_a_run_and_none_waits_for_the_other() {
        let named = |id, base| SegmentName { wal_id: Some(WalId(id)), base: Lsn(base) };
        // A young segment under load, and what an earlier identity left behind it.
        let mut both = backlog(&[0], 1_000);
        add(&mut both, named(7, 0), WalId(7), 61_000);
        add(&mut both, named(7, 10), WalId(7), 61_000);
        let run = both.due(&roll(1_000), &BTreeSet::new(), false).unwrap();
        let names: Vec<_> = run.iter().map(|segment| segment.name).collect();
        assert_eq!(names, [named(7, 0), named(7, 10)]);
        let claimed = names.into_iter().collect();
        assert_eq!(both.due(&roll(1_000), &claimed, false), None);
        let run = both.due(&roll(1_000), &claimed, true).unwrap();
        assert_eq!(run[0].name, Lsn(0).into());
        assert_eq!(both.until_due(&roll(1_000), &BTreeSet::new()), Some(Duration::ZERO));
    }

    #[test]
    fn names_with_and_without_the_id_join_by_their_lsns() {
        let mut backlog = backlog(&[10], 1_000);
        let first = SegmentName { wal_id: Some(WalId(1)), base: Lsn(0) };
        add(&mut backlog, first, WalId(1), 1_000);
        assert_eq!(due(&backlog, &roll(1_000), true), Some(vec![0, 10]));
    }
}
