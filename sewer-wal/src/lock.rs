//! Who may append to a WAL, and as whom: `LOCK`, and the file `ID` on disk.
//!
//! `LOCK` is flock'ed by the process that appends; the kernel lets go of it when that process ends,
//! however it ends. `ID` is written by that process alone.
//!
//! ```text
//! LOCK     = process id, "\n", born      the last process that took it, for a message
//! born     = "born <inode> <nanoseconds>\n"   of the file LOCK itself, as in ID; since the first
//!                                            process that appended here
//! ```
//! Each of the two files tells that the directory is a copy; `LOCK` is asked where `ID` is damaged.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::durable::{FILE_MODE, set_file_mode, write_durably_with};
use crate::error::{IoContext, WalError};
use crate::identity::{Birth, IdContent, Identity, WalId};
use crate::layout::Layout;
use crate::reader::window::is_bad_sector;

/// Larger than any file `ID`.
const ID_BYTES_MAX: u64 = 64 << 10;

/// Larger than any file `LOCK`.
const LOCK_BYTES_MAX: u64 = 128;

/// The content of the file `ID`, and whether it is that of this file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    Missing,
    Damaged,
    /// As format 1 has it, without a checksum.
    Old(WalId),
    Sound(Identity),
    /// Sound, and written to another file than this one.
    Copied(Identity),
}

/// Reads the file `ID`.
pub(crate) fn load(layout: &Layout) -> Result<Stored, WalError> {
    let path = layout.id_file();
    let mut bytes = Vec::new();
    let read = fs::metadata(&path).and_then(|data| {
        if data.is_file() {
            File::open(&path)?.take(ID_BYTES_MAX).read_to_end(&mut bytes)?;
        }
        Ok(data)
    });
    let data = match read {
        Ok(data) if !data.is_file() => return Err(WalError::NotAFile { path }),
        Ok(data) => data,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Stored::Missing),
        Err(e) if is_bad_sector(&e) => return Ok(Stored::Damaged),
        Err(e) => return Err(e).context("read", &path),
    };
    Ok(match Identity::decode(&bytes) {
        IdContent::Damaged => Stored::Damaged,
        IdContent::Old(id) => Stored::Old(id),
        IdContent::Sound(identity) => {
            let is_copy = identity.born.is_some_and(|born| is_other(born, birth(&data)));
            if is_copy { Stored::Copied(identity) } else { Stored::Sound(identity) }
        }
    })
}

/// Whether the file `ID` is a copy of another one.
pub(crate) fn is_copy(layout: &Layout) -> Result<bool, WalError> {
    Ok(matches!(load(layout)?, Stored::Copied(_)))
}

/// Writes the file `ID` durably, in the place of what is there.
pub(crate) fn store(layout: &Layout, identity: &Identity) -> Result<(), WalError> {
    write_durably_with(&layout.id_file(), |data| {
        Identity { born: Some(birth(data)), ..identity.clone() }.encode()
    })
}

/// Whether a file is another one. Where a file system has no times of birth that cannot be told:
/// there, inodes need not outlive a mount either.
fn is_other(then: Birth, now: Birth) -> bool {
    match (then.nanoseconds, now.nanoseconds) {
        (None, None) => false,
        _ => then != now,
    }
}

fn birth(data: &Metadata) -> Birth {
    let since_epoch = data.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let nanoseconds = since_epoch.and_then(|since| u64::try_from(since.as_nanos()).ok());
    Birth { inode: data.ino(), nanoseconds }
}

/// The right to append to a WAL; held until dropped.
#[derive(Debug)]
pub struct WalLock {
    path: PathBuf,
    file: Flock<File>,
    /// The file that `LOCK` says it is.
    born: Option<Birth>,
}

