//! The next shipment: take up what the journal holds, else plan what is due.
//!
//! A planner holds the right to ship its WAL: the lock of the kernel on the directory `sealed/`,
//! so that two shippers exclude each other wherever their own directories are.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::Flock;
use sewer_wal::{Layout, SegmentName, WalId};

use super::open::{self, OpenError, Opened};
use crate::config::Config;
use crate::destination::{self, Destination};
use crate::metrics::Metrics;
use crate::plan::backlog::{Backlog, Totals, now_ms};
use crate::plan::{self, DamagedPlan, Due, FileName, Found, Plan};
use crate::ship::done_marker::Marker;
use crate::ship::encode::EncodeError;
use crate::ship::{ShipError, Shipment, Tools};

/// The time after which a damaged plan is looked at again.
const HELD_RECHECK: Duration = Duration::from_secs(10);

/// How a shipment under way came to its end.
#[derive(Debug)]
pub enum Ended {
    /// All of it is delivered.
    Shipped,
    /// Its plan no longer fitted its segments; another one is to be made.
    Withdrawn {
        /// The segment that cannot be read to its end, and why.
        unreadable: Option<(SegmentName, String)>,
        /// The files in which the destination has some of its events.
        at_destination: BTreeSet<FileName>,
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
    /// True for the configured WAL, false for that of another node.
    is_own: bool,
    /// The name of the node that has recorded the events.
    host: String,
    /// Events from before, in milliseconds since the Unix epoch, may be those of a copy of this
    /// WAL, which may have been shipped.
    look_before_ms: i64,
    /// The plans that an earlier process left, once they have been read.
    left: Option<VecDeque<Plan>>,
    /// The plans that cannot be read, and when they were looked at.
    held: Vec<DamagedPlan>,
    held_looked: Instant,
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
        let Opened { tools, identity, host, lock } =
            open::open(config, &Layout::new(wal_dir), is_own)?;
        Ok(Self {
            config: config.clone(),
            backlog: Backlog::new(tools.layout.clone(), identity),
            tools,
            is_own,
            host,
            look_before_ms: now_ms(),
            left: None,
            held: Vec::new(),
            held_looked: Instant::now(),
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
        let identity = self.backlog.identity().clone();
        Some(Marker::new(&self.config, &self.host, layout, identity, destination, partitions))
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
        let Some(due) = self.backlog.due(&self.config.roll, &self.claimed, force) else {
            return Ok(None);
        };
        // What the destination has is compared before anything is written.
        let is_new = due.known.is_none();
        let plan = self.plan(due).await.inspect_err(|error| {
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
        Ok(Some(Shipment::new(plan, is_new, self.tools.clone())))
    }

    /// A shipment is no longer under way.
    pub fn ended(&mut self, segments: &[SegmentName], how: Ended) {
        for name in segments {
            self.claimed.remove(name);
        }
        if let Ended::Withdrawn { unreadable, at_destination } = how {
            if let Some((name, why)) = unreadable {
                self.backlog.set_aside(name, why);
            }
            self.backlog.know(at_destination);
        }
    }

    /// The plans to be taken up. What they are for is theirs from the moment they are known.
    fn left(&mut self) -> Result<&mut VecDeque<Plan>, ShipError> {
        if self.left.is_none() {
            let (dir, identity) = (&self.config.shipper.dir, self.backlog.identity());
            let Found { plans, damaged } = self.tools.journal.look(dir, identity, self.is_own)?;
            self.claimed.extend(plans.iter().flat_map(|plan| &plan.segments));
            self.left = Some(plans.into());
            self.hold(damaged);
        } else if !self.held.is_empty() && self.held_looked.elapsed() >= HELD_RECHECK {
            self.look_at_held();
        }
        Ok(self.left.get_or_insert_default())
    }

    /// Keeps what these plans are for from being shipped, and says so.
    fn hold(&mut self, damaged: Vec<DamagedPlan>) {
        for plan in &damaged {
            tracing::error!("{plan}");
            self.tools.metrics.plan_held(file_name(plan), plan.to_string());
        }
        self.keep_held(damaged);
    }

    fn keep_held(&mut self, damaged: Vec<DamagedPlan>) {
        self.backlog.hold(damaged.iter().map(|plan| plan.name).collect());
        (self.held, self.held_looked) = (damaged, Instant::now());
    }

    /// Looks whether a person has seen to the damaged plans.
    fn look_at_held(&mut self) {
        let (journal, mut damaged) = (self.tools.journal.clone(), Vec::new());
        for plan in std::mem::take(&mut self.held) {
            match journal.look_again(&plan, self.backlog.identity()) {
                Err(still) => {
                    damaged.push(still);
                    continue;
                }
                Ok(Some(plan)) => {
                    self.claimed.extend(&plan.segments);
                    self.left.get_or_insert_default().push_back(plan);
                }
                // A part of it may have been published.
                Ok(None) => self.look_before_ms = now_ms(),
            }
            self.tools.metrics.plan_released(&file_name(&plan));
        }
        self.keep_held(damaged);
    }

    /// Plans a run and writes the plan down.
    async fn plan(&self, due: Due) -> Result<Plan, ShipError> {
        let (layout, identity) = (self.tools.layout.clone(), self.backlog.identity().clone());
        let (config, journal) = (self.config.clone(), self.tools.journal.clone());
        let (host, before_ms) = (self.host.clone(), self.look_before_ms);
        tokio::task::spawn_blocking(move || {
            let mut plan =
                plan::make(&layout, &identity, &due, &config, &host).map_err(EncodeError::from)?;
            plan.look_first = due.known.is_none() && due.is_from_before(before_ms);
            journal.store(&plan)?;
            Ok(plan)
        })
        .await?
    }
}

fn file_name(plan: &DamagedPlan) -> String {
    plan.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
