//! The shipper's configuration, as operators write it in `shipper.toml`.

use std::net::SocketAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sewer_ops::access::private_networks;
use sewer_ops::logging::LogConfig;
use sewer_ops::program::Configuration;

use crate::destination;
use crate::hadoop::codec::Compression;
use crate::record::access_log::ACCESS_LOG_CLASS;
use crate::record::format::Format;
use crate::record::partition::Partitions;

/// Where the configuration is unless `--config` says otherwise.
pub const STANDARD_FILE: &str = "/etc/sewer/shipper.toml";

/// The limit of `shipper.parallel`: each shipment takes memory and a writer in HDFS.
const PARALLEL_MAX: usize = 16;

/// The length of `shipper.host`: file systems allow 255 bytes in a name, and LSNs are in it too.
const HOST_MAX: usize = 128;

/// Everything that can be configured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[wal]`: where the pixel's events are.
    pub wal: WalConfig,
    /// `[shipper]`: the shipper itself.
    pub shipper: ShipperConfig,
    /// `[status]`: the port for Prometheus.
    pub status: StatusConfig,
    /// `[destination]`: where output goes, and what it looks like.
    pub destination: DestinationConfig,
    /// `[hdfs]`: how to talk to HDFS.
    pub hdfs: HdfsConfig,
    /// `[roll]`: when a shipment is made of what is sealed.
    pub roll: RollConfig,
    /// `[retry]`: how long to wait after a failure.
    pub retry: RetryConfig,
    /// `[log]`: the daemon's own log.
    pub log: LogConfig,
}

/// `[wal]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WalConfig {
    /// The WAL's directory, as in `pixel.toml`.
    pub dir: PathBuf,
}

/// `[shipper]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShipperConfig {
    /// The directory in which earlier builds kept the plans.
    pub dir: PathBuf,
    /// The name of this node in output names; empty means the system's host name.
    pub host: String,
    /// How often to look for sealed segments that the kernel did not announce.
    #[serde(with = "humantime_serde")]
    pub scan_interval: Duration,
    /// How many shipments are under way at the same time: one file closes while the next is
    /// written.
    pub parallel: NonZeroUsize,
}

/// `[status]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StatusConfig {
    /// The address and port to listen on.
    pub listen: SocketAddr,
    /// The networks whose peers may see figures; health is for everyone.
    pub allow: Vec<IpNet>,
    /// The lag beyond which health is 503; without it health does not depend on the lag.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub max_lag: Option<Duration>,
}

/// `[destination]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DestinationConfig {
    /// `file:///dir`, `hdfs://host:port`, `hdfs://nameservice` or `viewfs://mounttable`.
    pub uri: String,
    /// The partition directory: a strftime template of the event's time, with `%{host}` and
    /// `%{wal_id}`.
    pub path: String,
    /// The time zone of `path`, an IANA name.
    pub timezone: String,
    /// What a record is.
    pub format: Format,
    /// How blocks of records are compressed.
    pub compression: Compression,
    /// The key class in the header of `access-log` files.
    pub access_log_class: String,
    /// Whether a partition to which this node has delivered all gets a marker.
    pub done_marker: bool,
    /// The directory of `core-site.xml` and `hdfs-site.xml`; without it `HADOOP_CONF_DIR`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hadoop_conf_dir: Option<PathBuf>,
}

/// `[hdfs]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HdfsConfig {
    /// The user to act as without Kerberos; without it `HADOOP_USER_NAME`, then the process's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The Kerberos principal to log in as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// The file with the principal's keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keytab: Option<PathBuf>,
    /// The ticket cache, as libkrb5 names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_cache: Option<String>,
    /// The longest that a call to the `NameNode` may take.
    #[serde(with = "humantime_serde")]
    pub rpc_timeout: Duration,
    /// The longest that one write or one close may take.
    #[serde(with = "humantime_serde")]
    pub data_timeout: Duration,
    /// The replication of new files; without it `dfs.replication`, then the server's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication: Option<u32>,
    /// The replication below which a file is not written even while `DataNode`s are dead.
    pub min_replication: u32,
    /// The block size of new files; without it the server's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_size: Option<ByteSize>,
}

/// `[roll]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RollConfig {
    /// Ship when the oldest sealed event is this old.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    /// Ship when this much is sealed; also the most that one shipment takes, but at least one
    /// segment.
    pub max_bytes: ByteSize,
    /// Ship when so many events are sealed; also the most that one shipment takes, but at least
    /// one segment. Without it there is no such limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_events: Option<NonZeroU64>,
    /// Ship at multiples of `max_age` on the clock.
    pub even: bool,
}

/// `[retry]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryConfig {
    /// The wait after a first failure; it doubles with each further one.
    #[serde(with = "humantime_serde")]
    pub initial: Duration,
    /// The longest wait; also the wait where only a person can help.
    #[serde(with = "humantime_serde")]
    pub max: Duration,
    /// How long `--replay` goes on without any progress before it ends with exit code 1.
    #[serde(with = "humantime_serde")]
    pub replay_patience: Duration,
}

impl Default for WalConfig {
    fn default() -> Self {
        Self { dir: "/var/lib/sewer/wal".into() }
    }
}

