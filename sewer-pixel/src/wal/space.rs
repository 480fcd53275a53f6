//! Watches the free space, so that events are refused before a write fails.
//!
//! A thread of its own asks the file system four times a second; a file system that does not
//! answer delays nothing else. Full is full until the next look says otherwise: when the shipper
//! has freed space, the pixel takes events again by itself.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use nix::sys::statvfs::statvfs;
use sewer_ops::periodic::Periodic;
use sewer_ops::reload::Live;
use sewer_wal::{Layout, WalError, space};

use crate::config::{Config, WalConfig};
use crate::metrics::Metrics;

/// How often to look. At 100 MB/s of events 25 MB come in between, far below the default reserve.
const INTERVAL: Duration = Duration::from_millis(250);

/// The inodes below which a file system counts as full: each roll of a segment takes some.
pub(crate) const INODES_MIN: u64 = 32;

/// The inodes that are free on the file system of a path; `None` if it has no fixed number of them.
pub(crate) fn free_inodes(path: &Path) -> Option<u64> {
    let found = statvfs(path).ok()?;
    (found.files() > 0).then(|| found.files_available())
}

/// The watching thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct SpaceWatch {
    _thread: Periodic,
}

impl SpaceWatch {
    /// Looks once, so that the first request already finds the right answer, and goes on looking.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub(crate) fn start(
        layout: Layout,
        config: Arc<Live<Config>>,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let mut watch = Watch { layout, config, metrics, was_full: false };
        watch.look();
        Ok(Self { _thread: Periodic::start("space", INTERVAL, move || watch.look())? })
    }
}

struct Watch {
    layout: Layout,
    config: Arc<Live<Config>>,
    metrics: Arc<Metrics>,
    was_full: bool,
}

impl Watch {
    fn look(&mut self) {
        let config = self.config.get();
        match self.measure(&config.wal) {
            Ok(room) => {
                let full = room.full(&config.wal);
                self.metrics.space(room.free_bytes, room.free_inodes, full.clone());
                self.tell(full, &room);
            }
            // What cannot be measured is not full; a write that fails says so by itself.
            Err(error) => tracing::warn!(%error, "cannot tell the free space"),
        }
    }

    fn measure(&self, config: &WalConfig) -> Result<Room, WalError> {
        let used = config.max_bytes.map(|_| space::used_bytes(&self.layout)).transpose()?;
        Ok(Room {
            free_bytes: space::free_bytes(self.layout.root())?,
            free_inodes: free_inodes(self.layout.root()),
            used_bytes: used,
        })
    }

    fn tell(&mut self, full: Option<String>, room: &Room) {
        if full.is_some() == std::mem::replace(&mut self.was_full, full.is_some()) {
            return;
        }
        if let Some(full) = full {
            tracing::error!("{full}; no event is taken until the shipper or you free space");
        } else {
            let free = shown(room.free_bytes);
            tracing::info!(%free, "there is space again; taking events");
        }
    }
}

/// The room on the WAL's file system.
struct Room {
    free_bytes: u64,
    /// `None` if it has no fixed number of them.
    free_inodes: Option<u64>,
    /// The size of the WAL, if that is limited.
    used_bytes: Option<u64>,
}

impl Room {
    /// Why it is not enough, in a sentence.
    fn full(&self, config: &WalConfig) -> Option<String> {
        let min_free = config.min_free_bytes.as_u64();
        if self.free_bytes < min_free {
            let (free, min_free) = (shown(self.free_bytes), shown(min_free));
            return Some(format!(
                "the disk is full: {free} are free, and wal.min_free_bytes keeps {min_free}"
            ));
        }
        if let (Some(used), Some(max)) = (self.used_bytes, config.max_bytes.map(|max| max.as_u64()))
            && used >= max
        {
            let (used, max) = (shown(used), shown(max));
            return Some(format!("the WAL is full: it holds {used}, and wal.max_bytes is {max}"));
        }
        let inodes = self.free_inodes.filter(|inodes| *inodes < INODES_MIN)?;
        Some(format!("the disk is full: {inodes} inodes are free, and {INODES_MIN} are needed"))
    }
}

fn shown(bytes: u64) -> ByteSize {
    ByteSize::b(bytes)
}
