//! Sealed segments as the shipper sees them: list, inspect, watch, delete, quarantine.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::durable::{create_dir_durably, sync_dir, write_durably};
use crate::error::{IoContext, WalError};
use crate::format::footer::Footer;
use crate::identity::{Identity, SegmentName, WalId};
use crate::layout::Layout;
use crate::lsn::Lsn;
use crate::reader::{Item, Kind, SegmentReader};

/// A file in `sealed/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSegment {
    /// Its name.
    pub name: SegmentName,
    /// Where it is.
    pub path: PathBuf,
    /// Its size, footer included.
    pub bytes: u64,
}

/// A segment that belongs where it is, as far as it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// The WAL whose events it holds.
    pub wal_id: WalId,
    /// Its footer, if it is intact.
    pub footer: Option<Footer>,
}

/// The sealed segments, in the order of their names: for each WAL, oldest first.
pub fn list(layout: &Layout) -> Result<Vec<SealedSegment>, WalError> {
    let mut segments = Vec::new();
    for name in layout.sealed_names()? {
        let path = layout.sealed_file(name);
        match fs::metadata(&path) {
            Ok(data) => segments.push(SealedSegment { name, path, bytes: data.len() }),
            // Shipped and deleted since the directory was read.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e).context("stat", &path),
        }
    }
    Ok(segments)
}

/// The WAL and the footer of a segment, once it is sure that it belongs here under its name. Cheap,
/// unless something is wrong with it.
///
/// Footers of format 1 are believed as far as they agree with names: a damaged one must not make a
/// segment another WAL's, or give its events the place of others. What decides then is under a CRC
/// of its own, the header's or a batch header's. Where nothing tells the WAL, it is that of the
/// name, or that of plain names.
///
/// # Errors
/// [`WalError::ForeignSegment`] or [`WalError::Misplaced`] if it does not belong here, and all of
/// [`SegmentReader::open`].
pub fn inspect(segment: &SealedSegment, identity: &Identity) -> Result<Inspected, WalError> {
    let path = &segment.path;
    let mut reader = SegmentReader::open(path, Kind::Sealed)?;
    let footer = reader.footer();
    let told = reader.header().map(|header| header.wal_id);
    let named = segment.name.wal_id.unwrap_or(identity.of_plain_names());
    let told = told.or(footer.filter(Footer::has_own_crc).map(|footer| footer.wal_id));
    let wal_id = match (told, footer) {
        (Some(told), _) => told,
        (None, Some(footer)) if !identity.owns(footer.wal_id) => {
            while reader.next_item()?.is_some() {}
            if reader.is_as_sealed() {
                return Err(foreign(path, footer.wal_id, identity.id));
            }
            return Ok(Inspected { wal_id: named, footer: None });
        }
        (None, Some(footer)) => footer.wal_id,
        (None, None) => named,
    };
    if !identity.owns(wal_id) || segment.name.wal_id.is_some_and(|named| named != wal_id) {
        return Err(foreign(path, wal_id, named));
    }
    let Some(footer) = footer else { return Ok(Inspected { wal_id, footer: None }) };
    if footer.base == segment.name.base {
        return Ok(Inspected { wal_id, footer: Some(footer) });
    }
    while let Some(item) = reader.next_item()? {
        match item {
            Item::Batch(batch) if batch.range.first == segment.name.base => break,
            Item::Batch(_) => {
                return Err(WalError::Misplaced { path: path.clone(), base: footer.base });
            }
            Item::Damage(_) => {}
        }
    }
    Ok(Inspected { wal_id, footer: None })
}

fn foreign(path: &Path, found: WalId, expected: WalId) -> WalError {
    WalError::ForeignSegment { path: path.to_path_buf(), found, expected }
}

/// Where the events behind those of a segment begin, as far as anything tells: by the next segment
/// of the same WAL, by its oldest log, or by what a clean stop has noted. Only for a segment that
/// is damaged: it opens others.
pub fn next_base(
    layout: &Layout,
    identity: &Identity,
    wal_id: WalId,
    name: SegmentName,
) -> Result<Option<Lsn>, WalError> {
    let is_behind = |lsn: &Lsn| *lsn > name.base;
    let mut nearest = identity.next_lsn.filter(|_| wal_id == identity.id).filter(is_behind);
    // Logs before segments: one that is sealed meanwhile is then seen twice, not missed.
    for number in layout.log_numbers()? {
        match first_lsn(&layout.log_file(number), wal_id) {
            Ok(begins) => nearest = nearest.into_iter().chain(begins.filter(is_behind)).min(),
            Err(error) => tracing::debug!(%error, "a log is not asked where it begins"),
        }
    }
    let mut names = [layout.sealed_names()?, layout.quarantined_names()?].concat();
    names.retain(|next| is_behind(&next.base) && next.wal_id.is_none_or(|named| named == wal_id));
    names.sort_unstable_by_key(|next| next.base);
    let dirs = [layout.sealed_dir(), layout.quarantine_dir()];
    for next in names.into_iter().take_while(|next| nearest.is_none_or(|n| next.base < n)) {
        let mut paths = dirs.iter().map(|dir| dir.join(next.to_string()));
        if paths.any(|path| is_of_wal(path, next, identity, wal_id)) {
            return Ok(Some(next.base));
        }
    }
    Ok(nearest)
}

