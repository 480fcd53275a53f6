//! A backlog to its end: events and megabytes per second, by format and compression, to `file://`
//! on one core, and to HDFS beside hdfs-native alone, which writes the same bytes in the same
//! round.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdfs_native::{Client, ClientBuilder, WriteOptions};
use serde_json::{Map, Value, json};
use sewer_test_support::backlog;
use sewer_test_support::command::{self, without_own_variables};
use sewer_test_support::hdfs::{self, Hdfs, HdfsOptions};
use sewer_test_support::process::sibling;
use sewer_test_support::shipper::Shipper;
use tokio::runtime::Runtime;

use super::flume_sink;
use crate::cpu;
use crate::report::{Outcome, Table};
use crate::settings::Settings;
use crate::stats::{as_f64, decimal, median, thousands};

/// Far more than a replay takes.
const PATIENCE: Duration = Duration::from_mins(5);

/// The shipper hands output on in pieces of this size, and so does the baseline.
const CHUNK_BYTES: usize = 1 << 20;

/// Events per replay, in MB.
const MEGABYTES: (u64, u64) = (400, 30);

/// The mean size of the backlog's events, in the WAL.
const EVENT_BYTES: f64 = 1024.0;

const TO_FILES: [(&str, &str); 10] = [
    ("access-log", "snappy"),
    ("access-log", "none"),
    ("access-log", "lz4"),
    ("access-log", "zstd"),
    ("access-log", "deflate"),
    ("access-log", "gzip"),
    ("access-log", "bzip2"),
    ("json", "snappy"),
    ("tsv", "snappy"),
    ("bytes", "snappy"),
];

const TO_HDFS: [(&str, &str); 5] = [
    ("access-log", "snappy"),
    ("access-log", "none"),
    ("json", "snappy"),
    ("tsv", "snappy"),
    ("bytes", "snappy"),
];

/// What one replay has shown.
#[derive(Clone, Copy, Debug, serde::Serialize)]
struct Replay {
    events: u64,
    seconds: f64,
    cpu_seconds: f64,
    /// What hdfs-native alone takes for the same files.
    alone_seconds: Option<f64>,
}

pub fn run(settings: &Settings) -> Outcome {
    let mut outcome = Outcome { section: "replay", ..Outcome::default() };
    let mut data = Map::new();
    data.insert("file".into(), to_files(settings, &mut outcome));
    if hdfs::available_or_skip("replay") {
        let hdfs = Hdfs::start(&HdfsOptions::default());
        data.insert("hdfs".into(), to_hdfs(settings, &hdfs, &mut outcome));
        data.insert("flume".into(), flume_sink::run(settings, &hdfs, &mut outcome));
    } else {
        outcome.notes.push("HDFS left out: there are no Hadoop jars.".to_owned());
    }
    outcome.data = Value::Object(data);
    outcome
}

/// Fewer rounds than elsewhere: a replay is long, and little disturbs it.
fn rounds(settings: &Settings) -> usize {
    settings.rounds.div_ceil(3)
}

fn to_files(settings: &Settings, outcome: &mut Outcome) -> Value {
    let mut replays = vec![Vec::new(); TO_FILES.len()];
    for _ in 0..rounds(settings) {
        for (place, (format, compression)) in TO_FILES.into_iter().enumerate() {
            let directory = settings.directory();
            let uri = format!("file://{}/out", directory.path().display());
            let sets = sets(format, compression);
            match replay(settings, directory.path(), &uri, &sets, true) {
                Ok(replay) => replays[place].push(replay),
                Err(why) => outcome.failures.push(format!("{format}, {compression}: {why}")),
            }
        }
    }
    tell("To `file://`, the shipper on one core, events of 1 KB", &TO_FILES, &replays, outcome)
}

fn to_hdfs(settings: &Settings, hdfs: &Hdfs, outcome: &mut Outcome) -> Value {
    let runtime = Runtime::new().expect("start a runtime");
    let client = ClientBuilder::new()
        .with_url(hdfs.uri())
        .with_config_dir(hdfs.conf_dir().display().to_string())
        .build()
        .expect("make a client");
    let mut replays = vec![Vec::new(); TO_HDFS.len()];
    for round in 0..rounds(settings) {
        for (place, (format, compression)) in TO_HDFS.into_iter().enumerate() {
            let directory = settings.directory();
            let mut sets = sets(format, compression);
            sets.push(format!("destination.hadoop_conf_dir={}", hdfs.conf_dir().display()));
            let name = format!("{format}-{compression}-{round}");
            sets.push(format!("destination.path=/shipped/{name}"));
            let done = replay(settings, directory.path(), &hdfs.uri(), &sets, false);
            let with_alone = done.and_then(|replay| {
                let alone_seconds = Some(runtime.block_on(alone(&client, &name))?);
                runtime.block_on(remove(&client, &name))?;
                Ok(Replay { alone_seconds, ..replay })
            });
            match with_alone {
                Ok(replay) => replays[place].push(replay),
                Err(why) => outcome.failures.push(format!("{format}, {compression}: {why}")),
            }
        }
    }
    let title = "To HDFS with one DataNode, nothing pinned, events of 1 KB; \"hdfs-native alone\" is \
                 its time for the same files over the shipper's for all";
    tell(title, &TO_HDFS, &replays, outcome)
}

