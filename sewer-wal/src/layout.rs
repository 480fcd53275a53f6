//! Where things are in a WAL directory.
//!
//! ```text
//! <dir>/ID                       the WAL's identity
//!       LOCK                     flock'ed by the process that appends
//!       active/<n>/wal-1         logs; <n> = segment number, 20 digits
//!       sealed/<base>.seg        immutable; <base> = LSN of its first event, 20 digits; of an
//!                                identity that began where another one left segments, the name
//!                                is <base>-<WAL id>.seg
//!       shipments/               the shipper's plans, which go wherever the segments go; made and
//!                                read by it alone
//!       quarantine/<base>.seg    damaged segments, each with <base>.json beside it
//!       quarantine/log-<n>-*     logs of which nothing can be read
//! ```
//! Names are read strictly: anything that is not written exactly so is foreign and left alone.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::durable::{create_dir_durably, restrict};
use crate::error::{IoContext, WalError};
use crate::identity::SegmentName;
use crate::lsn::{LSN_DIGITS, parse_padded};

/// The name of the one file of a log, as okaywal names the first of its own.
const LOG_FILE: &str = "wal-1";

/// What the name of a log in quarantine begins with.
const QUARANTINED_LOG: &str = "log-";

/// The paths of one WAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout of the WAL in `root`; touches nothing.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The WAL's directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file that holds the WAL's identity.
    #[must_use]
    pub fn id_file(&self) -> PathBuf {
        self.root.join("ID")
    }

    /// The file that the appending process locks.
    #[must_use]
    pub fn lock_file(&self) -> PathBuf {
        self.root.join("LOCK")
    }

    /// The directory of the logs not yet sealed.
    #[must_use]
    pub fn active_dir(&self) -> PathBuf {
        self.root.join("active")
    }

    /// The directory of the sealed segments.
    #[must_use]
    pub fn sealed_dir(&self) -> PathBuf {
        self.root.join("sealed")
    }

    /// The directory of the shipper's plans.
    #[must_use]
    pub fn shipments_dir(&self) -> PathBuf {
        self.root.join("shipments")
    }

    /// The directory of the damaged segments.
    #[must_use]
    pub fn quarantine_dir(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// The directory of segment `number`'s log.
    #[must_use]
    pub fn log_dir(&self, number: u64) -> PathBuf {
        self.active_dir().join(format!("{number:0LSN_DIGITS$}"))
    }

    /// The log file of segment `number`.
    #[must_use]
    pub fn log_file(&self, number: u64) -> PathBuf {
        self.log_dir(number).join(LOG_FILE)
    }

    /// The copy of segment `number`'s log that is made to seal it.
    pub(crate) fn log_copy(&self, number: u64) -> PathBuf {
        self.log_dir(number).join("copy")
    }

    /// A name in `quarantine/` that the log of segment `number` has not had before.
    pub(crate) fn new_quarantined_log(&self, number: u64) -> PathBuf {
        let unique = rand::random::<u32>();
        self.quarantine_dir().join(format!("{QUARANTINED_LOG}{number:0LSN_DIGITS$}-{unique:08x}"))
    }

    /// The sealed segment of that name.
    #[must_use]
    pub fn sealed_file(&self, name: impl Into<SegmentName>) -> PathBuf {
        self.sealed_dir().join(name.into().to_string())
    }

    /// Makes the directories below the root, durably. The root's parent must exist.
    pub(crate) fn create(&self) -> Result<(), WalError> {
        create_dir_durably(&self.root)?;
        let dirs = [self.active_dir(), self.sealed_dir(), self.quarantine_dir()];
        for dir in &dirs {
            create_dir_durably(dir)?;
        }
        for path in dirs.iter().chain([&self.id_file(), &self.lock_file()]) {
            restrict(path)?;
        }
        Ok(())
    }

    /// The numbers of the logs in `active/`, ascending; empty if there is no such directory.
    pub fn log_numbers(&self) -> Result<Vec<u64>, WalError> {
        names(&self.active_dir(), log_number)
    }

    /// The names of the segments in `sealed/`, in order; empty if there is no such directory.
    pub fn sealed_names(&self) -> Result<Vec<SegmentName>, WalError> {
        names(&self.sealed_dir(), SegmentName::parse)
    }

    /// The names of the segments in `quarantine/`, in order.
    pub fn quarantined_names(&self) -> Result<Vec<SegmentName>, WalError> {
        names(&self.quarantine_dir(), SegmentName::parse)
    }

    /// The names of the segments of which a report is in `quarantine/`, in order.
    pub fn quarantine_reports(&self) -> Result<Vec<SegmentName>, WalError> {
        let parse = |name: &str| {
            let stem = name.strip_suffix(".json")?;
            SegmentName::parse(&format!("{stem}.seg"))
        };
        names(&self.quarantine_dir(), parse)
    }

    /// The report beside the quarantined segment of that name.
    #[must_use]
    pub fn quarantine_report(&self, name: SegmentName) -> PathBuf {
        self.quarantine_dir().join(name.to_string()).with_extension("json")
    }

    /// The logs in `quarantine/`, of which nothing could be read.
    pub fn quarantined_logs(&self) -> Result<Vec<PathBuf>, WalError> {
        let dir = self.quarantine_dir();
        pick(&dir, |name| name.to_str()?.starts_with(QUARANTINED_LOG).then(|| dir.join(name)))
    }

    /// The paths in `sealed/` with names that no segment has.
    pub fn strangers_in_sealed(&self) -> Result<Vec<PathBuf>, WalError> {
        strangers(&self.sealed_dir(), |name| SegmentName::parse(name).is_some())
    }

    /// The paths in `active/` with names that no log has.
    pub(crate) fn strangers_in_active(&self) -> Result<Vec<PathBuf>, WalError> {
        strangers(&self.active_dir(), |name| log_number(name).is_some())
    }
}