/// Whether there is a segment of the WAL; one that cannot be read is taken at its name.
fn is_of_wal(path: PathBuf, name: SegmentName, identity: &Identity, wal_id: WalId) -> bool {
    match inspect(&SealedSegment { name, path, bytes: 0 }, identity) {
        Ok(inspected) => inspected.wal_id == wal_id,
        Err(WalError::ForeignSegment { .. } | WalError::Misplaced { .. }) => false,
        Err(e) if e.is_not_found() => false,
        Err(_) => name.wal_id.unwrap_or(identity.of_plain_names()) == wal_id,
    }
}

/// The LSN with which a log of the WAL begins.
fn first_lsn(path: &Path, wal_id: WalId) -> Result<Option<Lsn>, WalError> {
    let mut reader = SegmentReader::open(path, Kind::Active)?;
    if reader.header().is_none_or(|header| header.wal_id != wal_id) {
        return Ok(None);
    }
    while let Some(item) = reader.next_item()? {
        match item {
            Item::Batch(batch) => return Ok(Some(batch.range.first)),
            Item::Damage(damage) if damage.lost.is_empty() => {}
            Item::Damage(damage) => return Ok(Some(damage.lost.first)),
        }
    }
    Ok(None)
}

/// Deletes shipped segments, durably. Those already gone are passed over.
pub fn delete<N: Into<SegmentName>>(
    layout: &Layout,
    names: impl IntoIterator<Item = N>,
) -> Result<(), WalError> {
    for name in names {
        let path = layout.sealed_file(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(e).context("remove", &path);
            }
            _ => {}
        }
    }
    sync_dir(&layout.sealed_dir())
}

/// Moves a damaged segment to `quarantine/` with a report beside it, durably. Can be repeated.
///
/// It has its new name, durably, before it loses the old one: whoever deletes other segments
/// meanwhile syncs `sealed/`, and after a power cut it would be in neither directory.
pub fn quarantine(layout: &Layout, name: SegmentName, report: &[u8]) -> Result<PathBuf, WalError> {
    let dir = layout.quarantine_dir();
    create_dir_durably(&dir)?;
    let target = dir.join(name.to_string());
    write_durably(&layout.quarantine_report(name), report)?;
    let path = layout.sealed_file(name);
    let inode = |path: &Path| fs::symlink_metadata(path).map(|data| data.ino()).ok();
    let drop_old_name =
        || sync_dir(&dir).and_then(|()| fs::remove_file(&path).context("remove", &path));
    let moved = match fs::hard_link(&path, &target) {
        Ok(()) => drop_old_name(),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            // Moved by an earlier run that was cut before it could go on.
            if !target.exists() {
                tracing::warn!(path = %path.display(), "gone before it could be quarantined");
            }
            Ok(())
        }
        // Renaming one name of a file to another of its names does nothing.
        Err(_) if inode(&path) == inode(&target) => drop_old_name(),
        // In the place of what was quarantined before this disk was put back; or there are no
        // further names for a file here.
        Err(_) => fs::rename(&path, &target).context("quarantine", &path),
    };
    moved?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarantine_that_was_cut_anywhere_is_brought_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        layout.create().unwrap();
        let name = SegmentName::from(Lsn(5));
        let (sealed, kept) = (layout.sealed_file(name), layout.quarantine_dir());
        let kept = kept.join(name.to_string());
        let quarantined = || {
            quarantine(&layout, name, b"{}\n").unwrap();
            assert!(!sealed.exists());
            fs::read(&kept).unwrap()
        };
        fs::write(&sealed, "first").unwrap();
        assert_eq!(quarantined(), b"first");
        assert_eq!(quarantined(), b"first", "it is repeated");
        // Cut between its new name and the loss of the old one.
        fs::hard_link(&kept, &sealed).unwrap();
        assert_eq!(quarantined(), b"first");
        // Another one of that name, as on a disk that was put back.
        fs::write(&sealed, "second").unwrap();
        assert_eq!(quarantined(), b"second");
    }
}
