//! What is sealed and not yet shipped, oldest first, and which run of it is due.
//!
//! What is in `sealed/` and cannot be shipped is set aside: it is reported, left where it is, and
//! looked at again now and then, while the rest is shipped.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sewer_wal::sealed::{self, Inspected, SealedSegment};
use sewer_wal::{Footer, Identity, Layout, Lsn, LsnRange, SegmentName, WalError, WalId};

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
    /// Whether that is sure: a footer of format 1 has no CRC of its own.
    pub is_sure: bool,
}

impl From<Footer> for Content {
    fn from(footer: Footer) -> Self {
        let Footer { version, count: events, first_timestamp_ms, last_timestamp_ms, .. } = footer;
        Self { events, first_timestamp_ms, last_timestamp_ms, is_sure: version > 1 }
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

    /// The LSN behind its last event, if the footer tells it for sure.
    pub fn sure_end(&self) -> Option<Lsn> {
        self.content.filter(|content| content.is_sure).map(|_| self.range().end)
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
        let mut is_identity_fresh = false;
        for segment in found {
            if !self.segments.contains_key(&segment.name) && self.is_to_be_looked_at(&segment.path)
            {
                self.look_at(segment, &mut is_identity_fresh);
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

    fn look_at(&mut self, segment: SealedSegment, is_identity_fresh: &mut bool) {
        let SealedSegment { name, bytes, .. } = segment;
        match self.inspect(&segment, is_identity_fresh) {
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
    fn inspect(
        &mut self,
        segment: &SealedSegment,
        is_identity_fresh: &mut bool,
    ) -> Result<Inspected, WalError> {
        let mut found = sealed::inspect(segment, &self.identity);
        let is_explained = match &found {
            Ok(inspected) => inspected.footer.is_some(),
            Err(error) => !matches!(error, WalError::ForeignSegment { .. }),
        };
        // A pixel may have begun another identity since the last look.
        if !is_explained
            && !std::mem::replace(is_identity_fresh, true)
            && let Some(identity) = sewer_wal::look_up_identity(&self.layout)?
        {
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
mod tests;
