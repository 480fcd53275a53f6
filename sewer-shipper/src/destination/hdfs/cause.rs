//! Why a call to HDFS failed, in the words of an operator.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hdfs_native::HdfsError;
use thiserror::Error;
use tokio::task::JoinError;

use super::classify::classify;
use super::configuration::ConfigurationError;
use super::kerberos::Failure;
use super::reach::Findings;
use crate::destination::error::{Backend, Cause, Kind};

/// Why a call failed. Inside of this room every failure is one of these.
#[derive(Debug, Error)]
pub(super) enum HdfsCause {
    #[error("{}", without_stack_trace(.0))]
    Client(#[from] HdfsError),
    #[error(transparent)]
    Kerberos(Box<Failure>),
    #[error("no answer within {limit:?}")]
    TimedOut { limit: Duration },
    #[error("the task that did it ended early: {0}")]
    TaskDied(#[from] JoinError),
    #[error("start the threads of the client: {0}")]
    Runtime(#[source] io::Error),
    #[error("lease recovery has not ended within {limit:?}")]
    LeaseHeld { limit: Duration },
    #[error("Hadoop's configuration: {0}")]
    Configuration(#[from] ConfigurationError),
    /// A file in an encryption zone, whose key cannot be had.
    #[error("it is in an encryption zone, and {problem}")]
    Zone { problem: String, needs_a_human: bool },
    /// No `NameNode` could be talked to; `error` is what the client said.
    #[error("{findings}{}", hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}")))]
    Unreached { error: HdfsError, findings: Findings, hint: Option<String> },
}

impl Backend for HdfsCause {
    fn classify(&self) -> (Kind, &'static str) {
        match self {
            Self::Unreached { findings, .. } if findings.is_a_mistake() => {
                (Kind::Stuck, "configuration")
            }
            Self::Client(error) | Self::Unreached { error, .. } => classify(error),
            Self::Kerberos(failure) => failure.classify(),
            Self::TimedOut { .. } => (Kind::Unknown, "timeout"),
            Self::TaskDied(_) => (Kind::Unknown, "client_died"),
            Self::Runtime(_) => (Kind::Transient, "io"),
            Self::LeaseHeld { .. } => (Kind::Transient, "lease"),
            Self::Configuration(_) => (Kind::Stuck, "configuration"),
            Self::Zone { needs_a_human: true, .. } => (Kind::Stuck, "encryption_zone"),
            Self::Zone { needs_a_human: false, .. } => (Kind::Transient, "encryption_zone"),
        }
    }

    fn timed_out(&self) -> Option<Duration> {
        match self {
            Self::TimedOut { limit } => Some(*limit),
            Self::Kerberos(failure) => failure.timed_out(),
            _ => None,
        }
    }
}

impl HdfsCause {
    /// Whether the failure of a writer says that its pipeline broke. Losing a connection says
    /// nothing about an outcome there, since the file is given up anyway.
    pub(super) fn is_of_the_pipeline(&self) -> bool {
        matches!(self, Self::Client(HdfsError::IOError(_) | HdfsError::DataTransferError(_)))
    }

    /// Whether a `NameNode` answered, so that the connection to it is in order.
    pub(super) fn is_an_answer(&self) -> bool {
        matches!(
            self,
            Self::Client(
                HdfsError::RPCError(..) | HdfsError::AlreadyExists(_) | HdfsError::FileNotFound(_)
            )
        )
    }
}

impl From<Failure> for HdfsCause {
    fn from(failure: Failure) -> Self {
        Self::Kerberos(Box::new(failure))
    }
}

/// A cause as it is handed out: with who was asked, and what to do.
#[derive(Debug, Error)]
#[error("{cause}{}{}", asked_of(asked.as_deref()), advice(cause))]
pub(super) struct Told {
    cause: HdfsCause,
    asked: Option<Arc<str>>,
}

impl Told {
    pub(super) fn new(cause: HdfsCause, asked: Option<Arc<str>>) -> Self {
        Self { cause, asked }
    }
}

impl Backend for Told {
    fn classify(&self) -> (Kind, &'static str) {
        self.cause.classify()
    }

    fn timed_out(&self) -> Option<Duration> {
        self.cause.timed_out()
    }
}

impl From<Told> for Cause {
    fn from(told: Told) -> Self {
        Self::Backend(Box::new(told))
    }
}

fn asked_of(asked: Option<&str>) -> String {
    asked.map_or_else(String::new, |asked| format!(" ({asked})"))
}

/// What helps, where the text alone does not say it.
fn advice(cause: &HdfsCause) -> &'static str {
    match cause.classify().1 {
        "timeout" => {
            "; see whether it is well and this node can reach it. The limits are \
             `hdfs.rpc_timeout` and `hdfs.data_timeout`"
        }
        // An ended connection says already where to look.
        "connection" if !matches!(cause, HdfsCause::Kerberos(_)) => {
            "; see whether it runs, and whether this node can reach it"
        }
        "safe_mode" => {
            "; it leaves safe mode by itself once enough DataNodes have reported, or by \
             hdfs dfsadmin -safemode leave"
        }
        "standby" => "; no NameNode is active: see hdfs haadmin -getAllServiceState",
        "quota" => "; raise the quota (hdfs dfsadmin -setSpaceQuota or -setQuota), or make room",
        "permission" => {
            "; give the shipper's user (`hdfs.user` or `hdfs.principal`) the right by \
             hdfs dfs -chown or -chmod"
        }
        "datanode" | "incomplete" | "blocks_missing" => {
            "; see the DataNodes by hdfs dfsadmin -report, and whether this node can reach them"
        }
        _ => "",
    }
}

/// A Hadoop server sends its Java stack trace along, which tells an operator nothing and makes a
/// line of the log a page.
fn without_stack_trace(error: &HdfsError) -> String {
    let text = error.to_string();
    let lines = text.lines().take_while(|line| !line.starts_with("\tat "));
    lines.map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::error::DestinationError;

    #[test]
    fn an_error_is_one_line_without_the_stack_trace_of_a_server() {
        let text = "Name node is in safe mode.\nIt was turned on manually.\n\
                    \tat a.B.c(B.java:1)\n\tat d.E.f(E.java:2)\n";
        let cause = HdfsError::RPCError("a.SafeModeException".to_owned(), text.to_owned());
        let asked = Some(Arc::from("NameNode nn:8020"));
        let told = Told::new(HdfsCause::from(cause), asked);
        let told = DestinationError::new("create", "/a", told).to_string();
        let end = "Name node is in safe mode. It was turned on manually. (NameNode nn:8020)";
        assert!(told.ends_with(end), "{told}");
        assert!(told.starts_with("create /a: ") && told.contains("a.SafeModeException"), "{told}");
    }
}
