//! What one row runs on: a pixel under load and a shipper, with a directory of HDFS of their own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::figures::Figures;
use super::log::Log;
use super::matrix::Row;
use super::watcher::Watcher;
use crate::hdfs::Hdfs;
use crate::load::{Load, LoadOptions};
use crate::metrics::Samples;
use crate::pixel::Pixel;
use crate::process::eventually;
use crate::rows::ListedFile;
use crate::shipper::Shipper;

/// Files that are published before the first look at what the shipper holds.
const WARM_UP_FILES: f64 = 6.0;
/// How long a healthy HDFS may take for these on a crowded machine.
const WARM_UP_WAIT: Duration = Duration::from_mins(1);
/// Lag while nothing is wrong: a roll, a shipment under way, one that waits for it, and a margin
/// for a crowded machine.
const LAG_SMALL: Duration = Duration::from_secs(3);
/// How long what was taken for a fault may be kept afterwards, such as idle threads.
const SETTLE_WAIT: Duration = Duration::from_secs(40);
/// How long the last events may take once the load has ended.
const DRAIN_WAIT: Duration = Duration::from_mins(1);
/// `retry.max` of the shippers of the tests; nothing temporary may be older.
const RETRY_MAX: Duration = Duration::from_secs(2);
/// The slowest that a 204 may be. The disk of a crowded machine can be slow; HDFS has no say.
const ACK_MAX: Duration = Duration::from_secs(15);
/// The most memory the shipper may have resident at any time.
const RESIDENT_KIB_MAX: u64 = 128 << 10;

/// What a rig is to be like.
#[derive(Clone, Debug)]
pub struct RigOptions {
    /// `host:port` or name service that the shipper takes for the NameNode, such as that of a
    /// proxy; without it the cluster's own.
    pub authority: Option<String>,
    /// Further settings of the shipper (`key=value`); they win over those of the rig.
    pub shipper: Vec<String>,
    /// Further environment variables of both daemons.
    pub environment: Vec<(String, String)>,
    /// How many connections send pixels.
    pub connections: usize,
    /// How long each rests between two.
    pub pause: Duration,
    /// Bytes of incompressible data in each event, so that files can be large.
    pub padding_bytes: usize,
}

impl Default for RigOptions {
    fn default() -> Self {
        Self {
            authority: None,
            shipper: Vec::new(),
            environment: Vec::new(),
            connections: 4,
            pause: Duration::from_millis(12),
            padding_bytes: 0,
        }
    }
}

/// A pixel under load, and a shipper.
#[derive(Debug)]
pub struct Rig<'a> {
    hdfs: &'a Hdfs,
    load: Option<Load>,
    watcher: Option<Watcher>,
    shipper: Shipper,
    pixel: Pixel,
    log: Log,
    root: String,
    /// The process that must still be there at the end.
    pid: u32,
    begun: Instant,
    directory: TempDir,
}

impl<'a> Rig<'a> {
    /// Starts everything and waits until files arrive.
    pub(super) fn start(binary: &str, hdfs: &'a Hdfs, options: &RigOptions) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let root = format!("/row-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = tempfile::tempdir().expect("create a row's directory");
        let mut pixel = Pixel::new(binary, directory.path(), &["wal.roll_interval=300ms"]);
        pixel.set_environment(&options.environment);
        pixel.start();
        pixel.wait_until_ready();
        let uri = match &options.authority {
            Some(authority) => format!("hdfs://{authority}{root}"),
            None => format!("{}{root}", hdfs.uri()),
        };
        let mut sets = vec!["hdfs.rpc_timeout=3s", "hdfs.data_timeout=6s"];
        sets.extend(options.shipper.iter().map(String::as_str));
        let mut shipper = Shipper::new(binary, directory.path(), &uri, &sets);
        shipper.set_environment(&options.environment);
        shipper.start();
        shipper.wait_until_ready();
        let pid = shipper.process().pid();
        let watcher = Watcher::start(pixel.status_address(), shipper.status_address(), pid);
        let load = LoadOptions {
            address: pixel.address(),
            run: root[1..].to_owned(),
            connections: options.connections,
            pause: options.pause,
            limit: Duration::from_hours(1),
        };
        let load = Load::start_padded(load, options.padding_bytes);
        let log = Log::new(&directory.path().join("shipper.log"));
        let (load, watcher, begun) = (Some(load), Some(watcher), Instant::now());
        let rig = Self { hdfs, load, watcher, shipper, pixel, log, root, pid, begun, directory };
        let warm = || rig.metrics()["sewer_shipper_files_total"] >= WARM_UP_FILES;
        assert!(eventually(WARM_UP_WAIT, warm), "files arrive before the fault: {}", rig.tell());
        rig
    }

