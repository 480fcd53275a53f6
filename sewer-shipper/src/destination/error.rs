//! What can go wrong at a destination, and what helps.
//!
//! Callers match [`Kind`], metrics use [`DestinationError::reason`], people read the text. The
//! kind is decided once, where the failure is seen, from error types, never from message text.
//! Nothing here knows a destination: what only one of them can meet is its own [`Backend`] error.

use std::io;
use std::time::Duration;

use thiserror::Error;

use super::fingerprint::Fingerprint;

/// The result of everything a destination does.
pub type Result<T> = std::result::Result<T, DestinationError>;

/// What a failure means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// There is no such file.
    NotFound,
    /// The name is taken, by a finished file or by one being written.
    AlreadyExists,
    /// It did not happen; the same again may well succeed.
    Transient,
    /// The data could not be written; a new file, perhaps with fewer replicas, may succeed.
    Pipeline,
    /// It will keep failing until a person does something: permission, quota, authentication,
    /// configuration. Retry slowly and alert.
    Stuck,
    /// It may or may not have happened, or may still happen: look before acting.
    Unknown,
    /// The final name is taken by a file that is not ours. Nothing was touched.
    Conflict,
    /// This output is dead; start a new file under a new name.
    Poisoned,
}

/// A failed call: what was being done, to what, and why it failed.
#[derive(Debug, Error)]
#[error("{operation} {target}: {cause}")]
pub struct DestinationError {
    operation: &'static str,
    target: String,
    kind: Kind,
    reason: &'static str,
    cause: Cause,
}

impl DestinationError {
    pub(super) fn new(
        operation: &'static str,
        target: impl Into<String>,
        cause: impl Into<Cause>,
    ) -> Self {
        let cause = cause.into();
        let (kind, reason) = cause.classify();
        Self { operation, target: target.into(), kind, reason, cause }
    }

    /// The same failure with another meaning for the caller, who knows what was being done.
    pub(super) fn with_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// What the failure means for the caller.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// A short stable label for metrics.
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// Whether the call may have happened, or may still happen.
    pub fn outcome_unknown(&self) -> bool {
        self.kind == Kind::Unknown
    }

    /// Whether a person has to act before a retry can succeed.
    pub fn needs_a_human(&self) -> bool {
        matches!(self.kind, Kind::Stuck | Kind::Conflict)
    }

    /// Whether a new file with fewer replicas may succeed where this one failed: a pipeline that
    /// broke, or data that did not get through in time.
    pub fn fewer_replicas_may_help(&self) -> bool {
        self.kind == Kind::Pipeline
            || (matches!(self.operation, WRITE | CLOSE) && self.cause.timed_out().is_some())
    }

    /// For how long a file that got no answer to its creation may still come to be. The same time
    /// again as the answer had: nothing says when it is too late for a request that is on its way.
    pub fn may_be_created_within(&self) -> Option<Duration> {
        self.cause.timed_out().filter(|_| self.operation == CREATE)
    }
}

/// Verb phrase of [`Destination::create`](super::Destination::create).
pub(super) const CREATE: &str = "create";
/// Verb phrase of [`Output::write`](super::Output::write).
pub(super) const WRITE: &str = "write";
/// Verb phrase of [`Output::close`](super::Output::close).
pub(super) const CLOSE: &str = "close";

/// A failure that only one kind of destination can meet, which alone can explain it.
pub(super) trait Backend: std::error::Error + Send + Sync {
    /// What it means for the caller, and the label it is counted under.
    fn classify(&self) -> (Kind, &'static str);

    /// The limit that a call ran into, if time ran out.
    fn timed_out(&self) -> Option<Duration>;
}

/// Why a call failed.
#[derive(Debug, Error)]
pub(super) enum Cause {
    #[error("{0}")]
    Backend(Box<dyn Backend>),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("no answer within {limit:?}")]
    TimedOut { limit: Duration },
    #[error("the task that did it ended early: {0}")]
    TaskDied(#[from] tokio::task::JoinError),
    #[error("the file was given up after an earlier failure ({first})")]
    Poisoned { first: &'static str },
    #[error("its length is {found} instead of {expected}")]
    Length { expected: u64, found: u64 },
    #[error("there is already a file of {found} bytes instead of {expected}")]
    Conflict { expected: u64, found: u64 },
    #[error("there is already a file of {found} instead of {expected}")]
    Stranger { expected: Fingerprint, found: Fingerprint },
    #[error("there is no such file")]
    Missing,
    #[error("it is a directory")]
    IsADirectory,
    #[error("{0}")]
    Address(&'static str),
}

impl Cause {
    /// The limit that the call ran into, if time ran out.
    fn timed_out(&self) -> Option<Duration> {
        match self {
            Self::TimedOut { limit } => Some(*limit),
            Self::Backend(cause) => cause.timed_out(),
            _ => None,
        }
    }

    fn classify(&self) -> (Kind, &'static str) {
        match self {
            Self::Backend(cause) => cause.classify(),
            Self::Io(error) => classify_io(error),
            Self::TimedOut { .. } => (Kind::Unknown, "timeout"),
            Self::TaskDied(_) => (Kind::Unknown, "client_died"),
            Self::Poisoned { .. } => (Kind::Poisoned, "poisoned"),
            Self::Length { .. } => (Kind::Poisoned, "length"),
            Self::Conflict { .. } | Self::Stranger { .. } => (Kind::Conflict, "conflict"),
            Self::Missing => (Kind::NotFound, "not_found"),
            Self::IsADirectory => (Kind::Stuck, "is_a_directory"),
            Self::Address(_) => (Kind::Stuck, "configuration"),
        }
    }
}

/// The kinds of a local file system's errors. A local call that failed did not happen.
fn classify_io(error: &io::Error) -> (Kind, &'static str) {
    match error.kind() {
        io::ErrorKind::NotFound => (Kind::NotFound, "not_found"),
        io::ErrorKind::AlreadyExists => (Kind::AlreadyExists, "already_exists"),
        io::ErrorKind::PermissionDenied => (Kind::Stuck, "permission"),
        io::ErrorKind::ReadOnlyFilesystem => (Kind::Stuck, "read_only"),
        io::ErrorKind::StorageFull | io::ErrorKind::FileTooLarge => (Kind::Stuck, "disk_full"),
        io::ErrorKind::QuotaExceeded => (Kind::Stuck, "quota"),
        io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::InvalidFilename
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::CrossesDevices
        | io::ErrorKind::Unsupported => (Kind::Stuck, "configuration"),
        _ => (Kind::Transient, "io"),
    }
}
