//! Kerberos: who the shipper is in a secured cluster, and what it means when a login fails.
//!
//! hdfs-native leaves the work to libkrb5. Each new connection to a `NameNode` takes its ticket
//! from a cache; with a keytab, libkrb5 fills that cache, and fills it again before the ticket
//! expires. So nothing has to be renewed here. What is done here:
//!
//! - all sessions of a keytab share one cache in memory. The client would make one for itself, and
//!   none is ever freed;
//! - a cache with which a login failed is replaced, for it may hold tickets that the KDC or the
//!   `NameNode` no longer takes, and libkrb5 would keep them until they expire;
//! - failures become sentences that name the key of our configuration and what to do.
//!
//! libkrb5 blocks while a KDC does not answer, up to half a minute for each KDC. It does so on a
//! thread of the session's runtime; the caller's limit holds, and the thread ends when libkrb5
//! gives up.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use hdfs_native::ClientBuilder;
use thiserror::Error;

use crate::destination::error::Kind;
use crate::destination::options::Kerberos;

/// The label that failed logins are counted under.
pub(super) const REASON: &str = "authentication";

impl Kerberos {
    /// Tells the client who to be. `generation` numbers the caches in memory.
    pub(super) fn apply(
        &self,
        builder: ClientBuilder,
        generation: usize,
    ) -> Result<ClientBuilder, Failure> {
        let mut builder = builder.with_kerberos_principal(&self.principal);
        if let Some(keytab) = &self.keytab {
            let unreadable = |error| Failure::Keytab { path: keytab.clone(), error };
            // What libkrb5 says of a file that is not there names neither the file nor the reason.
            File::open(keytab).map_err(unreadable)?;
            builder = builder.with_kerberos_keytab(format!("FILE:{}", keytab.display()));
        }
        if let Some(cache) = self.cache(generation) {
            builder = builder.with_kerberos_cache(cache);
        }
        Ok(builder)
    }

    fn cache(&self, generation: usize) -> Option<String> {
        let in_memory = |keytab: &PathBuf| {
            format!("MEMORY:sewer {} {} {generation}", self.principal, keytab.display())
        };
        self.credential_cache.clone().or_else(|| self.keytab.as_ref().map(in_memory))
    }
}

/// Why there is no login, or may be none.
#[derive(Debug, Error)]
pub(super) enum Failure {
    #[error("the keytab {} (key `hdfs.keytab`) cannot be read: {error}", path.display())]
    Keytab { path: PathBuf, error: io::Error },
    #[error(
        "the keytab {} (key `hdfs.keytab`) holds no key of {principal} (key `hdfs.principal`); klist -kt shows what it holds",
        path.display()
    )]
    NoKey { path: PathBuf, principal: String },
    #[error(
        "Kerberos needs libgssapi_krb5.so.2, which cannot be loaded; on Debian: apt-get install libgssapi-krb5-2"
    )]
    NoLibrary,
    #[error("Kerberos: {text}; {advice}")]
    Login { text: String, advice: &'static str, kind: Kind },
    #[error("no answer within {limit:?}, from the NameNode or from a Kerberos KDC")]
    NoAnswer { limit: Duration },
    #[error(
        "the connection was ended without an answer. If the port is the NameNode's RPC port \
         (dfs.namenode.rpc-address), the NameNode's log says why: it may want Kerberos (key \
         `hdfs.principal`), or not let the principal act for `hdfs.user`"
    )]
    Closed,
}

impl Failure {
    pub(super) fn timed_out(&self) -> Option<Duration> {
        match self {
            Self::NoAnswer { limit } => Some(*limit),
            _ => None,
        }
    }

    pub(super) fn classify(&self) -> (Kind, &'static str) {
        match self {
            Self::Keytab { .. } | Self::NoKey { .. } | Self::NoLibrary => (Kind::Stuck, REASON),
            Self::Login { kind, .. } => (*kind, REASON),
            Self::NoAnswer { .. } => (Kind::Unknown, "timeout"),
            Self::Closed => (Kind::Unknown, "connection"),
        }
    }
}

/// The first number of libkrb5's table of errors.
pub(super) const KRB5_BASE: u32 = 0x96c7_3a00;

