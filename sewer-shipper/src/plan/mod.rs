//! The plan of a shipment: everything that its output depends on, decided once and written down
//! before the first byte is. Doing a plan again yields the same rows under the same names.

pub mod backlog;
mod checked;
mod file_name;
mod found;
pub mod journal;
mod names;
mod output;
mod runs;
mod segments;
mod upgrade;

use std::collections::BTreeMap;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use sewer_wal::lsn::LSN_DIGITS;
use sewer_wal::{Identity, Layout, Lsn, SegmentName, WalId, sealed};

pub(crate) use self::checked::{decode, encode};
pub use self::file_name::FileName;
pub use self::found::{DamagedPlan, Found, PlanName};
pub use self::output::{Attempts, OutputPlan};
pub use self::runs::Due;
pub use self::segments::{DamageReport, DamagedSegment, Losses, PlanError};
pub(crate) use self::segments::{is_foreign, open_segment, read_events};

use self::backlog::Waiting;
use self::segments::{Records, Survey, survey, total};
use crate::config::Config;
use crate::hadoop::codec::Compression;
use crate::hadoop::sequence_file::Header;
use crate::record::format::Format;
use crate::record::partition::Partitions;

/// The version of the plan's file.
const PLAN_VERSION: u32 = 2;

/// A shipment as decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The version of this file.
    pub version: u32,
    /// The WAL that the segments belong to.
    pub wal_id: WalId,
    /// The first LSN of the shipment.
    pub first_lsn: Lsn,
    /// The last LSN of the shipment.
    pub last_lsn: Lsn,
    /// The name of the node that recorded the events, in output names.
    pub host: String,
    /// Where the output goes.
    pub destination: String,
    /// The template of the partition directories.
    pub path: String,
    /// The time zone of the template.
    pub timezone: String,
    /// What a record is.
    pub format: Format,
    /// How blocks of records are compressed.
    pub compression: Compression,
    /// The key class of `access-log` files.
    pub access_log_class: String,
    /// The names of the segments, in order.
    #[serde(with = "names")]
    pub segments: Vec<SegmentName>,
    /// The damage that was found in them.
    pub damaged: Vec<DamagedSegment>,
    /// The files to be written, one per partition directory.
    pub outputs: Vec<OutputPlan>,
    /// True if the destination is first asked what it has of these LSNs: the events are older than
    /// the process that planned them, and another may have shipped them from a copy of this disk.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub look_first: bool,
    /// Whether every output has been published, so that only the segments are left to be deleted.
    pub published: bool,
}

/// Makes the plan for a run of segments of one WAL, reading all of it. `host` is the node that has
/// recorded it, unless the destination has a file of it under another name. Blocks.
///
/// # Errors
/// [`PlanError`]; nothing was changed.
pub fn make(
    layout: &Layout,
    identity: &Identity,
    due: &Due,
    config: &Config,
    host: &str,
) -> Result<Plan, PlanError> {
    let destination = &config.destination;
    let (run, known) = (&due.segments, due.known.as_ref());
    let first = run.first();
    let mut plan = Plan {
        version: PLAN_VERSION,
        wal_id: first.map_or(WalId(0), |segment| segment.wal_id),
        first_lsn: first.map(|segment| segment.name.base).unwrap_or_default(),
        last_lsn: Lsn(0),
        host: known.map_or(host, |file| &file.host).to_owned(),
        destination: destination.uri.clone(),
        path: destination.path.clone(),
        timezone: destination.timezone.clone(),
        format: destination.format,
        compression: destination.compression,
        access_log_class: destination.access_log_class.clone(),
        segments: run.iter().map(|segment| segment.name).collect(),
        damaged: Vec::new(),
        outputs: Vec::new(),
        look_first: false,
        published: false,
    };
    let survey = survey(layout, &plan, &ends(layout, identity, run)?)?;
    plan.last_lsn = Lsn(survey.end.0.saturating_sub(1)).max(plan.first_lsn);
    plan.damaged = survey.damaged;
    let name = plan.output_name().to_string();
    let output = |(directory, Records { count, last_timestamp_ms })| OutputPlan {
        directory,
        name: name.clone(),
        records: count,
        last_timestamp_ms,
        attempts: Some(Attempts::FIRST),
        confirmed: None,
        published: false,
        replication: None,
    };
    plan.outputs = survey.directories.into_iter().map(output).collect();
    Ok(plan)
}

