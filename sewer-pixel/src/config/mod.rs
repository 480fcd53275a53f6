//! The pixel's configuration, as operators write it in `pixel.toml`.

mod answers;
mod client;
mod events;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sewer_ops::access::private_networks;
use sewer_ops::logging::LogConfig;
use sewer_wal::{Engine, WalOptions};

pub use self::answers::{Ack, AllowOrigin, BodyRule, CorsConfig, Response, RouteConfig};
pub use self::client::{ClientIp, ForwardedHeaders, is_header_name};
pub use self::events::{
    CookieConfig, DropConfig, EventConfig, Honour, IpRule, PrivacyConfig, SameSite,
};

/// Where the configuration is unless `--config` says otherwise.
pub const STANDARD_FILE: &str = "/etc/sewer/pixel.toml";

/// Everything that can be configured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[pixel]`: the port that browsers load the pixel from.
    pub pixel: PixelConfig,
    /// `[cors]`: which pages may read the answer.
    pub cors: CorsConfig,
    /// `[event]`: fields beside the eight, and requests that are not recorded.
    pub event: EventConfig,
    /// `[privacy]`: what is left out of an event.
    pub privacy: PrivacyConfig,
    /// `[cookie]`: a cookie that tells one visitor from another.
    pub cookie: CookieConfig,
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
    /// How long a client may take to send the body of a request.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// The size of the head of a request, above which it gets 431.
    pub max_head_bytes: ByteSize,
    /// The size of the target of a request, above which it gets 414.
    pub max_uri_bytes: ByteSize,
    /// The size of the body of a request, above which it gets 413.
    pub max_body_bytes: ByteSize,
    /// The requests after which a connection is closed; 0 means never.
    pub max_requests_per_connection: u64,
    /// How long SIGTERM serves on while the status port says 503.
    #[serde(with = "humantime_serde")]
    pub drain_delay: Duration,
    /// How long SIGTERM then waits for open connections.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// The memory that events waiting for the disk may take; above it requests get 503.
    pub queue_bytes: ByteSize,
    /// When a request is answered.
    pub ack: Ack,
    /// Whether connections begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// Peers whose forwarded headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Which of their headers are.
    pub forwarded_headers: ForwardedHeaders,
    /// Where the client's address is in them, or the header that has it.
    pub client_ip: ClientIp,
    /// What requests are answered, unless their route says otherwise.
    pub response: Response,
    /// Whether `/robots.txt`, `/favicon.ico` and `/crossdomain.xml` are answered as what they are.
    pub well_known: bool,
    /// `[pixel.tls]`: certificate and key; with them the port speaks HTTPS and nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// `[[pixel.route]]`: what is different for some paths.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub route: Vec<RouteConfig>,
}

/// `[pixel.tls]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The file of the certificate, followed by those of the authorities between it and the root.
    pub cert: PathBuf,
    /// The file of its private key.
    pub key: PathBuf,
}

/// `[status]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StatusConfig {
    /// The address and port to listen on.
    pub listen: SocketAddr,
    /// The networks whose peers may see figures; health is for everyone.
    pub allow: Vec<IpNet>,
    /// Whether every path that is no page tells health, as load balancers of an older server ask.
    pub any_path: bool,
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
    /// What writes the logs.
    pub engine: Engine,
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
            body_timeout: Duration::from_secs(10),
            max_head_bytes: ByteSize::kib(32),
            max_uri_bytes: ByteSize::kib(16),
            max_body_bytes: ByteSize::kib(64),
            max_requests_per_connection: 0,
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(10),
            queue_bytes: ByteSize::mib(64),
            ack: Ack::default(),
            proxy_protocol: false,
            trusted_proxies: private_networks(),
            forwarded_headers: ForwardedHeaders::default(),
            client_ip: ClientIp::default(),
            response: Response::default(),
            well_known: true,
            tls: None,
            route: Vec::new(),
        }
    }
}

impl Default for StatusConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8081)),
            allow: private_networks(),
            any_path: true,
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
            engine: Engine::default(),
        }
    }
}

/// The limits of `wal.segment_bytes`: a segment holds several batches, and one that is
/// damaged is quarantined as a whole.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=1 << 30;

/// The limits of `pixel.max_head_bytes`: above, the HTTP library could not take the longest target.
const HEAD_BYTES: std::ops::RangeInclusive<u64> = 1 << 10..=56 << 10;

/// The limits of times: a shorter one is over at once, the end of a much longer one no clock has.
const TIMES: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_hours(100 * 365 * 24);

/// The limit of `pixel.max_body_bytes`: an event has to fit the log with all its headers.
const MAX_BODY_BYTES: u64 = 512 << 10;

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
        check_time("wal.roll_interval", self.wal.roll_interval)?;
        if self.pixel.queue_bytes < ByteSize::mib(1) {
            return Err("key `pixel.queue_bytes`: must be at least 1MiB".into());
        }
        if self.pixel.max_connections == 0 {
            return Err("key `pixel.max_connections`: must be at least 1".into());
        }
        self.pixel.validate()
    }

    /// When segments end.
    pub fn wal_options(&self) -> WalOptions {
        WalOptions {
            segment_bytes: self.wal.segment_bytes.as_u64(),
            roll_interval: self.wal.roll_interval,
            min_free_bytes: self.wal.min_free_bytes.as_u64(),
            engine: self.wal.engine,
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

impl PixelConfig {
    fn validate(&self) -> Result<(), String> {
        let limits = [
            ("max_head_bytes", self.max_head_bytes, HEAD_BYTES, "1KiB and 56KiB"),
            ("max_uri_bytes", self.max_uri_bytes, 64..=*HEAD_BYTES.end(), "64B and 56KiB"),
            ("max_body_bytes", self.max_body_bytes, 1..=MAX_BODY_BYTES, "1B and 512KiB"),
        ];
        for (key, size, allowed, between) in limits {
            if !allowed.contains(&size.as_u64()) {
                return Err(format!("key `pixel.{key}`: {size} is not between {between}"));
            }
        }
        // None at all means no keep-alive.
        if !self.keep_alive.is_zero() {
            check_time("pixel.keep_alive", self.keep_alive)?;
        }
        check_time("pixel.header_timeout", self.header_timeout)?;
        check_time("pixel.body_timeout", self.body_timeout)
    }
}

fn check_time(key: &str, time: Duration) -> Result<(), String> {
    let problem = match time {
        time if time < *TIMES.start() => "at least 100ms",
        time if time > *TIMES.end() => "at most 100 years",
        _ => return Ok(()),
    };
    Err(format!("key `{key}`: must be {problem}"))
}
