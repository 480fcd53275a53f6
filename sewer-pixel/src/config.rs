//! The pixel's configuration, as operators write it in `pixel.toml`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sewer_ops::access::private_networks;
use sewer_ops::logging::LogConfig;
use sewer_wal::WalOptions;

use crate::space::Limits;

/// Where the configuration is unless `--config` says otherwise.
pub const STANDARD_FILE: &str = "/etc/sewer/pixel.toml";

/// Everything that can be configured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[pixel]`: the port that browsers load the pixel from.
    pub pixel: PixelConfig,
    /// `[status]`: the port for load balancers and Prometheus.
    pub status: StatusConfig,
    /// `[wal]`: where and how events are kept until they are shipped.
    pub wal: WalConfig,
    /// `[log]`: the daemon's own log.
    pub log: LogConfig,
}

/// `[pixel]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PixelConfig {
    /// The address and port to listen on.
    pub listen: SocketAddr,
    /// HTTP worker threads; 0 means one per core.
    pub workers: usize,
    /// The connections that a worker takes at the same time.
    pub max_connections: usize,
    /// How long an idle connection is kept open.
    #[serde(with = "humantime_serde")]
    pub keep_alive: Duration,
    /// How long a client may take to send the head of a request.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// How long SIGTERM serves on while the status port says 503.
    #[serde(with = "humantime_serde")]
    pub drain_delay: Duration,
    /// How long SIGTERM waits for open connections, in whole seconds.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// The memory that events waiting for the disk may take; above it requests get 503.
    pub queue_bytes: ByteSize,
    /// Peers whose X-Forwarded-For and X-Forwarded-Host are believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// `[status]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StatusConfig {
    /// The address and port to listen on.
    pub listen: SocketAddr,
    /// The networks whose peers may see figures; health is for everyone.
    pub allow: Vec<IpNet>,
    /// The file that keeps the dashboard's history over a restart; without it, beside `wal.dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<PathBuf>,
}

/// `[wal]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WalConfig {
    /// The WAL's directory; it is made if its parent exists.
    pub dir: PathBuf,
    /// The size at which a segment is sealed and can be shipped.
    pub segment_bytes: ByteSize,
    /// The age at which a segment is sealed and can be shipped.
    #[serde(with = "humantime_serde")]
    pub roll_interval: Duration,
    /// The free space below which no event is taken; sealing and shipping need some.
    pub min_free_bytes: ByteSize,
    /// The size of the WAL above which no event is taken; without it there is no such limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<ByteSize>,
    /// What a request gets while no event is taken.
    pub on_full: OnFull,
}

/// What a request gets while the disk is full. The status port answers 503 either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFull {
    /// 503 with Retry-After.
    #[default]
    Reject,
    /// 204, as if nothing were wrong; the event is not recorded, but counted as dropped.
    Drop,
}

impl Default for PixelConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            workers: 0,
            max_connections: 25_000,
            keep_alive: Duration::from_secs(75),
            header_timeout: Duration::from_secs(10),
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(10),
            queue_bytes: ByteSize::mib(64),
            trusted_proxies: private_networks(),
        }
    }
}

impl Default for StatusConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8081)),
            allow: private_networks(),
            history: None,
        }
    }
}

impl Default for WalConfig {
    fn default() -> Self {
        Self {
            dir: "/var/lib/sewer/wal".into(),
            segment_bytes: ByteSize::mib(64),
            roll_interval: Duration::from_secs(30),
            min_free_bytes: ByteSize::mib(512),
            max_bytes: None,
            on_full: OnFull::default(),
        }
    }
}

/// The limits of `wal.segment_bytes`: a segment holds at least one batch, and okaywal counts its
/// size in 32 bits.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=1 << 30;

impl Config {
    /// Checks what a type cannot say.
    ///
    /// # Errors
    /// One line that names the key and what it may be.
    pub fn validate(&self) -> Result<(), String> {
        if !SEGMENT_BYTES.contains(&self.wal.segment_bytes.as_u64()) {
            return Err(format!(
                "key `wal.segment_bytes`: {} is not between 64KiB and 1GiB",
                self.wal.segment_bytes
            ));
        }
        if self.wal.roll_interval < Duration::from_millis(100) {
            return Err("key `wal.roll_interval`: must be at least 100ms".into());
        }
        if self.pixel.queue_bytes < ByteSize::mib(1) {
            return Err("key `pixel.queue_bytes`: must be at least 1MiB".into());
        }
        if self.pixel.max_connections == 0 {
            return Err("key `pixel.max_connections`: must be at least 1".into());
        }
        Ok(())
    }

    /// When segments end.
    pub fn wal_options(&self) -> WalOptions {
        WalOptions {
            segment_bytes: self.wal.segment_bytes.as_u64(),
            roll_interval: self.wal.roll_interval,
            min_free_bytes: self.wal.min_free_bytes.as_u64(),
        }
    }

    /// When the disk counts as full.
    pub fn limits(&self) -> Limits {
        Limits {
            min_free_bytes: self.wal.min_free_bytes.as_u64(),
            max_bytes: self.wal.max_bytes.map(|size| size.as_u64()),
        }
    }

    /// The file of the dashboard's history: `wal.history` beside the WAL's directory `wal`.
    pub fn history_file(&self) -> PathBuf {
        self.status.history.clone().unwrap_or_else(|| self.wal.dir.with_added_extension("history"))
    }

    /// The number of HTTP worker threads.
    pub fn workers(&self) -> usize {
        match self.pixel.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        }
    }
}
