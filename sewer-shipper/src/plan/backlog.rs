//! What is sealed and not yet shipped, oldest first, and which run of it is due.
//!
//! What is in `sealed/` and cannot be shipped is set aside: it is reported, left where it is, and
//! looked at again now and then, while the rest is shipped. What a damaged plan may be for is held
//! back. What the destination has of these events in files of a copy of this WAL makes shipments of
//! its own, so that it is found there under its name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sewer_wal::sealed::{self, Inspected, SealedSegment};
use sewer_wal::{Footer, Identity, Layout, Lsn, LsnRange, SegmentName, WalError, WalId};

use super::runs::{self, Due, boundary_before, oldest_run};
use super::{FileName, PlanName};
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

impl Waiting {
    /// Its LSNs, as far as the footer tells.
    pub fn range(&self) -> LsnRange {
        LsnRange::new(self.name.base, self.content.map_or(0, |content| content.events))
    }

    /// The LSN behind its last event, if the footer tells it.
    pub(super) fn end(&self) -> Option<Lsn> {
        self.content.map(|_| self.range().end)
    }

    /// The LSN behind its last event, if the footer tells it for sure.
    pub fn sure_end(&self) -> Option<Lsn> {
        self.content.filter(|content| content.is_sure).map(|_| self.range().end)
    }

    /// How long its oldest event has waited.
    pub(super) fn age(&self, now_ms: i64) -> Duration {
        let since_event =
            self.content.map_or(0, |content| now_ms.saturating_sub(content.first_timestamp_ms));
        let since_event = Duration::from_millis(u64::try_from(since_event).unwrap_or(0));
        since_event.max(self.seen.elapsed())
    }

    /// Whether its last event came before `boundary_ms`, a moment of the clock. One without a
    /// footer, or from a clock that was ahead, counts once it has been here for `period`.
    pub(super) fn ended_before(&self, boundary_ms: i64, period: Duration) -> bool {
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
    /// The damaged plans.
    held: Vec<PlanName>,
    /// Files at the destination with events of this WAL that would be other files here.
    known: BTreeSet<FileName>,
}

impl Backlog {
    /// An empty backlog; [`Self::refresh`] fills it.
    pub fn new(layout: Layout, identity: Identity) -> Self {
        Self {
            layout,
            identity,
            segments: BTreeMap::new(),
            aside: BTreeMap::new(),
            held: Vec::new(),
            known: BTreeSet::new(),
        }
    }

    /// Makes no shipment of what these plans may be for.
    pub fn hold(&mut self, plans: Vec<PlanName>) {
        self.held = plans;
    }

    /// The destination has files of these names.
    pub fn know(&mut self, files: BTreeSet<FileName>) {
        self.known.extend(files);
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
        let is_held = |segment: &Waiting| {
            let Waiting { name, wal_id, .. } = *segment;
            self.held.iter().any(|plan| plan.may_be_for(name, wal_id, segment.range()))
        };
        // A file at the destination wants all of its segments in one shipment.
        let is_touched =
            |segment: &Waiting, file: &FileName| file.touches(segment.wal_id, segment.range());
        let is_busy = |file: &&FileName| {
            let mut segments = self.segments.values().filter(|s| is_touched(s, file));
            segments.any(|segment| claimed.contains(&segment.name))
        };
        let busy: Vec<_> = self.known.iter().filter(is_busy).collect();
        let is_free = |segment: &&Waiting| {
            !claimed.contains(&segment.name)
                && !is_held(segment)
                && !busy.iter().any(|file| is_touched(segment, file))
        };
        for segment in self.segments.values().filter(is_free) {
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
        &mut self,
        roll: &RollConfig,
        claimed: &BTreeSet<SegmentName>,
        force: bool,
    ) -> Option<Due> {
        let misfits = runs::misfits(&self.unclaimed(claimed), &self.known);
        for (name, file) in misfits {
            let path = self.layout.sealed_file(name);
            let problem = format!(
                "{} and the file {file} at the destination have LSNs in common, and one of them \
                 has others beside: compare them (--cat, sewer-wal dump), move one away, restart",
                path.display()
            );
            self.set_aside(name, problem);
        }
        let now_ms = now_ms();
        let wals = self.unclaimed(claimed).into_iter();
        let due = wals.filter_map(|segments| {
            oldest_run(&segments, roll, &self.known).due(roll, now_ms, force)
        });
        due.max_by_key(|due| due.segments.first().map(|oldest| oldest.age(now_ms)))
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

/// Milliseconds since the Unix epoch; 0 while the clock stands before it.
pub fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
