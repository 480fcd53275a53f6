//! A shipper beside the pixel: what it costs the pixel at full speed, and the highest rate at which
//! it keeps up. Pixel, shipper and load share all cores; the shipper has the priority that its unit
//! gives it.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};
use sewer_test_support::hdfs::{self, Hdfs, HdfsOptions};
use sewer_test_support::process::{Process, eventually, sibling};
use sewer_test_support::shipper::Shipper;

use super::backlog::{self, Step};
use crate::report::{Outcome, Table};
use crate::servers::PixelServer;
use crate::settings::{Settings, own};
use crate::slices::{HEADS, Slices};
use crate::stats::{decimal, thousands};
use crate::wrk::{Load, Request, USER_AGENT_BYTES};

const CONNECTIONS: usize = 400;

/// `Nice=` of packaging/systemd/sewer-shipper.service.
const NICE: &str = "10";

const ALONE: &str = "pixel alone";

const BESIDE: &str = "pixel beside a shipper";

/// How long a slice is, in those of other sections: several segments must come.
const SLICE_FACTOR: u64 = 2;

/// The shares of full speed that are tried.
const SHARES: [f64; 4] = [0.25, 0.5, 0.75, 0.9];

/// How long each is tried.
const STEP_SECONDS: (u64, u64) = (30, 4);

/// How long a shipper may take with what was left to it.
const DRAIN_WAIT: Duration = Duration::from_mins(5);

/// How long after that its count may take.
const COUNT_WAIT: Duration = Duration::from_secs(10);

/// A pixel, with or without its shipper, which is held while it is not its turn.
struct Pair {
    pixel: PixelServer,
    shipper: Option<(Shipper, Process)>,
}

/// Where the events go.
struct Destination {
    name: &'static str,
    uri: String,
    sets: Vec<String>,
}

pub fn run(settings: &Settings) -> Outcome {
    let directory = settings.directory();
    let root = directory.path();
    let mut outcome = Outcome { section: "end_to_end", ..Outcome::default() };
    let file = Destination {
        name: "file://",
        uri: format!("file://{}/out", root.display()),
        sets: Vec::new(),
    };
    let mut data = Map::new();
    data.insert("file".into(), to(settings, root, &file, &mut outcome));
    if hdfs::available_or_skip("end_to_end") {
        let hdfs = Hdfs::start(&HdfsOptions::default());
        let conf = format!("destination.hadoop_conf_dir={}", hdfs.conf_dir().display());
        let there = Destination { name: "HDFS", uri: hdfs.uri(), sets: vec![conf] };
        data.insert("hdfs".into(), to(settings, root, &there, &mut outcome));
    } else {
        outcome.notes.push("HDFS left out: there are no Hadoop jars.".to_owned());
    }
    outcome.data = Value::Object(data);
    outcome
}

fn to(settings: &Settings, root: &Path, to: &Destination, outcome: &mut Outcome) -> Value {
    // Not "://": it is a directory's name.
    let name = |what: &str| format!("{what}-{}", to.name.trim_end_matches("://"));
    let pixel = |label: &'static str, directory: &Path| {
        PixelServer::start(settings, directory, label, false, &[])
    };
    let alone = pixel(ALONE, &own(root, &name("alone")));
    let directory = own(root, &name("beside"));
    let beside = pixel(BESIDE, &directory);
    let shipper = start_shipper(settings, &directory, to);
    let mut pairs =
        [Pair { pixel: alone, shipper: None }, Pair { pixel: beside, shipper: Some(shipper) }];
    let seconds = settings.slice_seconds * SLICE_FACTOR;
    let request = Request::Varied(USER_AGENT_BYTES);
    let load = Load { request, pinned: false, ..Load::full(CONNECTIONS, seconds) };
    let rounds = settings.rounds.div_ceil(2);
    let slices = Slices::take(
        &mut pairs,
        |pair| pair.pixel.server.label,
        rounds,
        |_, pair| pair.slice(&load).map_err(|why| outcome.failures.push(why)).ok(),
    );
    let title = format!(
        "To {}: {CONNECTIONS} connections at full speed, nothing pinned; ratios to \"{ALONE}\"",
        to.name
    );
    let mut table = Table::new(&title, &[&["server"][..], &HEADS].concat());
    for label in slices.labels() {
        table.row([vec![label.to_owned()], slices.cells(label, ALONE)].concat());
    }
    outcome.tables.push(table);
    let [_, beside] = pairs;
    let full = slices.median(BESIDE, |slice| slice.requests_per_second);
    let steps = beside.keep_up(settings, &load, full, to, outcome);
    json!({ "full_speed": slices.json(ALONE), "steps": steps })
}

