//! Where things are in a WAL directory, and how names become durable.
//!
//! ```text
//! <dir>/ID                       the WAL's identity
//!       LOCK                     flock'ed by the process that appends
//!       active/<n>/wal-1         logs; <n> = segment number, 20 digits
//!       sealed/<base>.seg        immutable; <base> = LSN of its first event, 20 digits
//!       quarantine/<base>.seg    damaged segments, each with <base>.json beside it
//! ```
//! Names are read strictly: anything that is not written exactly so is foreign and left alone.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::{IoContext, WalError};
use crate::lsn::{LSN_DIGITS, Lsn, parse_padded};

/// The name of the one file of a log, as okaywal names the first of its own.
const LOG_FILE: &str = "wal-1";

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

    /// The sealed segment whose first event is `base`.
    #[must_use]
    pub fn sealed_file(&self, base: Lsn) -> PathBuf {
        self.sealed_dir().join(segment_file_name(base))
    }

    /// Makes the directories below the root, durably. The root's parent must exist.
    pub(crate) fn create(&self) -> Result<(), WalError> {
        create_dir_durably(&self.root)?;
        for dir in [self.active_dir(), self.sealed_dir(), self.quarantine_dir()] {
            create_dir_durably(&dir)?;
        }
        Ok(())
    }

    /// The numbers of the logs in `active/`, ascending; empty if there is no such directory.
    pub fn log_numbers(&self) -> Result<Vec<u64>, WalError> {
        names(&self.active_dir(), parse_padded)
    }

    /// The base LSNs of the segments in `sealed/`, ascending; empty if there is no such directory.
    pub fn sealed_bases(&self) -> Result<Vec<Lsn>, WalError> {
        names(&self.sealed_dir(), base_of)
    }

    /// What is in `sealed/` under a name that no segment has.
    pub fn strangers_in_sealed(&self) -> Result<Vec<PathBuf>, WalError> {
        strangers(&self.sealed_dir(), |name| base_of(name).is_some())
    }

    /// What is in `active/` under a name that no log has.
    pub(crate) fn strangers_in_active(&self) -> Result<Vec<PathBuf>, WalError> {
        strangers(&self.active_dir(), |name| parse_padded(name).is_some())
    }
}

/// The file name of the segment whose first event is `base`.
#[must_use]
pub fn segment_file_name(base: Lsn) -> String {
    format!("{base:0LSN_DIGITS$}.seg", base = base.0)
}

/// The base LSN that a segment's file name tells, or `None` for a foreign name.
#[must_use]
pub fn base_of(file_name: &str) -> Option<Lsn> {
    Lsn::from_padded(file_name.strip_suffix(".seg")?)
}

fn names<T: Ord>(dir: &Path, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, WalError> {
    pick(dir, |name| name.to_str().and_then(&parse))
}

fn strangers(dir: &Path, is_ours: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, WalError> {
    pick(dir, |name| (!name.to_str().is_some_and(&is_ours)).then(|| dir.join(name)))
}

/// What `choose` makes of the names in a directory, sorted; nothing if there is no such directory.
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

/// Makes what was renamed, made or removed in `dir` survive a power cut.
pub fn sync_dir(dir: &Path) -> Result<(), WalError> {
    File::open(dir).and_then(|dir| dir.sync_all()).context("sync directory", dir)
}

/// The directory that holds `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes `dir`, unless it is there, and its name durable. Not its parents: a missing parent is
/// more often a disk that is not mounted than a wish.
///
/// A name that is there is synced, too: the process that made it may have been killed before it
/// could. In a parent that cannot be read no process of ours has made it.
pub fn create_dir_durably(dir: &Path) -> Result<(), WalError> {
    match DirBuilder::new().create(dir) {
        Ok(()) => sync_dir(parent(dir)),
        Err(e) if e.kind() == ErrorKind::AlreadyExists && dir.is_dir() => {
            match sync_dir(parent(dir)) {
                Err(WalError::Io { source, .. })
                    if source.kind() == ErrorKind::PermissionDenied =>
                {
                    Ok(())
                }
                synced => synced,
            }
        }
        Err(e) => Err(e).context("create directory", dir),
    }
}

/// Writes a small file so that after a crash it is there whole or not at all: temporary file,
/// sync, rename, sync of the directory.
pub fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), WalError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let mut file = File::create(&temporary).context("create", &temporary)?;
    file.write_all(bytes).context("write", &temporary)?;
    file.sync_all().context("sync", &temporary)?;
    fs::rename(&temporary, path).context("rename into place", path)?;
    sync_dir(parent(path))
}

/// Removes a file and makes that durable; `false` if it was not there.
pub fn remove_durably(path: &Path) -> Result<bool, WalError> {
    match fs::remove_file(path) {
        Ok(()) => sync_dir(parent(path)).map(|()| true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e).context("remove", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_strictly_as_they_are_written() {
        assert_eq!(base_of("00000000000000000007.seg"), Some(Lsn(7)));
        assert_eq!(base_of(&segment_file_name(Lsn(u64::MAX))), Some(Lsn(u64::MAX)));
        for foreign in ["7.seg", "00000000000000000007.seg.tmp", "00000000000000000007", ".seg"] {
            assert_eq!(base_of(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn foreign_files_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        assert_eq!(layout.sealed_bases().unwrap(), []);
        layout.create().unwrap();
        for name in ["00000000000000000009.seg", "00000000000000000002.seg", "lost+found"] {
            fs::write(layout.sealed_dir().join(name), b"").unwrap();
        }
        assert_eq!(layout.sealed_bases().unwrap(), [Lsn(2), Lsn(9)]);
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
