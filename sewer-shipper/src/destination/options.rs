//! What a destination needs besides its URI, as the configuration has it.

use std::path::PathBuf;
use std::time::Duration;

/// What a destination needs besides its URI. Every field but the timeouts concerns HDFS only.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory of `core-site.xml` and `hdfs-site.xml`; without it `HADOOP_CONF_DIR`, then
    /// `HADOOP_HOME/etc/hadoop`.
    pub hadoop_conf_dir: Option<PathBuf>,
    /// The user to act as without Kerberos; without it `HADOOP_USER_NAME`, then the process's. With
    /// Kerberos, the user that the principal acts for.
    pub user: Option<String>,
    /// The Kerberos principal to be; without it, what Hadoop's configuration says.
    pub kerberos: Option<Kerberos>,
    /// The longest a call to the `NameNode` may take.
    pub rpc_timeout: Duration,
    /// The longest a call that moves data may take: one write, one close, one chunk read.
    pub data_timeout: Duration,
    /// Replication of new files; without it `dfs.replication`, then the server's default.
    pub replication: Option<u32>,
    /// The replication that [`lower_replication`](super::Destination::lower_replication) never goes
    /// below.
    pub min_replication: u32,
    /// Block size of new files in bytes; without it the server's default.
    pub block_size: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hadoop_conf_dir: None,
            user: None,
            kerberos: None,
            rpc_timeout: Duration::from_secs(20),
            data_timeout: Duration::from_mins(1),
            replication: None,
            min_replication: 1,
            block_size: None,
        }
    }
}

/// Who to be, as configured. Without it, Hadoop's configuration decides whether Kerberos is used,
/// and then the user's own ticket cache is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kerberos {
    /// `name@REALM` or `name/host@REALM`; without a realm, the default one of `krb5.conf`.
    pub principal: String,
    /// The file with the principal's keys.
    pub keytab: Option<PathBuf>,
    /// The ticket cache as libkrb5 names it, such as `FILE:/run/sewer/krb5cc`; with a keytab, one
    /// in memory by default.
    pub credential_cache: Option<String>,
}
