//! Runs of segments that make a shipment.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::time::Duration;

use sewer_wal::SegmentName;

use super::FileName;
use super::backlog::Waiting;
use crate::config::RollConfig;

/// Segments that make a shipment.
#[derive(Clone, Debug, Default)]
pub struct Due {
    /// In the order of their LSNs, which join.
    pub segments: Vec<Waiting>,
    /// The name under which the destination has these events, as far as is known.
    pub known: Option<FileName>,
}

impl Due {
    /// Tells whether some of its events may come from before a moment of the clock.
    pub fn is_from_before(&self, moment_ms: i64) -> bool {
        let first_ms = |segment: &Waiting| segment.content.map(|c| c.first_timestamp_ms);
        self.segments.iter().any(|segment| first_ms(segment).is_none_or(|ms| ms < moment_ms))
    }
}

/// The oldest run of segments of one WAL that make a shipment.
#[derive(Debug, Default)]
pub(super) struct Run {
    due: Due,
    /// Whether what follows does not fit or does not join, so that waiting makes it no larger.
    is_full: bool,
}

/// The oldest of the segments, as far as their LSNs join, up to the limits of `roll` (but at least
/// one segment); or those of which the destination has a file.
pub(super) fn oldest_run(
    segments: &[&Waiting],
    roll: &RollConfig,
    known: &BTreeSet<FileName>,
) -> Run {
    let mut run = Run::default();
    let (mut bytes, mut events) = (0_u64, 0_u64);
    let (bytes_max, events_max) =
        (roll.max_bytes.as_u64(), roll.max_events.map_or(u64::MAX, NonZeroU64::get));
    for segment in segments {
        let more_bytes = bytes.saturating_add(segment.bytes);
        let more_events = events.saturating_add(segment.range().count());
        let begins =
            |file: &&FileName| file.wal_id == segment.wal_id && file.first == segment.name.base;
        let known_here = known.iter().find(begins);
        if let Some(last) = run.due.segments.last() {
            let joins = last.end() == Some(segment.name.base);
            let is_over = match &run.due.known {
                Some(file) => segment.name.base > file.last,
                None => known_here.is_some() || more_bytes > bytes_max || more_events > events_max,
            };
            if !joins || is_over {
                run.is_full = true;
                return run;
            }
        } else {
            run.due.known = known_here.cloned();
        }
        (bytes, events) = (more_bytes, more_events);
        run.due.segments.push((*segment).clone());
    }
    run.is_full = bytes >= bytes_max || events >= events_max || run.due.known.is_some();
    run
}

impl Run {
    /// The part of it that is due.
    pub(super) fn due(self, roll: &RollConfig, now_ms: i64, force: bool) -> Option<Due> {
        let Self { mut due, is_full } = self;
        let oldest = due.segments.first()?;
        if force || is_full {
            return Some(due);
        }
        if !roll.even {
            return (oldest.age(now_ms) >= roll.max_age).then_some(due);
        }
        // What the boundary cuts waits for the next one, so that there is one file between two.
        let boundary_ms = boundary_before(now_ms, roll.max_age);
        let ended = |segment: &&Waiting| segment.ended_before(boundary_ms, roll.max_age);
        let count = due.segments.iter().take_while(ended).count();
        due.segments.truncate(count);
        (count > 0).then_some(due)
    }
}

/// The last multiple of `period` on the clock, in milliseconds since the Unix epoch.
pub(super) fn boundary_before(now_ms: i64, period: Duration) -> i64 {
    let period_ms = i64::try_from(period.as_millis()).unwrap_or(i64::MAX).max(1);
    now_ms - now_ms.rem_euclid(period_ms)
}

/// The segments, each with a file, of which the destination has a part in a file whose other events
/// are not here: nothing tells whether these are the same events.
pub(super) fn misfits(
    wals: &[Vec<&Waiting>],
    known: &BTreeSet<FileName>,
) -> Vec<(SegmentName, FileName)> {
    let mut misfits = Vec::new();
    for file in known {
        let is_touched = |segment: &&&Waiting| file.touches(segment.wal_id, segment.range());
        let touched: Vec<_> = wals.iter().flatten().filter(is_touched).collect();
        let bases = touched.iter().skip(1).map(|segment| segment.name.base);
        let joins = touched.iter().zip(bases).all(|(one, next)| one.end() == Some(next));
        let first = touched.first().map(|segment| segment.name.base);
        let end = touched.last().and_then(|segment| segment.end());
        if !joins || first != Some(file.first) || end != Some(file.range().end) {
            misfits.extend(touched.into_iter().map(|segment| (segment.name, file.clone())));
        }
    }
    misfits
}