fn start_shipper(settings: &Settings, directory: &Path, to: &Destination) -> (Shipper, Process) {
    let sets: Vec<&str> = to.sets.iter().map(String::as_str).collect();
    let shipper = Shipper::new(&settings.binary, directory, &to.uri, &sets);
    let binary = sibling(&settings.binary, "sewer-shipper").display().to_string();
    let nice = ["-n".to_owned(), NICE.to_owned(), binary];
    let arguments = [&nice[..], &shipper.args()].concat();
    let process = Process::start(Path::new("nice"), &arguments, &directory.join("shipper.log"));
    (shipper, process)
}

impl Pair {
    /// At full speed. What a shipper does not keep up with is left to it, so that it is never idle.
    fn slice(&mut self, load: &Load) -> Result<crate::servers::Slice, String> {
        let Some((_, shipper)) = &mut self.shipper else { return self.pixel.server.slice(load) };
        shipper.thaw();
        let slice = self.pixel.server.slice_untidied(load);
        shipper.freeze();
        slice
    }

    /// Tries rates, and at last looks whether every event has arrived.
    fn keep_up(
        mut self,
        settings: &Settings,
        load: &Load,
        full: f64,
        to: &Destination,
        outcome: &mut Outcome,
    ) -> Vec<Step> {
        let (shipper, mut process) = self.shipper.take().expect("it has one");
        process.thaw();
        let (long, short) = STEP_SECONDS;
        let load = Load { seconds: settings.either(long, short), ..*load };
        let mut steps = Vec::new();
        for share in SHARES {
            let drained = eventually(DRAIN_WAIT, || self.pixel.server.left().bytes() < 1.0);
            if !drained {
                outcome.failures.push(format!("to {}: not drained in {DRAIN_WAIT:?}", to.name));
                break;
            }
            match backlog::at_rate(&mut self.pixel, &load, full * share) {
                Ok(step) => steps.push(step),
                Err(why) => outcome.failures.push(why),
            }
        }
        let title = format!("To {}: {} s at each rate", to.name, load.seconds);
        let head = ["requests/s", "MB/s into the WAL", "backlog grows by MB/s", "keeps up"];
        let mut table = Table::new(&title, &head);
        for step in &steps {
            table.row([
                thousands(step.requests_per_second),
                decimal(step.inflow_mb_per_second, 1),
                decimal(step.growth_mb_per_second, 1),
                if step.is_flat { "yes" } else { "no" }.to_owned(),
            ]);
        }
        outcome.tables.push(table);
        if let Err(why) = self.arrived(&shipper, &mut process) {
            outcome.failures.push(format!("to {}: {why}", to.name));
        }
        steps
    }

    /// Stops the pixel, waits for the shipper, and compares what they have counted.
    fn arrived(&mut self, shipper: &Shipper, process: &mut Process) -> Result<(), String> {
        let events = self.pixel.counts().events;
        self.pixel.server.stop()?;
        if !eventually(DRAIN_WAIT, || shipper.left().is_empty()) {
            return Err(format!("not drained in {DRAIN_WAIT:?}\n{}", process.log_tail()));
        }
        // A shipment is counted once its segments are gone.
        let delivered = || shipper.metrics()["sewer_shipper_events_total"];
        if !eventually(COUNT_WAIT, || (events - delivered()).abs() < 0.5) {
            return Err(format!("{events} events in the WAL, {} delivered", delivered()));
        }
        Ok(())
    }
}
