//! A WAL with known events and a shipper in this process, for damage done between the two.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sewer_ops::status::Report;
use sewer_shipper::config::Config;
use sewer_shipper::metrics::Delivered;
use sewer_shipper::plan::journal::Journal;
use sewer_shipper::record::rows::cat;
use sewer_shipper::ship::planner::Planner;
use sewer_shipper::ship::schedule::{self, Until};
use sewer_test_support::shipper::Shipper;
use sewer_wal::{Batch, Engine, Event, Layout, Lsn, Wal, WalOptions, look_up_identity, sealed};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

const OPTIONS: WalOptions = WalOptions {
    segment_bytes: 512 << 10,
    roll_interval: Duration::from_hours(1),
    min_free_bytes: 0,
    engine: Engine::Auto,
};

/// What a shipper has made of the WAL.
#[derive(Debug)]
pub struct Shipped {
    /// The LSNs of the rows in finished files, each checked against its path; sorted.
    pub lsns: Vec<u64>,
    pub counted: Delivered,
    /// What was not shipped, and why.
    pub set_aside: Vec<String>,
    /// What failed last.
    pub errors: Vec<String>,
}

/// A node: a WAL, a destination, a shipper's directory.
#[derive(Debug)]
pub struct Node {
    pub dir: TempDir,
    pub layout: Layout,
    pub config: Config,
    runtime: Runtime,
}

impl Node {
    /// A node without a WAL. In memory where that can be: thousands of syncs prove nothing here.
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let dir = tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).unwrap();
        let layout = Layout::new(dir.path().join("wal"));
        let mut config = Config::default();
        config.wal.dir = layout.root().to_path_buf();
        config.shipper.dir = dir.path().join("shipper");
        config.shipper.host = "h".into();
        config.retry.initial = Duration::from_millis(1);
        config.destination.uri = format!("file://{}", dir.path().join("out").display());
        fs::create_dir(dir.path().join("out")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { dir, layout, config, runtime }
    }

    /// A node with a sealed segment for each list of batches, a batch being so many events.
    pub fn with_segments(segments: &[&[u64]]) -> Self {
        let node = Self::new();
        for batches in segments {
            let mut wal = node.open_wal();
            append(&mut wal, batches);
            wal.close().unwrap();
        }
        assert_eq!(node.bases().len(), segments.len());
        node
    }

    pub fn open_wal(&self) -> Wal {
        Wal::open(self.layout.clone(), OPTIONS).unwrap().0
    }

    pub fn bases(&self) -> Vec<u64> {
        self.layout.sealed_names().unwrap().iter().map(|name| name.base.0).collect()
    }

    pub fn sealed(&self, base: u64) -> PathBuf {
        self.layout.sealed_file(Lsn(base))
    }

    /// Empties the destination, the plans, and what of the WAL is not `active/`.
    pub fn reset(&self) {
        let dirs = [self.layout.sealed_dir(), self.layout.quarantine_dir(), self.out()];
        for dir in dirs.into_iter().chain([self.layout.shipments_dir()]) {
            if dir.exists() {
                fs::remove_dir_all(&dir).unwrap();
            }
        }
        fs::create_dir(self.layout.sealed_dir()).unwrap();
        fs::create_dir(self.out()).unwrap();
    }

    pub fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    /// Ships until nothing is left that can be shipped; what fails is tried again for a while.
    pub fn ship(&self) -> Shipped {
        let mut planner = Planner::open(&self.config, self.layout.root(), true).unwrap();
        let patience = Duration::from_secs(20);
        let drained = self.runtime.block_on(async {
            // Nobody stops it before.
            let (_stop, stopping) = watch::channel(false);
            let nothing = Notify::new();
            schedule::ship(&mut planner, Until::Drained { patience }, &nothing, stopping).await
        });
        let stats = planner.metrics().stats();
        assert!(drained, "not done after {patience:?}: {stats:#}");
        let errors = stats["last_error"].as_str().map(str::to_owned).into_iter().collect();
        let set_aside = stats["set_aside"].as_array().unwrap();
        let set_aside = set_aside.iter().map(|why| why.as_str().unwrap().to_owned()).collect();
        assert_eq!(self.plans(), 0, "a plan is left");
        Shipped { lsns: self.lsns(), counted: planner.metrics().delivered(), set_aside, errors }
    }

    /// The LSNs of the rows at the destination, sorted.
    pub fn lsns(&self) -> Vec<u64> {
        let mut lsns = Vec::new();
        collect(&self.out(), &mut lsns);
        lsns.sort_unstable();
        lsns
    }

    /// The shipper as a process, on this node's WAL, destination and directory.
    pub fn shipper(&self, sets: &[&str]) -> Shipper {
        fs::create_dir_all(self.out()).unwrap();
        let sets: Vec<_> = sets.iter().copied().chain(["shipper.host=h"]).collect();
        Shipper::new(BINARY, self.dir.path(), &self.config.destination.uri, &sets)
    }

    /// Removes whatever tells where LSNs go on: the logs, and what a clean stop has noted in `ID`.
    pub fn forget_next_lsn(&self) {
        let id = look_up_identity(&self.layout).unwrap().unwrap().id;
        fs::remove_dir_all(self.layout.active_dir()).unwrap();
        fs::create_dir(self.layout.active_dir()).unwrap();
        fs::write(self.layout.id_file(), format!("{id}\n")).unwrap();
    }

    /// The LSNs that the report beside a quarantined segment names as lost.
    pub fn lost(&self, base: u64) -> BTreeSet<u64> {
        let name = self.sealed(base).file_name().unwrap().to_owned();
        let path = self.layout.quarantine_dir().join(name).with_extension("json");
        let report: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let mut lost = BTreeSet::new();
        for damage in report["damage"].as_array().unwrap() {
            let ends = (&damage["first_lost_lsn"], &damage["last_lost_lsn"]);
            if let (Some(first), Some(last)) = (ends.0.as_u64(), ends.1.as_u64()) {
                assert!(last < 1_000, "LSNs that never were: {report}");
                assert!((first..=last).all(|lsn| lost.insert(lsn)), "lost twice: {report}");
            }
        }
        assert_eq!(report["events_lost"], lost.len(), "{report}");
        lost
    }

    pub fn is_quarantined(&self, base: u64) -> bool {
        let name = self.sealed(base).file_name().unwrap().to_owned();
        self.layout.quarantine_dir().join(name).exists()
    }

    /// The shipments that are not finished.
    pub fn plans(&self) -> usize {
        let identity = look_up_identity(&self.layout).unwrap().unwrap();
        let found = Journal::of(&self.layout).load(&identity).unwrap();
        found.plans.len() + found.damaged.len()
    }

    /// The segments still to be shipped.
    pub fn left(&self) -> usize {
        sealed::list(&self.layout).unwrap().len()
    }
}