/// Where each segment of a run ends: as its footer says, if that is sure, or where what is behind
/// it begins, if anything tells.
fn ends(
    layout: &Layout,
    identity: &Identity,
    run: &[Waiting],
) -> Result<Vec<Option<Lsn>>, PlanError> {
    let bases = run.iter().skip(1).map(|next| Some(next.name.base)).chain([None]);
    let ends = run.iter().zip(bases).map(|(segment, next)| {
        let told = next.or(segment.sure_end());
        if told.is_some() {
            return Ok(told);
        }
        let (wal_id, name) = (segment.wal_id, segment.name);
        sealed::next_base(layout, identity, wal_id, name)
            .map_err(|cause| PlanError::Segment { name, cause })
    });
    ends.collect()
}

impl Plan {
    /// The name of the plan's file, and of nothing else: `<first>-<last>.json`, or
    /// `<first>-<last>-<WAL id>.json` where the names of segments carry the id as well.
    pub fn file_name(&self) -> String {
        let (first, last) = (self.first_lsn.0, self.last_lsn.0);
        let id = match self.segments.iter().find_map(|name| name.wal_id) {
            Some(id) => format!("-{id}"),
            None => String::new(),
        };
        format!("{first:0LSN_DIGITS$}-{last:0LSN_DIGITS$}{id}.json")
    }

    /// Where its events go.
    ///
    /// # Errors
    /// If a plan written by hand has a template that does not work.
    pub fn partitions(&self) -> Result<Partitions, PlanError> {
        Partitions::new(&self.path, &self.timezone, &self.host, &self.wal_id.to_string())
            .map_err(PlanError::Path)
    }

    /// The content of the plan's file.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads what [`Self::encode`] has written.
    ///
    /// # Errors
    /// The problem with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        decode(bytes)
    }

    /// Whether this build can carry the plan out.
    pub fn is_known(&self) -> bool {
        self.version == PLAN_VERSION
    }

    /// The events that it delivers.
    pub fn records(&self) -> u64 {
        total(self.outputs.iter().map(|output| output.records))
    }

    /// The events that are lost to damage.
    pub fn losses(&self) -> Losses {
        let losses = self.damaged.iter().map(DamagedSegment::losses);
        Losses {
            events: total(losses.clone().map(|losses| losses.events)),
            uncounted: total(losses.map(|losses| losses.uncounted)),
        }
    }

    /// Where each of its segments ends, by what was found when it was made.
    fn ends(&self) -> Vec<Option<Lsn>> {
        let mut ends: Vec<_> = self.segments.iter().skip(1).map(|next| Some(next.base)).collect();
        let last = self.segments.last();
        let losses = self.damaged.iter().filter(|segment| Some(&segment.name) == last);
        let losses: Vec<_> = losses.flat_map(|segment| &segment.damage).collect();
        let lost_to = losses.iter().filter_map(|damage| damage.last_lost_lsn).max();
        let is_uncounted = losses.iter().any(|damage| damage.is_uncounted());
        let end = self.last_lsn.max(lost_to.unwrap_or_default()).checked_plus(1);
        ends.push(end.filter(|_| !is_uncounted));
        ends
    }

    /// The plan for what its segments still hold after they were damaged: outputs already published
    /// stay as they are, the others get what is left. Reads all of it. Blocks.
    ///
    /// # Errors
    /// [`PlanError`] if a segment cannot be read to its end.
    pub fn amended(&self, layout: &Layout) -> Result<Self, PlanError> {
        let Survey { mut directories, damaged, .. } = survey(layout, self, &self.ends())?;
        let mut plan = Self { damaged, ..self.clone() };
        plan.outputs.retain_mut(|output| {
            let records = directories.remove(&output.directory);
            if !output.published {
                output.confirmed = None;
                output.records = records.map_or(0, |records| records.count);
            }
            output.records > 0
        });
        Ok(plan)
    }

    /// The name of its files.
    pub fn output_name(&self) -> FileName {
        let (wal_id, first, last) = (self.wal_id, self.first_lsn, self.last_lsn);
        FileName { wal_id, first, last, host: self.host.clone() }
    }

    /// The header of an output. Its sync marker is derived, so that the bytes are reproducible.
    pub fn header(&self, output: &OutputPlan) -> Header {
        let mut digest = Md5::new();
        digest.update(output.final_path());
        Header {
            key_class: self.format.key_class(&self.access_log_class).to_owned(),
            value_class: self.format.value_class().to_owned(),
            compression: self.compression,
            metadata: BTreeMap::from([
                ("sewer.wal_id".to_owned(), self.wal_id.to_string()),
                ("sewer.first_lsn".to_owned(), self.first_lsn.to_string()),
                ("sewer.last_lsn".to_owned(), self.last_lsn.to_string()),
                ("sewer.records".to_owned(), output.records.to_string()),
            ]),
            sync: digest.finalize().into(),
        }
    }
}
