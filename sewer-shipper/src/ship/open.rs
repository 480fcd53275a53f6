//! Everything that must be there before anything is shipped: a WAL, the right to ship it, a
//! journal.

use std::fs::File;
use std::sync::Arc;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::statvfs::{FsFlags, statvfs};
use sewer_wal::{Identity, Layout};
use thiserror::Error;

use crate::config::Config;
use crate::destination::{self, DestinationError};
use crate::metrics::Metrics;
use crate::plan::journal::{Journal, JournalError};
use crate::ship::Tools;
use crate::ship::done_marker::OpenPartitions;

/// Why shipping cannot begin at all.
#[derive(Debug, Error)]
pub enum OpenError {
    /// There is no WAL in the directory.
    #[error("there is no WAL in {0}: start sewer-pixel first, or set wal.dir")]
    NoWal(String),
    /// Another shipper holds the WAL.
    #[error(
        "another shipper is shipping the WAL in {0}: only one may; stop it first (systemctl stop sewer-shipper)"
    )]
    Locked(String),
    /// The lock cannot be taken.
    #[error("lock {path}: {source}")]
    Lock {
        /// The directory.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Nothing can be written beside the segments.
    #[error(
        "the WAL in {0} is on a read-only file system, and what is shipped must be remembered: give \
         a directory elsewhere for that with --replay --journal DIR, and the same one again if it \
         is interrupted"
    )]
    ReadOnly(String),
    /// The WAL cannot be read.
    #[error(transparent)]
    Wal(#[from] sewer_wal::WalError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The destination cannot be used.
    #[error("key `destination.uri`: {0}")]
    Destination(#[from] DestinationError),
}

/// Everything that a planner begins with.
pub(super) struct Opened {
    pub tools: Tools,
    pub identity: Identity,
    /// The name of the node that has recorded the events.
    pub host: String,
    pub lock: Flock<File>,
}

/// Takes the right to ship the WAL in `layout`, and opens its journal and the destination.
pub(super) fn open(config: &Config, layout: &Layout, is_own: bool) -> Result<Opened, OpenError> {
    let lock = lock(layout)?;
    let root = || layout.root().display().to_string();
    let identity = sewer_wal::look_up_identity(layout)?.ok_or_else(|| OpenError::NoWal(root()))?;
    let is_read_only = |flags: FsFlags| flags.contains(FsFlags::ST_RDONLY);
    if statvfs(layout.root()).is_ok_and(|found| is_read_only(found.flags())) {
        return Err(OpenError::ReadOnly(root()));
    }
    let journal = Journal::open(layout)?;
    journal.take_over(&config.shipper.dir, &identity, is_own)?;
    let host = host(config, &journal, &identity, is_own)?;
    let open_partitions = if config.destination.done_marker {
        Some(Arc::new(OpenPartitions::load(journal.clone())?))
    } else {
        None
    };
    let destination = destination::open(&config.destination.uri, config.destination_options())?;
    let metrics = Arc::new(Metrics::new(config.status.max_lag));
    let layout = layout.clone();
    let tools = Tools { layout, journal, destination, metrics, open_partitions };
    Ok(Opened { tools, identity, host, lock })
}

/// The name of the node that has recorded the events: this one, or that of the dead node.
fn host(
    config: &Config,
    journal: &Journal,
    identity: &Identity,
    is_own: bool,
) -> Result<String, OpenError> {
    let own = &config.shipper.host;
    if is_own {
        journal.note_host(own)?;
        return Ok(own.clone());
    }
    let noted = journal.host(identity)?;
    if noted.is_none() {
        tracing::warn!(
            host = own,
            "nothing in this WAL tells which node it is of: what is not planned yet is shipped \
             under the name of this one (or of --set shipper.host=NAME)"
        );
    }
    Ok(noted.unwrap_or_else(|| own.clone()))
}

/// Takes the lock on `sealed/` at once or not at all.
pub(crate) fn lock(layout: &Layout) -> Result<Flock<File>, OpenError> {
    let dir = layout.sealed_dir();
    let root = layout.root().display().to_string();
    let error = |source| OpenError::Lock { path: dir.display().to_string(), source };
    let file = match File::open(&dir) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(OpenError::NoWal(root)),
        Err(e) => return Err(error(e)),
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(OpenError::Locked(root)),
        Err((_, errno)) => Err(error(errno.into())),
    }
}