fn sets(format: &str, compression: &str) -> Vec<String> {
    vec![format!("destination.format={format}"), format!("destination.compression={compression}")]
}

/// Writes a backlog and ships it.
fn replay(
    settings: &Settings,
    directory: &Path,
    uri: &str,
    sets: &[String],
    pinned: bool,
) -> Result<Replay, String> {
    let events = backlog::write(&directory.join("wal"), backlog_bytes(settings));
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    let shipper = Shipper::new(&settings.binary, directory, uri, &sets);
    let binary = sibling(&settings.binary, "sewer-shipper");
    let mut command = if pinned { Command::new("taskset") } else { Command::new(&binary) };
    if pinned {
        command.args(["-c", &cpu::SERVER_CORE.to_string()]).arg(&binary);
    }
    command.args(shipper.args()).arg("--replay");
    let (before, begun) = (cpu::ended_children_seconds(), Instant::now());
    let said = command::run(without_own_variables(&mut command), PATIENCE)?;
    let seconds = begun.elapsed().as_secs_f64();
    let cpu_seconds = cpu::ended_children_seconds() - before;
    let all_arrived = said.stdout.contains(&format!("shipped {events} events"));
    if said.code != Some(0) || !all_arrived || !shipper.left().is_empty() {
        return Err(format!("{}{}\nleft: {:?}", said.stdout, said.stderr, shipper.left()));
    }
    Ok(Replay { events, seconds, cpu_seconds, alone_seconds: None })
}

fn backlog_bytes(settings: &Settings) -> u64 {
    let (long, short) = MEGABYTES;
    settings.either(long, short) * 1_000_000
}

/// Writes the files of a shipment as the shipper does, but for everything that is not hdfs-native,
/// and returns how long that took.
async fn alone(client: &Client, name: &str) -> Result<f64, String> {
    let fail = |what: &'static str| move |e| format!("hdfs-native alone, {what}: {e}");
    let mut files = Vec::new();
    let listed = client.list_status(&format!("/shipped/{name}"), false).await;
    for status in listed.map_err(fail("list"))? {
        let mut file = client.read(&status.path).await.map_err(fail("open"))?;
        files.push(file.read_bytes(status.length).await.map_err(fail("read"))?);
    }
    let directory = format!("/alone/{name}");
    let begun = Instant::now();
    client.mkdirs(&directory, 0o755, true).await.map_err(fail("make a directory"))?;
    for (number, bytes) in files.into_iter().enumerate() {
        let path = format!("{directory}/{number}");
        Box::pin(write(client, &path, &bytes)).await.map_err(fail("write"))?;
    }
    Ok(begun.elapsed().as_secs_f64())
}

/// Makes room for the next round.
async fn remove(client: &Client, name: &str) -> Result<(), String> {
    for parent in ["shipped", "alone"] {
        let path = format!("/{parent}/{name}");
        client.delete(&path, true).await.map_err(|e| format!("delete {path}: {e}"))?;
    }
    Ok(())
}

async fn write(client: &Client, path: &str, bytes: &Bytes) -> hdfs_native::Result<()> {
    let temporary = format!("{path}.tmp");
    let mut writer = client.create(&temporary, WriteOptions::default()).await?;
    for at in (0..bytes.len()).step_by(CHUNK_BYTES) {
        let chunk = bytes.slice(at..bytes.len().min(at + CHUNK_BYTES));
        Box::pin(writer.write_bytes(chunk)).await?;
    }
    Box::pin(writer.close()).await?;
    client.rename(&temporary, path, false).await
}

fn tell(
    title: &str,
    what: &[(&str, &str)],
    replays: &[Vec<Replay>],
    outcome: &mut Outcome,
) -> Value {
    let head = [
        "format",
        "compression",
        "events/s",
        "per CPU second",
        "MB/s of events",
        "per CPU second",
        "hdfs-native alone",
    ];
    let has_alone = replays.iter().flatten().any(|replay| replay.alone_seconds.is_some());
    let columns = if has_alone { head.len() } else { head.len() - 1 };
    let mut table = Table::new(title, &head[..columns]);
    let mut data = Map::new();
    for ((format, compression), replays) in what.iter().zip(replays) {
        let middle = |of: fn(&Replay) -> f64| median(replays.iter().map(of));
        let by_clock = middle(|replay| as_f64(replay.events) / replay.seconds);
        let by_cpu = middle(|replay| as_f64(replay.events) / replay.cpu_seconds);
        // The backlog's events are of this size on the average.
        let event_mb = EVENT_BYTES / 1e6;
        let alone = median(replays.iter().filter_map(|r| Some(r.alone_seconds? / r.seconds)));
        let mut cells = vec![
            (*format).to_owned(),
            (*compression).to_owned(),
            thousands(by_clock),
            thousands(by_cpu),
            decimal(by_clock * event_mb, 1),
            decimal(by_cpu * event_mb, 1),
            decimal(alone, 2),
        ];
        cells.truncate(columns);
        table.row(cells);
        let figures = json!({
            "events_per_second": by_clock,
            "events_per_cpu_second": by_cpu,
            "mb_per_second": by_clock * event_mb,
            "mb_per_cpu_second": by_cpu * event_mb,
            "alone_ratio": alone,
            "rounds": replays,
        });
        data.insert(format!("{format}, {compression}"), figures);
    }
    outcome.tables.push(table);
    Value::Object(data)
}
