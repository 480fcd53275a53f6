//! One shipment after the other: take up what the journal holds, else plan what is due.
//!
//! A worker holds the right to ship its WAL: the lock of the kernel on the directory `sealed/`,
//! so that two shippers exclude each other wherever their own directories are.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use sewer_wal::{Layout, WalId};
use thiserror::Error;

use crate::backlog::{Backlog, Totals, Waiting};
use crate::config::Config;
use crate::destination::{self, Destination, DestinationError};
use crate::encode::EncodeError;
use crate::journal::{Journal, JournalError};
use crate::metrics::Metrics;
use crate::plan;
use crate::ship::{ShipError, Shipment, Tools};

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

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A shipment was brought to its end.
    Shipped,
    /// Nothing is due for that long, or until something is sealed.
    Idle(Option<Duration>),
}

/// Ships one WAL.
#[derive(Debug)]
pub struct Worker {
    config: Config,
    wal_id: WalId,
    tools: Tools,
    backlog: Backlog,
    current: Option<Shipment>,
    _lock: Flock<File>,
}

impl Worker {
    /// Takes the right to ship the WAL in `wal_dir`. `is_own`: it is the configured one, not that
    /// of another node.
    ///
    /// # Errors
    /// [`OpenError`], a line for the operator.
    pub fn open(config: &Config, wal_dir: &Path, is_own: bool) -> Result<Self, OpenError> {
        let layout = Layout::new(wal_dir);
        let lock = lock(&layout)?;
        let wal_id =
            WalId::load(&layout)?.ok_or_else(|| OpenError::NoWal(wal_dir.display().to_string()))?;
        let journal = if is_own {
            Journal::open(&config.shipper.dir)?
        } else {
            Journal::open_for(&config.shipper.dir, wal_id)?
        };
        let destination = destination::open(&config.destination.uri, config.destination_options())?;
        let metrics = Arc::new(Metrics::new());
        let tools = Tools { layout: layout.clone(), journal, destination, metrics };
        let backlog = Backlog::new(layout, wal_id);
        Ok(Self { config: config.clone(), wal_id, tools, backlog, current: None, _lock: lock })
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.tools.metrics
    }

    /// The WAL that is shipped.
    pub fn wal_id(&self) -> WalId {
        self.wal_id
    }

    /// The directory of the segments.
    pub fn sealed_dir(&self) -> PathBuf {
        self.tools.layout.sealed_dir()
    }

    /// Where output goes.
    pub fn destination(&self) -> &dyn Destination {
        &*self.tools.destination
    }

    /// Looks at what is sealed, and counts it.
    ///
    /// # Errors
    /// If the WAL cannot be read.
    pub fn refresh(&mut self) -> Result<Totals, ShipError> {
        self.backlog.refresh()?;
        let totals = self.backlog.totals();
        self.tools.metrics.backlog(totals);
        self.tools.metrics.set_aside(self.backlog.problems());
        Ok(totals)
    }

    /// Brings one shipment to its end, if there is one to be taken up or one is due; `force` makes
    /// all that is sealed due. After an error, the next step goes on where this one stopped.
    ///
    /// # Errors
    /// [`ShipError`]; nothing is lost.
    pub async fn step(&mut self, force: bool) -> Result<Step, ShipError> {
        self.refresh()?;
        if self.current.is_none() {
            self.current = self.next_shipment(force).await?;
        }
        let Some(shipment) = &mut self.current else {
            return Ok(Step::Idle(self.backlog.until_due(&self.config.roll)));
        };
        match shipment.run().await {
            Ok(()) => {
                self.current = None;
                self.refresh()?;
                Ok(Step::Shipped)
            }
            Err(error) => {
                let unreadable = error.unreadable_segment();
                if (error.is_changed() || unreadable.is_some()) && !shipment.has_published().await?
                {
                    shipment.withdraw().await?;
                    self.current = None;
                    if let Some(base) = unreadable {
                        self.backlog.set_aside(base, error.to_string());
                    }
                }
                Err(error)
            }
        }
    }

    async fn next_shipment(&mut self, force: bool) -> Result<Option<Shipment>, ShipError> {
        if let Some(plan) = self.tools.journal.load(self.wal_id)?.into_iter().next() {
            let mut tools = self.tools.clone();
            if plan.destination != self.config.destination.uri {
                // A change of configuration does not touch a plan already made.
                let options = self.config.destination_options();
                tools.destination = destination::open(&plan.destination, options)?;
            }
            tracing::info!(plan = plan.file_name(), "taking up a shipment");
            return Ok(Some(Shipment::new(plan, false, tools)));
        }
        let Some(run) = self.backlog.due(&self.config.roll, force) else { return Ok(None) };
        let plan = self.plan(run).await.inspect_err(|error| {
            // The others go on without it.
            if let Some(base) = error.unreadable_segment() {
                self.backlog.set_aside(base, error.to_string());
            }
        })?;
        self.tools.journal.store(&plan)?;
        tracing::info!(
            plan = plan.file_name(),
            segments = plan.segments.len(),
            events = plan.records(),
            files = plan.outputs.len(),
            "planned a shipment"
        );
        Ok(Some(Shipment::new(plan, true, self.tools.clone())))
    }

    async fn plan(&self, run: Vec<Waiting>) -> Result<plan::Plan, ShipError> {
        let (layout, wal_id) = (self.tools.layout.clone(), self.wal_id);
        let config = self.config.clone();
        let made =
            tokio::task::spawn_blocking(move || plan::make(&layout, wal_id, &run, &config)).await?;
        Ok(made.map_err(EncodeError::from)?)
    }
}

/// Takes the lock on `sealed/` at once or not at all.
fn lock(layout: &Layout) -> Result<Flock<File>, OpenError> {
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