impl Default for ShipperConfig {
    fn default() -> Self {
        Self {
            dir: "/var/lib/sewer/shipper".into(),
            host: String::new(),
            scan_interval: Duration::from_secs(10),
            parallel: NonZeroUsize::new(2).expect("2 is not 0"),
        }
    }
}

impl Default for StatusConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8082)),
            allow: private_networks(),
            max_lag: None,
        }
    }
}

impl Default for DestinationConfig {
    fn default() -> Self {
        Self {
            uri: "file:///var/lib/sewer/out".into(),
            path: "/sewer/%Y-%m-%d/%H".into(),
            timezone: "UTC".into(),
            format: Format::default(),
            compression: Compression::default(),
            access_log_class: ACCESS_LOG_CLASS.into(),
            done_marker: false,
            hadoop_conf_dir: None,
        }
    }
}

impl Default for HdfsConfig {
    fn default() -> Self {
        let options = destination::Options::default();
        Self {
            user: None,
            principal: None,
            keytab: None,
            credential_cache: None,
            rpc_timeout: options.rpc_timeout,
            data_timeout: options.data_timeout,
            replication: None,
            min_replication: options.min_replication,
            block_size: None,
        }
    }
}

impl Default for RollConfig {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(30),
            max_bytes: ByteSize::mib(128),
            max_events: None,
            even: false,
        }
    }
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            max: Duration::from_mins(1),
            replay_patience: Duration::from_mins(5),
        }
    }
}

impl HdfsConfig {
    fn validate(&self) -> Result<(), String> {
        let has_tickets = self.keytab.is_some() || self.credential_cache.is_some();
        match &self.principal {
            Some(principal) if principal.is_empty() => {
                Err("key `hdfs.principal`: must not be empty".into())
            }
            Some(_) if !has_tickets => {
                Err("key `hdfs.principal`: set `hdfs.keytab` too, the file \
                 with its keys, or `hdfs.credential_cache`"
                    .into())
            }
            None if self.keytab.is_some() => {
                Err("key `hdfs.keytab`: set `hdfs.principal` too, whose keys it holds".into())
            }
            None if has_tickets => Err("key `hdfs.credential_cache`: set `hdfs.principal` too, \
                 whose tickets it holds"
                .into()),
            _ => Ok(()),
        }
    }

    fn kerberos(&self) -> Option<destination::Kerberos> {
        Some(destination::Kerberos {
            principal: self.principal.clone()?,
            keytab: self.keytab.clone(),
            credential_cache: self.credential_cache.clone(),
        })
    }
}

impl Configuration for Config {
    const STANDARD_FILE: &'static str = STANDARD_FILE;

    /// Names this node, too.
    fn validated(mut self) -> Result<Self, String> {
        if self.shipper.host.is_empty() {
            let name = nix::unistd::gethostname().map_err(|e| {
                format!("key `shipper.host`: the system has no host name ({e}); set one")
            })?;
            self.shipper.host = name.to_string_lossy().into_owned();
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let host = &self.shipper.host;
        // Hadoop's readers take a file whose name begins so for one that is not there.
        let is_hidden = host.starts_with(['.', '_']);
        if host.is_empty() || host.len() > HOST_MAX || !host.chars().all(allowed) || is_hidden {
            return Err(format!(
                "key `shipper.host`: \"{host}\" is no host name; use letters, digits, `.`, `-` and \
                 `_`, at most {HOST_MAX}, the first a letter, a digit or `-`"
            ));
        }
        self.hdfs.validate()?;
        destination::open(&self.destination.uri, self.destination_options())
            .map_err(|e| format!("key `destination.uri`: {e}"))?;
        let (path, timezone) = (&self.destination.path, &self.destination.timezone);
        Partitions::new(path, timezone, &self.shipper.host, "0123456789abcdef")?;
        if self.retry.initial.is_zero() || self.retry.max < self.retry.initial {
            return Err("keys `retry.initial` and `retry.max`: need 0s < initial <= max".into());
        }
        if self.roll.max_bytes.as_u64() == 0 {
            return Err("key `roll.max_bytes`: must be more than 0".into());
        }
        if self.roll.even && self.roll.max_age < Duration::from_secs(1) {
            return Err("key `roll.even`: needs a roll.max_age of at least 1s".into());
        }
        if self.shipper.parallel.get() > PARALLEL_MAX {
            return Err(format!("key `shipper.parallel`: must be at most {PARALLEL_MAX}"));
        }
        if self.shipper.scan_interval.is_zero() {
            return Err("key `shipper.scan_interval`: must be more than 0s".into());
        }
        Ok(self)
    }

    fn log(&self) -> &LogConfig {
        &self.log
    }
}

impl Config {
    /// What a destination needs besides its URI.
    pub fn destination_options(&self) -> destination::Options {
        destination::Options {
            hadoop_conf_dir: self.destination.hadoop_conf_dir.clone(),
            user: self.hdfs.user.clone(),
            kerberos: self.hdfs.kerberos(),
            rpc_timeout: self.hdfs.rpc_timeout,
            data_timeout: self.hdfs.data_timeout,
            replication: self.hdfs.replication,
            min_replication: self.hdfs.min_replication,
            block_size: self.hdfs.block_size.map(|size| size.as_u64()),
        }
    }
}