    /// The cluster.
    pub fn hdfs(&self) -> &'a Hdfs {
        self.hdfs
    }

    /// The directory of HDFS that everything is shipped to.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The directory of both daemons on the local disk.
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// The pixel.
    pub fn pixel(&mut self) -> &mut Pixel {
        &mut self.pixel
    }

    /// The shipper. To end it, use [`Rig::kill_shipper`].
    pub fn shipper(&mut self) -> &mut Shipper {
        &mut self.shipper
    }

    /// Ends the shipper by SIGKILL.
    pub fn kill_shipper(&mut self) {
        self.watcher.as_ref().expect("the row is running").shipper_is(None);
        self.shipper.kill();
    }

    /// Starts the shipper after [`Rig::kill_shipper`] and waits until it is ready.
    pub fn start_shipper(&mut self) {
        self.shipper.start();
        self.shipper.wait_until_ready();
        self.pid = self.shipper.process().pid();
        self.watcher.as_ref().expect("the row is running").shipper_is(Some(self.pid));
    }

    /// Lets the load rest, and waits until nothing is to be shipped; or lets it go on.
    ///
    /// # Panics
    /// If something is still to be shipped after a minute.
    pub fn set_idle(&self, idle: bool) {
        self.load.as_ref().expect("the row is running").set_resting(idle);
        let is_idle = || self.lag().is_zero() && self.shipper.left().is_empty();
        assert!(!idle || eventually(DRAIN_WAIT, is_idle), "nothing is left: {}", self.tell());
    }

    /// The shipper's metrics.
    pub fn metrics(&self) -> Samples {
        self.shipper.metrics()
    }

    /// The age of the oldest event not yet shipped.
    pub fn lag(&self) -> Duration {
        Duration::from_secs_f64(self.metrics()["sewer_shipper_lag_seconds"])
    }

    /// How many events have been delivered since the shipper started.
    pub fn delivered(&self) -> f64 {
        self.metrics()["sewer_shipper_events_total"]
    }

    /// The warnings and errors of the shipper's log until now.
    pub fn alarms(&self) -> Vec<String> {
        self.log.alarms()
    }

    /// What the shipper holds.
    pub(super) fn figures(&self) -> Figures {
        Figures::most_of(self.pid)
    }

    /// Waits until something has been delivered after now and lag is small; how long that took.
    pub(super) fn recover(&self, within: Duration) -> Duration {
        let (begun, before) = (Instant::now(), self.delivered());
        let is_over = || self.lag() < LAG_SMALL && self.delivered() > before;
        let over = eventually(within, is_over);
        assert!(over, "lag is not back after {within:?}: {}", self.tell());
        begun.elapsed()
    }

    /// What the shipper holds once that is no more than before, but for a margin.
    pub(super) fn check_figures(&self, before: &Figures) -> Figures {
        let begun = Instant::now();
        loop {
            let after = self.figures();
            if after.is_no_leak_after(before) {
                return after;
            }
            let (was, is) = (&before.open, &after.open);
            assert!(
                begun.elapsed() < SETTLE_WAIT,
                "the shipper leaks: {before} before and {after} after; open: {was:?}, then {is:?}"
            );
        }
    }

    /// Ends the load and holds everything to the promises.
    pub(super) fn finish(mut self, row: &Row, faults: u32) {
        let record = self.load.take().expect("it is stopped once").stop();
        let missed = (&record.unanswered, &record.refused);
        assert!(missed.0.is_empty() && missed.1.is_empty(), "every pixel gets its 204: {missed:?}");
        assert!(record.slowest < ACK_MAX, "a 204 took {:?}", record.slowest);
        let watcher = self.watcher.take().expect("it is stopped once");
        let resident_kib = watcher.resident_kib();
        let complaints = watcher.stop();
        assert!(complaints.is_empty(), "the status ports answer: {complaints:?}");
        assert!(resident_kib < RESIDENT_KIB_MAX, "the shipper had {resident_kib} KiB resident");

        self.pixel.stop();
        let shipped = eventually(DRAIN_WAIT, || self.shipper.left().is_empty());
        assert!(shipped, "{:?} stays: {}", self.shipper.left(), self.tell());
        let backlog = || self.metrics()["sewer_shipper_backlog_events"];
        let empty = || backlog() < 0.5 && self.lag().is_zero();
        assert!(eventually(DRAIN_WAIT, empty), "lag falls to nothing: {}", self.tell());
        let process = self.shipper.process();
        assert!(process.is_running() && process.pid() == self.pid, "it is the same shipper");
        std::thread::sleep(RETRY_MAX);
        let listed = self.hdfs.list_files(&self.root);
        let is_odd = |file: &&ListedFile| file.is_hidden() || file.open_for_write;
        let odd: Vec<_> = listed.iter().filter(is_odd).collect();
        assert!(odd.is_empty(), "temporary files or leases are left: {odd:?}");
        self.shipper.stop();
        let told = self.log.check(&row.reasons, faults, self.begun.elapsed());
        told.unwrap_or_else(|why| panic!("{why}"));

        let rows = self.hdfs.read_rows(&self.root);
        let queries = rows.iter().map(|row| row.key["query_string"].as_str().unwrap_or("(none)"));
        record.check(queries).unwrap_or_else(|why| panic!("{why}"));
        row.replication.into_iter().for_each(|replication| {
            let other: Vec<_> =
                listed.iter().filter(|file| file.replication != replication).collect();
            assert!(other.is_empty(), "{replication} replicas are asked for: {other:?}");
        });
        let (events, files) = (record.acknowledged.len(), listed.len());
        println!("    {events} events in {files} files, the slowest 204 in {:?}", record.slowest);
        println!("    at most {} MiB resident", resident_kib >> 10);
    }

    /// What the shipper says of itself, for a message.
    fn tell(&self) -> String {
        let alarms = self.log.alarms();
        let last = &alarms[alarms.len().saturating_sub(10)..];
        format!("{:#?}\n{}", self.metrics(), last.join("\n"))
    }
}

impl Drop for Rig<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("SEWERTEST_FAULTS_KEEP").is_some() {
            self.directory.disable_cleanup(true);
            eprintln!("daemons' files of the row: {}", self.directory.path().display());
        }
    }
}