/// Appends batches of so many events each, whose paths are their LSNs.
pub fn append(wal: &mut Wal, batches: &[u64]) {
    append_of(wal, batches, 0);
}

/// The same with events of some more bytes.
pub fn append_of(wal: &mut Wal, batches: &[u64], bytes: usize) {
    let user_agent = "x".repeat(bytes);
    for &count in batches {
        let (mut batch, first) = (Batch::default(), wal.next_lsn().0);
        for lsn in first..first + count {
            let path = lsn.to_string();
            let event = Event {
                timestamp_ms: 1_000 + lsn.cast_signed(),
                request_path: Some(path.as_bytes()),
                user_agent: Some(user_agent.as_bytes()),
                ..Event::default()
            };
            batch.push(&event).unwrap();
        }
        wal.append(&batch).unwrap();
    }
}

fn collect(dir: &Path, lsns: &mut Vec<u64>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, lsns);
            continue;
        }
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"_SUCCESS")) {
            continue;
        }
        assert_eq!(path.extension().unwrap(), "seq", "left behind: {}", path.display());
        let mut text = Vec::new();
        cat(fs::File::open(&path).unwrap(), &mut text).unwrap();
        for line in String::from_utf8(text).unwrap().lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            let lsn: u64 = row["request_path"].as_str().unwrap().parse().unwrap();
            assert_eq!(row["timestamp"], 1_000 + lsn, "{row}");
            lsns.push(lsn);
        }
    }
}
