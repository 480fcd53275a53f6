//! What the failure of a call means by how its session logs in: until a `NameNode` has answered, it
//! may be one of the login, which the client does not tell.

use std::io;

use hdfs_native::HdfsError;

use super::cause::HdfsCause;
use super::kerberos::{Failure, KRB5_BASE, gssapi};
use crate::destination::error::Kind;
use crate::destination::options::Kerberos;

/// How a session logs in.
#[derive(Clone, Debug)]
pub(super) enum Login {
    /// Not at all: the `NameNode` believes the name it is told.
    Simple,
    /// As configured here, or by the ticket cache that libkrb5 finds.
    Kerberos(Option<Kerberos>),
}

impl Login {
    /// What a failed call means; `connected`: a `NameNode` has answered before.
    pub(super) fn explain(&self, cause: HdfsCause, connected: bool) -> HdfsCause {
        match (cause, self) {
            // The client does not hand on what a NameNode says while it refuses a connection.
            (HdfsCause::Client(HdfsError::IOError(error)), _)
                if !connected && was_ended(&error) =>
            {
                Failure::Closed.into()
            }
            (cause, Self::Simple) => cause,
            (cause, Self::Kerberos(configured)) => explain(configured.as_ref(), cause, connected),
        }
    }
}

/// Whether the other side ended a connection: which error that is depends on who of the two was
/// faster.
fn was_ended(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
    )
}

fn explain(configured: Option<&Kerberos>, cause: HdfsCause, connected: bool) -> HdfsCause {
    match cause {
        HdfsCause::Client(HdfsError::GSSAPIError(_, minor, text)) => {
            gssapi(configured, minor.wrapping_sub(KRB5_BASE), &text).into()
        }
        HdfsCause::Client(HdfsError::FatalRPCError(class, text)) if class == SASL_EXCEPTION => {
            Failure::Login {
                text: format!("the NameNode refused the login: {text}"),
                advice: "its log says why: its own keytab, its clock, or its krb5.conf",
                kind: Kind::Stuck,
            }
            .into()
        }
        // Besides, the client says this of a close and of a key only, and both come after an
        // answer.
        HdfsCause::Client(HdfsError::OperationFailed(_)) if !connected => Failure::NoLibrary.into(),
        HdfsCause::TimedOut { limit } if !connected => Failure::NoAnswer { limit }.into(),
        other => other,
    }
}

const SASL_EXCEPTION: &str = "javax.security.sasl.SaslException";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::destination::error::Backend as _;

    #[test]
    fn a_connection_is_explained_only_until_it_has_worked() {
        let aborted =
            || HdfsCause::from(HdfsError::IOError(io::ErrorKind::ConnectionAborted.into()));
        assert!(matches!(Login::Simple.explain(aborted(), false), HdfsCause::Kerberos(_)));
        assert!(matches!(Login::Simple.explain(aborted(), true), HdfsCause::Client(_)));
        for kind in [io::ErrorKind::BrokenPipe, io::ErrorKind::UnexpectedEof] {
            let ended = HdfsCause::from(HdfsError::IOError(kind.into()));
            assert!(matches!(Login::Simple.explain(ended, false), HdfsCause::Kerberos(_)));
        }
        let late = || HdfsCause::TimedOut { limit: Duration::from_secs(1) };
        assert!(matches!(Login::Simple.explain(late(), false), HdfsCause::TimedOut { .. }));
        let kerberos = Login::Kerberos(None);
        assert!(kerberos.explain(late(), false).timed_out().is_some());
        assert!(matches!(kerberos.explain(late(), true), HdfsCause::TimedOut { .. }));
    }
}
