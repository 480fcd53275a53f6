//! The plans that are found on disk, and the files that should be plans and are none.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sewer_wal::{Lsn, LsnRange, SegmentName, WalId};

use super::Plan;

/// All plans that are not finished.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Of each WAL, oldest first.
    pub plans: Vec<Plan>,
    /// The files that are none.
    pub damaged: Vec<DamagedPlan>,
}

/// A file with the name of a plan that cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedPlan {
    /// The file.
    pub path: PathBuf,
    /// Its name, which tells the events that it is for.
    pub name: PlanName,
    /// The problem with it.
    pub problem: String,
}

impl fmt::Display for DamagedPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, name, problem } = self;
        let (path, range) = (path.display(), name.range());
        write!(
            f,
            "{path} is not a plan that this build can carry out: {problem}; LSN {range} wait for \
             it, and nothing else does; put back a copy of it or, if [destination] has not \
             changed since, remove it: they are then planned anew, and what of them is at the \
             destination is found there"
        )
    }
}

/// The name of a plan's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlanName {
    first: Lsn,
    last: Lsn,
    wal_id: Option<WalId>,
}

impl PlanName {
    pub(super) fn of_path(path: &Path) -> Option<Self> {
        let stem = path.file_name()?.to_str()?.strip_suffix(".json")?;
        let mut parts = stem.splitn(3, '-');
        let (first, last) = (Lsn::from_padded(parts.next()?)?, Lsn::from_padded(parts.next()?)?);
        let wal_id = parts.next().map(str::parse).transpose().ok()?;
        Some(Self { first, last, wal_id })
    }

    /// The LSNs that it is for.
    pub fn range(&self) -> LsnRange {
        LsnRange { first: self.first, end: self.last.plus(1).max(self.first) }
    }

    /// Tells whether it may be for a segment of that name, with these LSNs.
    pub fn may_be_for(&self, segment: SegmentName, wal_id: WalId, range: LsnRange) -> bool {
        let is_of_wal = match self.wal_id {
            Some(id) => id == wal_id,
            None => segment.wal_id.is_none(),
        };
        let reaches = segment.base >= self.first || range.end > self.first;
        is_of_wal && segment.base <= self.last && reaches
    }
}

impl Found {
    /// Looks at a file, if its name is that of a plan. `parse` gives none for one to pass over.
    pub(super) fn look_at(
        &mut self,
        path: PathBuf,
        parse: impl FnOnce(&[u8]) -> Result<Option<Plan>, String>,
    ) {
        let Some(name) = PlanName::of_path(&path) else { return };
        let plan = match fs::read(&path) {
            Ok(bytes) => parse(&bytes).and_then(|plan| match plan {
                Some(plan) if path.file_name().is_some_and(|own| *own != *plan.file_name()) => {
                    Err(format!("its content belongs into {}", plan.file_name()))
                }
                plan => Ok(plan),
            }),
            // Finished by a shipper beside which somebody only looks.
            Err(e) if e.kind() == ErrorKind::NotFound => return,
            Err(e) => Err(format!("it cannot be read: {e}")),
        };
        match plan {
            Ok(plan) => self.plans.extend(plan),
            Err(problem) => self.damaged.push(DamagedPlan { path, name, problem }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_plan_tells_which_segments_may_be_its_own() {
        let of = |name: &str| PlanName::of_path(Path::new(name));
        let plain = of(&format!("/s/{:020}-{:020}.json", 5, 9)).unwrap();
        let named = of(&format!("/s/{:020}-{:020}-00000000000000ab.json", 5, 9)).unwrap();
        for other in ["host.json", "5-9.json", "partitions.json", "README"] {
            assert_eq!(of(other), None, "{other}");
        }
        let is_for = |plan: PlanName, base: u64, count: u64, id: Option<WalId>| {
            let segment = SegmentName { wal_id: id, base: Lsn(base) };
            plan.may_be_for(segment, id.unwrap_or(WalId(1)), LsnRange::new(Lsn(base), count))
        };
        for (base, count, expected) in
            [(0, 5, false), (0, 6, true), (5, 0, true), (9, 1, true), (10, 1, false)]
        {
            assert_eq!(is_for(plain, base, count, None), expected, "{base} {count}");
            assert_eq!(is_for(named, base, count, Some(WalId(0xab))), expected, "{base} {count}");
        }
        assert!(!is_for(plain, 5, 1, Some(WalId(0xab))) && !is_for(named, 5, 1, None));
    }
}