/// What helps, by the number of the error in libkrb5's table.
pub(super) fn gssapi(configured: Option<&Kerberos>, code: u32, text: &str) -> Failure {
    let (kind, advice) = match code {
        // No ticket, no key. With a keytab that has the key, libkrb5 would say what the KDC said.
        141 | 181 | 195 if let Some((path, principal)) = keytab(configured) => {
            return Failure::NoKey { path, principal };
        }
        1 | 18 | 23 => (Kind::Stuck, "the KDC has locked the principal or let it expire"),
        6 => (Kind::Stuck, "the KDC does not know the principal: check `hdfs.principal`"),
        7 => (
            Kind::Stuck,
            "the KDC does not know the NameNode's principal: check its host name in the cluster's \
             dfs.namenode.kerberos.principal, and dns_canonicalize_hostname in krb5.conf",
        ),
        24 | 31 | 44 => (
            Kind::Stuck,
            "the key in `hdfs.keytab` is not the KDC's: the password or the key was changed; make \
             the keytab anew (klist -ket shows its key versions)",
        ),
        32 => {
            (Kind::Stuck, "without `hdfs.keytab` it is not renewed: run kinit for the ticket cache")
        }
        37 => (Kind::Stuck, "set the clocks of this node, the KDC and the NameNode right"),
        154 | 156 | 220 => {
            (Kind::Transient, "check that a KDC runs, the network, and krb5.conf (KRB5_CONFIG)")
        }
        _ if configured.is_none() => (
            Kind::Stuck,
            "set `hdfs.principal` and `hdfs.keytab`, or run kinit as the shipper's user and set \
             KRB5CCNAME",
        ),
        _ => (Kind::Stuck, "check `hdfs.principal`, `hdfs.keytab` and krb5.conf (KRB5_CONFIG)"),
    };
    Failure::Login { text: essence(text).to_owned(), advice, kind }
}

fn keytab(configured: Option<&Kerberos>) -> Option<(PathBuf, String)> {
    let configured = configured?;
    Some((configured.keytab.clone()?, configured.principal.clone()))
}

/// What libkrb5 says, without GSSAPI's own sentence before it, which is the same for everything.
fn essence(text: &str) -> &str {
    const NOTHING: [&str; 2] = [
        "Unspecified GSS failure.  Minor code may provide more information: ",
        "No credentials were supplied, or the credentials were unavailable or inaccessible: ",
    ];
    NOTHING.iter().find_map(|nothing| text.strip_prefix(nothing)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(keytab: Option<&str>, cache: Option<&str>) -> Kerberos {
        Kerberos {
            principal: "sewer@EXAMPLE.COM".to_owned(),
            keytab: keytab.map(PathBuf::from),
            credential_cache: cache.map(str::to_owned),
        }
    }

    #[test]
    fn a_keytab_has_one_cache_in_memory_until_that_is_replaced() {
        let keytab = with(Some("/etc/sewer/keytab"), None);
        assert_eq!(keytab.cache(0), keytab.cache(0));
        assert_ne!(keytab.cache(0), keytab.cache(1));
        assert!(keytab.cache(0).expect("there is one").starts_with("MEMORY:"));
        let own = with(Some("/etc/sewer/keytab"), Some("FILE:/run/sewer/krb5cc"));
        assert_eq!(own.cache(1).as_deref(), Some("FILE:/run/sewer/krb5cc"));
    }

    #[test]
    fn only_a_kdc_that_cannot_be_reached_is_expected_to_come_back_by_itself() {
        let keytab = with(Some("/etc/sewer/keytab"), None);
        for configured in [None, Some(&keytab)] {
            for code in [1, 6, 7, 24, 31, 32, 37, 141, 154, 156, 181, 195, 220, 9_999] {
                let (kind, reason) = gssapi(configured, code, "").classify();
                let expected =
                    if [154, 156, 220].contains(&code) { Kind::Transient } else { Kind::Stuck };
                assert_eq!((kind, reason), (expected, REASON), "{code}");
            }
        }
    }

    #[test]
    fn what_is_said_of_every_error_is_left_out() {
        let text = "Unspecified GSS failure.  Minor code may provide more information: Clock skew";
        assert_eq!(essence(text), "Clock skew");
        assert_eq!(essence("other"), "other");
    }
}
