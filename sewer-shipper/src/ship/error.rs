//! Why a shipment stopped, and what that means for the next attempt.

use std::collections::BTreeSet;

use sewer_wal::{SegmentName, WalError};
use thiserror::Error;

use crate::destination::{DestinationError, Kind};
use crate::metrics::FailureReport;
use crate::plan::journal::JournalError;
use crate::plan::{FileName, PlanError};
use crate::ship::encode::EncodeError;

/// Why a shipment stopped; it can be run again.
#[derive(Debug, Error)]
pub enum ShipError {
    /// The destination failed.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// The segments could not be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The journal could not be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Segments could not be deleted or quarantined.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// What the destination confirmed is not what was encoded.
    #[error("{path} was closed with {closed} bytes instead of {encoded}")]
    Length {
        /// The file.
        path: String,
        /// What the destination says.
        closed: u64,
        /// What was encoded.
        encoded: u64,
    },
    /// A segment of an unpublished shipment is gone.
    #[error(
        "the segments {} of the shipment {plan} have vanished before it was published; put them back, or move the plan away to ship the rest",
        missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Vanished {
        /// The plan's file name.
        plan: String,
        /// The names that are missing.
        missing: Vec<SegmentName>,
    },
    /// The destination has events of the shipment in files of others.
    #[error(
        "the destination has some of its events already, in {}",
        files.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Elsewhere {
        /// The names of these files.
        files: BTreeSet<FileName>,
    },
    /// A task panicked.
    #[error("a task of the shipment ended unexpectedly: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl ShipError {
    /// A short stable label for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Destination(error) => error.reason(),
            Self::Encode(EncodeError::Changed { .. }) => "changed",
            Self::Encode(_) | Self::Wal(_) => "wal",
            Self::Journal(_) => "journal",
            Self::Length { .. } => "length",
            Self::Vanished { .. } => "vanished",
            Self::Elsewhere { .. } => "elsewhere",
            Self::Task(_) => "task",
        }
    }

    /// Whether a person has to act before a retry can succeed.
    pub fn needs_a_human(&self) -> bool {
        match self {
            Self::Destination(error) => error.needs_a_human(),
            // The second: a template or a time zone that no longer works.
            Self::Vanished { .. } | Self::Encode(EncodeError::Plan(PlanError::Path(_))) => true,
            _ => false,
        }
    }

    /// The failure as it is shown.
    pub fn failure(&self) -> FailureReport {
        let (reason, needs_a_human) = (self.reason(), self.needs_a_human());
        FailureReport { reason, needs_a_human, error: self.to_string() }
    }

    /// Whether a final name is taken by a file that is not ours.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Destination(error) if error.kind() == Kind::Conflict)
    }

    /// Whether the plan no longer fits its segments.
    pub fn is_changed(&self) -> bool {
        matches!(self, Self::Encode(EncodeError::Changed { .. }))
    }

    /// The segment that cannot be read to its end, if that is why.
    pub fn unreadable_segment(&self) -> Option<SegmentName> {
        match self {
            Self::Encode(EncodeError::Plan(PlanError::Segment { name, .. })) => Some(*name),
            _ => None,
        }
    }
}
