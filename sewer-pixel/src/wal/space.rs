//! Watches the free space, so that events are refused before a write fails.
//!
//! A thread of its own asks the file system four times a second; a file system that does not
//! answer delays nothing else. Full is full until the next look says otherwise: when the shipper
//! has freed space, the pixel takes events again by itself.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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
        let (min_free_bytes, max_bytes) = limits(&config.wal);
        match self.measure(max_bytes.is_some()) {
            Ok((free_bytes, used_bytes)) => {
                let over = |max| used_bytes.is_some_and(|used| used >= max);
                let free_inodes = free_inodes(self.layout.root());
                let is_full = free_bytes < min_free_bytes
                    || max_bytes.is_some_and(over)
                    || free_inodes.is_some_and(|inodes| inodes < INODES_MIN);
                self.metrics.space(free_bytes, free_inodes, is_full);
                self.tell(&config.wal, is_full, (free_bytes, free_inodes, used_bytes));
            }
            // What cannot be measured is not full; a write that fails says so by itself.
            Err(error) => tracing::warn!(%error, "cannot tell the free space"),
        }
    }

    fn measure(&self, used_too: bool) -> Result<(u64, Option<u64>), WalError> {
        let free_bytes = space::free_bytes(self.layout.root())?;
        let used_bytes = if used_too { Some(space::used_bytes(&self.layout)?) } else { None };
        Ok((free_bytes, used_bytes))
    }

    fn tell(
        &mut self,
        config: &WalConfig,
        is_full: bool,
        (free_bytes, free_inodes, used_bytes): (u64, Option<u64>, Option<u64>),
    ) {
        if is_full == self.was_full {
            return;
        }
        self.was_full = is_full;
        if is_full {
            let (min_free_bytes, max_bytes) = limits(config);
            tracing::error!(
                free_bytes,
                min_free_bytes,
                free_inodes,
                used_bytes,
                max_bytes,
                "the disk is full: no event is taken until the shipper or you free space"
            );
        } else {
            tracing::info!(free_bytes, used_bytes, "there is space again; taking events");
        }
    }
}

/// The free bytes below which, and the size of the WAL above which, the disk counts as full.
fn limits(config: &WalConfig) -> (u64, Option<u64>) {
    (config.min_free_bytes.as_u64(), config.max_bytes.map(|size| size.as_u64()))
}
