//! Sealed segments as the shipper sees them: list, inspect, watch, delete, quarantine.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::error::{IoContext, WalError};
use crate::footer::Footer;
use crate::identity::WalId;
use crate::layout::{Layout, create_dir_durably, segment_file_name, sync_dir, write_durably};
use crate::lsn::Lsn;
use crate::reader::{Item, Kind, SegmentReader};

/// A file in `sealed/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSegment {
    /// The LSN of its first event, by its name.
    pub base: Lsn,
    /// Where it is.
    pub path: PathBuf,
    /// Its size, footer included.
    pub bytes: u64,
}

/// The sealed segments, oldest first.
pub fn list(layout: &Layout) -> Result<Vec<SealedSegment>, WalError> {
    let mut segments = Vec::new();
    for base in layout.sealed_bases()? {
        let path = layout.sealed_file(base);
        match fs::metadata(&path) {
            Ok(data) => segments.push(SealedSegment { base, path, bytes: data.len() }),
            // Shipped and deleted since the directory was read.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).context("stat", &path),
        }
    }
    Ok(segments)
}

/// What a segment says of itself, once it is sure that it belongs here under its name; `None` if its
/// footer is damaged. Cheap, unless something is wrong with it.
///
/// Footers are believed as far as they agree with names: a damaged one must not make a segment
/// another WAL's, or give its events the place of others. What decides then is under a CRC of its
/// own, the log header's or a batch header's.
///
/// # Errors
/// [`WalError::ForeignSegment`] or [`WalError::Misplaced`] if it does not belong here, and all of
/// [`SegmentReader::open`].
pub fn inspect(segment: &SealedSegment, wal_id: WalId) -> Result<Option<Footer>, WalError> {
    let path = &segment.path;
    let mut reader = SegmentReader::open(path, Kind::Sealed)?;
    let Some(footer) = reader.footer() else {
        let found = reader.header().map_or(wal_id, |header| header.wal_id);
        return if found == wal_id { Ok(None) } else { Err(foreign(path, found, wal_id)) };
    };
    match reader.header() {
        Some(header) if header.wal_id != wal_id => {
            return Err(foreign(path, header.wal_id, wal_id));
        }
        None if footer.wal_id != wal_id => {
            while reader.next_item()?.is_some() {}
            if reader.is_as_sealed() {
                return Err(foreign(path, footer.wal_id, wal_id));
            }
            return Ok(None);
        }
        _ => {}
    }
    if footer.base == segment.base {
        return Ok(Some(footer));
    }
    while let Some(item) = reader.next_item()? {
        match item {
            Item::Batch(batch) if batch.range.first == segment.base => break,
            Item::Batch(_) => {
                return Err(WalError::Misplaced { path: path.clone(), base: footer.base });
            }
            Item::Damage(_) => {}
        }
    }
    Ok(None)
}

fn foreign(path: &Path, found: WalId, expected: WalId) -> WalError {
    WalError::ForeignSegment { path: path.to_path_buf(), found, expected }
}

/// Deletes shipped segments, durably. Those already gone are passed over.
pub fn delete(layout: &Layout, bases: impl IntoIterator<Item = Lsn>) -> Result<(), WalError> {
    for base in bases {
        let path = layout.sealed_file(base);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).context("remove", &path);
            }
            _ => {}
        }
    }
    sync_dir(&layout.sealed_dir())
}

/// Moves a damaged segment to `quarantine/` with a report beside it, durably.
pub fn quarantine(layout: &Layout, base: Lsn, report: &[u8]) -> Result<PathBuf, WalError> {
    let dir = layout.quarantine_dir();
    create_dir_durably(&dir)?;
    let target = dir.join(segment_file_name(base));
    write_durably(&target.with_extension("json"), report)?;
    let path = layout.sealed_file(base);
    match fs::rename(&path, &target) {
        // Moved by an earlier run that was cut before it could go on.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && target.exists() => {}
        result => result.context("quarantine", &path)?,
    }
    sync_dir(&dir)?;
    sync_dir(&layout.sealed_dir())?;
    Ok(target)
}

/// Tells when a segment may have been sealed.
#[derive(Debug)]
pub struct SealedWatch {
    inotify: Inotify,
}

impl SealedWatch {
    /// Watches the directory of sealed segments, which must exist.
    pub fn new(layout: &Layout) -> Result<Self, WalError> {
        let dir = layout.sealed_dir();
        let watch = || {
            let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
            let events = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CREATE;
            inotify.add_watch(&dir, events | AddWatchFlags::IN_ONLYDIR)?;
            Ok(inotify)
        };
        watch().map(|inotify| Self { inotify }).map_err(|e: Errno| io_error(e, &dir))
    }

    /// Waits until something has come into the directory, for at most `patience`; `true` if so.
    ///
    /// A hint only: list the directory now and then in any case, since the kernel drops events
    /// when its queue is full.
    pub fn wait(&self, patience: Duration) -> Result<bool, WalError> {
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) | Err(Errno::EINTR) => return Ok(false),
            Ok(_) => {}
            Err(e) => return Err(io_error(e, Path::new("inotify"))),
        }
        loop {
            match self.inotify.read_events() {
                Ok(_) => {}
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(true),
                Err(e) => return Err(io_error(e, Path::new("inotify"))),
            }
        }
    }
}

fn io_error(errno: Errno, path: &Path) -> WalError {
    WalError::Io { action: "watch", path: path.to_path_buf(), source: errno.into() }
}
