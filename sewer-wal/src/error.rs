//! The errors of a WAL, each with the place and what to do.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::identity::{SegmentName, WalId};
use crate::lsn::Lsn;

/// An error of the WAL.
#[derive(Debug, Error)]
pub enum WalError {
    /// A call of the operating system failed.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// The action that failed, a verb phrase.
        action: &'static str,
        /// The file or directory concerned.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Another process appends to this WAL.
    #[error(
        "the WAL {} is in use{}: only one process may append; stop it, or give this one another \
         wal.dir",
        dir.display(),
        holder.as_ref().map(|pid| format!(" by process {pid}")).unwrap_or_default()
    )]
    Locked {
        /// The WAL's directory.
        dir: PathBuf,
        /// The process id that LOCK names, if it names one.
        holder: Option<String>,
    },
    /// The file ID is damaged, and nothing else in the directory tells whose it is.
    #[error(
        "{} is damaged, and nothing else here tells the WAL's identity; start sewer-pixel, which \
         begins a new one",
        path.display()
    )]
    BadIdentity {
        /// The file ID.
        path: PathBuf,
    },
    /// A file belongs to another WAL.
    #[error(
        "{} belongs to the WAL {found}, not to {expected}; move it to a directory of its own",
        path.display()
    )]
    ForeignSegment {
        /// The file concerned.
        path: PathBuf,
        /// The identity that it carries.
        found: WalId,
        /// The identity of the WAL.
        expected: WalId,
    },
    /// A file in `sealed/` does not have the name of a segment.
    #[error(
        "{} is left alone: a segment's name is the LSN of its first event, in 20 digits, perhaps \
         - and a WAL id, and .seg; if it is one, give it back its name, else move it away",
        path.display()
    )]
    Stranger {
        /// The file concerned.
        path: PathBuf,
    },
    /// A segment does not have the name that its content tells.
    #[error(
        "{} holds the segment of LSN {base} and is left alone: if it is a copy, move it away; if \
         it was renamed, give it back the name {}",
        path.display(), SegmentName::from(*base)
    )]
    Misplaced {
        /// The file concerned.
        path: PathBuf,
        /// The base that its content tells.
        base: Lsn,
    },
    /// A directory, or another thing that is no file, where a file belongs.
    #[error("{} is not a file, as one of that name must be; move it away", path.display())]
    NotAFile {
        /// The thing in the way.
        path: PathBuf,
    },
    /// The log that is being written, or the lock, is no longer where it was made.
    #[error("{} was removed, replaced or moved while the WAL was in use: events acknowledged since the last segment was sealed may be lost with it; put it back, or make the directory that held the WAL, and restart", path.display())]
    Removed {
        /// The file concerned.
        path: PathBuf,
    },
    /// The file system has no direct I/O, and it was insisted on.
    #[error(
        "the file system of {} does not allow direct I/O, which `wal.engine = \"direct\"` \
         insists on; set it to \"auto\" or \"okaywal\"",
        dir.display()
    )]
    NoDirectIo {
        /// The WAL's directory.
        dir: PathBuf,
    },
    /// There is no LSN left.
    #[error("the WAL has used up its LSNs; move its directory away once everything is shipped")]
    LsnsUsedUp,
    /// A sealed segment of that name is already there, with other content.
    #[error(
        "cannot publish {}: a different segment of that name exists; move that one out of \
         sealed/ and restart",
        path.display()
    )]
    SegmentExists {
        /// The name in sealed/.
        path: PathBuf,
    },
    /// A file has a format that this build does not read.
    #[error(
        "{} has format version {version}; this build reads version {supported}: use the Sewer \
         that wrote it, or a newer one",
        path.display()
    )]
    Version {
        /// The file concerned.
        path: PathBuf,
        /// The version that it announces.
        version: u32,
        /// The newest version that this build reads.
        supported: u32,
    },
    /// A file has a form, codec or cipher that this build does not have.
    #[error(
        "{} is encoded as this build cannot read it: use the Sewer that wrote it, or a newer one",
        path.display()
    )]
    Encoding {
        /// The file concerned.
        path: PathBuf,
    },
    /// A batch is larger than one entry may be.
    #[error("a batch of {bytes} bytes is over the limit of {limit}")]
    BatchTooLarge {
        /// Its size with framing.
        bytes: usize,
        /// [`crate::batch::BATCH_BYTES_MAX`].
        limit: usize,
    },
    /// An earlier write or sync failed; the process must end and recover.
    #[error(
        "the WAL failed earlier ({0}) and takes no more events; restart the process to recover"
    )]
    Poisoned(String),
}

impl WalError {
    /// Whether there was no space left for it.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        let Self::Io { source, .. } = self else { return false };
        matches!(source.kind(), StorageFull | QuotaExceeded)
    }

    /// Whether what was asked for is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// An error and its causes in one line for the operator. Many errors name their cause already;
/// what the line ends with is not said again.
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}

/// Gives an [`io::Error`] its action and path.
pub(crate) trait IoContext<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, WalError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, WalError> {
        self.map_err(|source| WalError::Io { action, path: path.to_path_buf(), source })
    }
}

impl<T> IoContext<T> for nix::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, WalError> {
        self.map_err(io::Error::from).context(action, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_is_named_already_is_not_said_again() {
        let path = Path::new("/a/b");
        let error = Err::<(), _>(io::Error::other("no")).context("open", path).unwrap_err();
        assert_eq!(one_line(&error), "open /a/b: no");
        assert_eq!(one_line(&io::Error::other(error)), "open /a/b: no");
    }
}
