//! The next shipment: take up what the journal holds, else plan what is due.
//!
//! A planner holds the right to ship its WAL: the lock of the kernel on the directory `sealed/`,
//! so that two shippers exclude each other wherever their own directories are.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use sewer_wal::durable::create_dir_durably;
use sewer_wal::{Layout, SegmentName, WalId};
use thiserror::Error;

use crate::config::Config;
use crate::destination::{self, Destination, DestinationError};
use crate::metrics::Metrics;
use crate::plan::backlog::{Backlog, Totals, Waiting};
use crate::plan::journal::{Journal, JournalError};
use crate::plan::{self, Plan};
use crate::ship::done_marker::{Marker, OpenPartitions};
use crate::ship::encode::EncodeError;
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

/// How a shipment under way came to its end.
#[derive(Debug)]
pub enum Ended {
    /// All of it is delivered.
    Shipped,
    /// Its plan no longer fitted its segments; another one is to be made.
    Withdrawn {
        /// The segment that cannot be read to its end, and why.
        unreadable: Option<(SegmentName, String)>,
    },
    /// It was told to stop; the next start takes it up.
    Stopped,
}

impl Ended {
    /// The label for metrics; none if it goes on later.
    pub fn outcome(&self) -> Option<&'static str> {
        match self {
            Self::Shipped => Some("shipped"),
            Self::Withdrawn { .. } => Some("withdrawn"),
            Self::Stopped => None,
        }
    }
}

/// Plans the shipments of one WAL.
#[derive(Debug)]
pub struct Planner {
    config: Config,
    tools: Tools,
    backlog: Backlog,
    /// The plans that an earlier process left, once they have been read.
    left: Option<VecDeque<Plan>>,
    /// The segments of shipments under way, and of those left.
    claimed: BTreeSet<SegmentName>,
    _lock: Flock<File>,
}

impl Planner {
    /// Takes the right to ship the WAL in `wal_dir`. `is_own`: it is the configured one, not that
    /// of another node.
    ///
    /// # Errors
    /// [`OpenError`], a line for the operator.
    pub fn open(config: &Config, wal_dir: &Path, is_own: bool) -> Result<Self, OpenError> {
        let layout = Layout::new(wal_dir);
        let lock = lock(&layout)?;
        let identity = sewer_wal::look_up_identity(&layout)?
            .ok_or_else(|| OpenError::NoWal(wal_dir.display().to_string()))?;
        let dir = Journal::dir_for(&config.shipper.dir, &identity, is_own);
        if !is_own {
            // The journal makes its own directory, below one that must be there.
            create_dir_durably(&config.shipper.dir)?;
        }
        let journal = Journal::open(&dir)?;
        let open_partitions = if config.destination.done_marker {
            Some(Arc::new(OpenPartitions::load(&dir)?))
        } else {
            None
        };
        let destination = destination::open(&config.destination.uri, config.destination_options())?;
        let metrics = Arc::new(Metrics::new(config.status.max_lag));
        let tools =
            Tools { layout: layout.clone(), journal, destination, metrics, open_partitions };
        let backlog = Backlog::new(layout, identity);
        Ok(Self {
            config: config.clone(),
            tools,
            backlog,
            left: None,
            claimed: BTreeSet::new(),
            _lock: lock,
        })
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.tools.metrics
    }

    /// The WAL that is shipped, by its current id.
    pub fn wal_id(&self) -> WalId {
        self.backlog.identity().id
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The directory of the segments.
    pub fn sealed_dir(&self) -> PathBuf {
        self.tools.layout.sealed_dir()
    }

    /// Where output goes.
    pub fn destination(&self) -> &dyn Destination {
        &*self.tools.destination
    }

    /// What makes the markers of complete partitions, if that is asked for.
    pub fn marker(&self) -> Option<Marker> {
        let partitions = Arc::clone(self.tools.open_partitions.as_ref()?);
        let (layout, destination) = (self.tools.layout.clone(), self.tools.destination.clone());
        Some(Marker::new(&self.config, layout, self.wal_id(), destination, partitions))
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

    /// How long until a run is due, if nothing comes; `None` if there is nothing.
    pub fn until_due(&self) -> Option<Duration> {
        self.backlog.until_due(&self.config.roll, &self.claimed)
    }

    /// The next shipment: one to be taken up, else one that is due; `force` makes all that is
    /// sealed due. It has its segments until [`Self::ended`] is told of it.
    ///
    /// # Errors
    /// [`ShipError`]; nothing is lost.
    pub async fn next_shipment(&mut self, force: bool) -> Result<Option<Shipment>, ShipError> {
        if let Some(plan) = self.left()?.pop_front() {
            let mut tools = self.tools.clone();
            if plan.destination != self.config.destination.uri {
                // A change of configuration does not touch a plan already made.
                let options = self.config.destination_options();
                tools.destination = destination::open(&plan.destination, options)?;
            }
            tracing::info!(plan = plan.file_name(), "taking up a shipment");
            return Ok(Some(Shipment::new(plan, false, tools)));
        }
        let Some(run) = self.backlog.due(&self.config.roll, &self.claimed, force) else {
            return Ok(None);
        };
        let plan = self.plan(run).await.inspect_err(|error| {
            // The others go on without it.
            if let Some(name) = error.unreadable_segment() {
                self.backlog.set_aside(name, error.to_string());
            }
        })?;
        self.claimed.extend(&plan.segments);
        tracing::info!(
            plan = plan.file_name(),
            segments = plan.segments.len(),
            events = plan.records(),
            files = plan.outputs.len(),
            "planned a shipment"
        );
        Ok(Some(Shipment::new(plan, true, self.tools.clone())))
    }

    /// A shipment is no longer under way.
    pub fn ended(&mut self, segments: &[SegmentName], how: Ended) {
        for name in segments {
            self.claimed.remove(name);
        }
        if let Ended::Withdrawn { unreadable: Some((name, why)) } = how {
            self.backlog.set_aside(name, why);
        }
    }

    /// The plans to be taken up. What they are for is theirs from the moment they are known.
    fn left(&mut self) -> Result<&mut VecDeque<Plan>, ShipError> {
        let plans = match self.left.take() {
            Some(plans) => plans,
            None => self.tools.journal.load(self.backlog.identity())?.into(),
        };
        self.claimed.extend(plans.iter().flat_map(|plan| &plan.segments));
        Ok(self.left.insert(plans))
    }

    /// Plans a run and writes the plan down.
    async fn plan(&self, run: Vec<Waiting>) -> Result<Plan, ShipError> {
        let (layout, identity) = (self.tools.layout.clone(), self.backlog.identity().clone());
        let (config, journal) = (self.config.clone(), self.tools.journal.clone());
        tokio::task::spawn_blocking(move || {
            let plan = plan::make(&layout, &identity, &run, &config).map_err(EncodeError::from)?;
            journal.store(&plan)?;
            Ok(plan)
        })
        .await?
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