impl WalLock {
    /// Takes the lock at once or not at all.
    ///
    /// # Errors
    /// [`WalError::Locked`] if another process holds it.
    pub fn acquire(layout: &Layout) -> Result<Self, WalError> {
        let path = layout.lock_file();
        let mut options = OpenOptions::new();
        let options = options.create(true).read(true).write(true).truncate(false).mode(FILE_MODE);
        let file = options.open(&path).context("open", &path)?;
        match set_file_mode(&file) {
            // Another user's, as when root looks after a WAL.
            Err(e) if e.kind() == ErrorKind::PermissionDenied => {}
            result => result.context("set the mode of", &path)?,
        }
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((_, Errno::EWOULDBLOCK)) => {
                let dir = layout.root().to_path_buf();
                return Err(WalError::Locked { dir, holder: holder(&path) });
            }
            Err((_, errno)) => return Err(errno).context("lock", &path),
        };
        let mut text = String::new();
        // What cannot be read tells nothing.
        let _ = (&mut *file).take(LOCK_BYTES_MAX).read_to_string(&mut text);
        let born = text.lines().nth(1).and_then(Birth::parse);
        let mut lock = Self { path, file, born };
        lock.write()?;
        // Removed between the two, it would keep nobody out.
        lock.check_place()?;
        Ok(lock)
    }

    /// Whether the directory is a copy, as far as `LOCK` tells: it is another file than it says.
    pub(crate) fn is_copied(&self) -> Result<bool, WalError> {
        let now = birth(&self.file.metadata().context("stat", &self.path)?);
        Ok(self.born.is_some_and(|born| is_other(born, now)))
    }

    /// Writes down that this is the file of the WAL that is appended to here.
    pub(crate) fn mark(&mut self) -> Result<(), WalError> {
        let now = birth(&self.file.metadata().context("stat", &self.path)?);
        if self.born.replace(now) == Some(now) {
            return Ok(());
        }
        self.write()
    }

    /// Not synced: a power cut may take it away, and then it tells nothing.
    fn write(&mut self) -> Result<(), WalError> {
        let born = self.born.map_or_else(String::new, |born| format!("{born}\n"));
        let text = format!("{}\n{born}", std::process::id());
        self.file.set_len(0).context("truncate", &self.path)?;
        self.file.write_all_at(text.as_bytes(), 0).context("write", &self.path)
    }

    /// Whether the file that is locked is still the one under its name.
    ///
    /// # Errors
    /// [`WalError::Removed`] if it is not, [`WalError::Io`] if that cannot be told.
    pub(crate) fn check_place(&self) -> Result<(), WalError> {
        let held = self.file.metadata().context("stat", &self.path)?;
        check_place(&self.path, (held.dev(), held.ino()))
    }
}

/// Whether the file with this device and inode is still the one of a WAL's under `path`.
///
/// # Errors
/// [`WalError::Removed`] if it is not, [`WalError::Io`] if that cannot be told.
pub(crate) fn check_place(path: &Path, file: (u64, u64)) -> Result<(), WalError> {
    let is_there = match fs::metadata(path) {
        Ok(data) => (data.dev(), data.ino()) == file,
        Err(e) if e.kind() == ErrorKind::NotFound => false,
        Err(e) => return Err(e).context("stat", path),
    };
    if is_there { Ok(()) } else { Err(WalError::Removed { path: path.to_path_buf() }) }
}

fn holder(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(LOCK_BYTES_MAX).read_to_string(&mut text).ok()?;
    let pid = text.lines().next().unwrap_or_default().trim();
    (!pid.is_empty()).then(|| pid.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsn::Lsn;

    #[test]
    fn a_second_appender_is_told_who_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let _held = WalLock::acquire(&layout).unwrap();
        let error = WalLock::acquire(&layout).unwrap_err().to_string();
        assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
    }

    #[test]
    fn a_copied_identity_is_told_from_the_one_that_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        assert_eq!(load(&layout).unwrap(), Stored::Missing);
        let identity = Identity { next_lsn: Some(Lsn(3)), ..Identity::new(WalId(7)) };
        store(&layout, &identity).unwrap();
        let Stored::Sound(read) = load(&layout).unwrap() else { panic!("not what was written") };
        assert_eq!(Identity { born: None, ..read.clone() }, identity);
        let moved = dir.path().join("elsewhere");
        std::fs::rename(layout.id_file(), &moved).unwrap();
        std::fs::rename(&moved, layout.id_file()).unwrap();
        assert_eq!(load(&layout).unwrap(), Stored::Sound(read.clone()), "moved, not copied");
        if read.born.is_none() {
            return; // the file system does not tell when files were made
        }
        std::fs::copy(layout.id_file(), &moved).unwrap();
        std::fs::remove_file(layout.id_file()).unwrap();
        std::fs::rename(&moved, layout.id_file()).unwrap();
        assert_eq!(load(&layout).unwrap(), Stored::Copied(read));
    }
}