/// The number that a log's directory has; so many logs as would exhaust it there never are.
fn log_number(name: &str) -> Option<u64> {
    parse_padded(name).filter(|number| *number <= u64::from(u32::MAX) << 16)
}

fn names<T: Ord>(dir: &Path, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, WalError> {
    pick(dir, |name| name.to_str().and_then(&parse))
}

fn strangers(dir: &Path, is_ours: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, WalError> {
    pick(dir, |name| (!name.to_str().is_some_and(&is_ours)).then(|| dir.join(name)))
}

/// The results of `choose` for the names in a directory, sorted; none without a directory.
fn pick<T: Ord>(dir: &Path, choose: impl Fn(&OsStr) -> Option<T>) -> Result<Vec<T>, WalError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).context("list", dir),
    };
    let mut found = Vec::new();
    for entry in entries {
        found.extend(choose(&entry.context("list", dir)?.file_name()));
    }
    found.sort_unstable();
    Ok(found)
}

/// Opens a file for reading and tells its length.
///
/// # Errors
/// [`WalError::NotAFile`] for anything else: a directory can be opened but not read, and opening
/// a pipe would wait for its writer.
pub(crate) fn open_file(path: &Path) -> Result<(File, u64), WalError> {
    if !fs::metadata(path).context("open", path)?.is_file() {
        return Err(WalError::NotAFile { path: path.to_path_buf() });
    }
    let file = File::open(path).context("open", path)?;
    let bytes = file.metadata().context("stat", path)?.len();
    Ok((file, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsn::Lsn;

    #[test]
    fn foreign_files_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        assert_eq!(layout.sealed_names().unwrap(), []);
        layout.create().unwrap();
        for name in ["00000000000000000009.seg", "00000000000000000002.seg", "lost+found"] {
            fs::write(layout.sealed_dir().join(name), b"").unwrap();
        }
        assert_eq!(layout.sealed_names().unwrap(), [Lsn(2).into(), Lsn(9).into()]);
        let stranger = layout.sealed_dir().join("lost+found");
        assert_eq!(layout.strangers_in_sealed().unwrap(), [stranger]);
    }

    #[test]
    fn a_missing_parent_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = Layout::new(dir.path().join("no/such")).create().unwrap_err().to_string();
        assert!(error.contains("no/such: No such file or directory"), "{error}");
    }
}
