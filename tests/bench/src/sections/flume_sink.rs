//! The nearest thing that one would use instead of the shipper: Flume's HDFS sink, which empties
//! its file channel into the same HDFS. The events are those of the other replays, as the JSON
//! objects that the format `bytes` has.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sewer_test_support::hdfs::Hdfs;
use sewer_test_support::http::Connection;
use sewer_test_support::pixel::sewer_wal;
use sewer_test_support::ports::{self, Port};
use sewer_test_support::process::{Process, eventually};
use sewer_test_support::{backlog, hadoop};

use crate::cpu;
use crate::report::{Outcome, Table};
use crate::servers::{Flume, http_source, post, takes_events};
use crate::settings::{Settings, own};
use crate::stats::{as_f64, decimal, thousands};

/// Events in the channel.
const EVENTS: (u64, u64) = (300_000, 20_000);

/// Events of one POST, and of one batch of the sink, whose own default is 100.
const BATCH: usize = 1000;

/// How much is drained before the clock starts: a JVM that has just started is slow.
const WARM_UP_SHARE: f64 = 0.2;

const READY_WAIT: Duration = Duration::from_mins(1);

const STOP_WAIT: Duration = Duration::from_mins(1);

const DRAIN_WAIT: Duration = Duration::from_mins(5);

pub fn run(settings: &Settings, hdfs: &Hdfs, outcome: &mut Outcome) -> Value {
    match measure(settings, hdfs) {
        Ok((by_clock, by_cpu, event_bytes)) => {
            let head = ["events/s", "per CPU second", "MB/s of events", "per CPU second"];
            let mut table = Table::new(
                "Flume's HDFS sink from its file channel, SequenceFiles in snappy, same HDFS",
                &head,
            );
            let mb = event_bytes / 1e6;
            table.row([
                thousands(by_clock),
                thousands(by_cpu),
                decimal(by_clock * mb, 1),
                decimal(by_cpu * mb, 1),
            ]);
            outcome.tables.push(table);
            json!({ "events_per_second": by_clock, "events_per_cpu_second": by_cpu })
        }
        Err(why) => {
            outcome.failures.push(format!("Flume's HDFS sink: {why}"));
            Value::Null
        }
    }
}

/// Events per second, and per second of processor time, and the mean size of an event.
fn measure(settings: &Settings, hdfs: &Hdfs) -> Result<(f64, f64, f64), String> {
    let directory = settings.directory();
    let bodies = bodies(settings, directory.path());
    let event_bytes = bodies.iter().map(String::len).sum::<usize>() / bodies.len();
    let (long, short) = EVENTS;
    let events = settings.either(long, short);
    let root = own(directory.path(), "agent");
    let filled = fill(settings, &root, &bodies, events)?;
    let figures = drain(settings, &root, hdfs, filled)?;
    Ok((figures.0, figures.1, as_f64(event_bytes as u64)))
}

/// The events of a backlog as JSON objects.
fn bodies(settings: &Settings, directory: &Path) -> Vec<String> {
    let wal = directory.join("wal");
    // One batch, which has all that differ.
    backlog::write(&wal, 1);
    let wal = wal.display().to_string();
    let lines = sewer_wal(&settings.binary, &["dump", "--format", "json", &wal]).expect_success();
    lines.lines().map(ToOwned::to_owned).collect()
}

/// Fills a channel that has no sink, and returns how many events are in it.
fn fill(settings: &Settings, root: &Path, bodies: &[String], events: u64) -> Result<u64, String> {
    let port = ports::reserve();
    let conf = http_source(port.number());
    let agent = Flume { directory: root, conf, classpath: vec![], options: vec![], pinned: false };
    let mut process = agent.start(settings)?;
    let address = port.address();
    process.wait_until("ready", READY_WAIT, || takes_events(&address));
    let chunks: Vec<String> = bodies.chunks(BATCH).map(array).collect();
    // The probe that was taken is one, too.
    let mut filled = 1;
    for (number, chunk) in chunks.iter().enumerate().cycle() {
        if filled >= events {
            break;
        }
        let connection = Connection::open(&address).map_err(|e| format!("connect: {e}"));
        if !connection.is_ok_and(|mut connection| post(&mut connection, chunk)) {
            return Err(format!("its HTTP source has not taken events\n{}", process.log_tail()));
        }
        filled += bodies.chunks(BATCH).nth(number).map_or(0, <[String]>::len) as u64;
    }
    stop(&mut process)?;
    Ok(filled)
}

/// Events as the HTTP source takes them.
fn array(bodies: &[String]) -> String {
    let events: Vec<Value> =
        bodies.iter().map(|body| json!({ "headers": {}, "body": body })).collect();
    Value::from(events).to_string()
}

fn drain(settings: &Settings, root: &Path, hdfs: &Hdfs, events: u64) -> Result<(f64, f64), String> {
    let monitor = ports::reserve();
    let conf = format!(
        "a.sinks = k\na.sinks.k.type = hdfs\na.sinks.k.channel = c\na.sinks.k.hdfs.path = {}/flume\n\
         a.sinks.k.hdfs.fileType = SequenceFile\na.sinks.k.hdfs.codeC = snappy\n\
         a.sinks.k.hdfs.rollInterval = 0\na.sinks.k.hdfs.rollCount = 0\n\
         a.sinks.k.hdfs.rollSize = 134217728\na.sinks.k.hdfs.batchSize = {BATCH}\n",
        hdfs.uri()
    );
    let jars = hadoop::lib_dir().join("*");
    let classpath = vec![hdfs.conf_dir().display().to_string(), jars.display().to_string()];
    let options = vec![
        "-Dflume.monitoring.type=http".to_owned(),
        format!("-Dflume.monitoring.port={}", monitor.number()),
    ];
    let agent = Flume { directory: root, conf, classpath, options, pinned: false };
    let mut process = agent.start(settings)?;
    let reach = |process: &mut Process, wanted: f64| {
        let there = eventually(DRAIN_WAIT, || {
            drained(&monitor).is_some_and(|count| count >= wanted) || !process.is_running()
        });
        let count = drained(&monitor).filter(|_| there);
        count.ok_or_else(|| format!("not at {wanted} of {events} events\n{}", process.log_tail()))
    };
    let all = as_f64(events);
    let first = reach(&mut process, all * WARM_UP_SHARE)?;
    let (begun, cpu_before) = (Instant::now(), cpu::seconds(process.pid()));
    let last = reach(&mut process, all)?;
    let (took, cpu) = (begun.elapsed(), cpu::seconds(process.pid()) - cpu_before);
    stop(&mut process)?;
    Ok(((last - first) / took.as_secs_f64(), (last - first) / cpu))
}

/// How many events the sink has delivered, by the agent's own account.
fn drained(monitor: &Port) -> Option<f64> {
    let mut connection = Connection::open(&monitor.address()).ok()?;
    let ask = b"GET /metrics HTTP/1.1\r\nHost: flume\r\nConnection: close\r\n\r\n";
    connection.send(ask).ok()?;
    let answer = String::from_utf8_lossy(&connection.rest().ok()?).into_owned();
    let (_, rest) = answer.split_once("\"EventDrainSuccessCount\":\"")?;
    rest.split('"').next()?.parse().ok()
}

fn stop(process: &mut Process) -> Result<(), String> {
    process.terminate();
    if eventually(STOP_WAIT, || !process.is_running()) {
        Ok(())
    } else {
        Err(format!("it has not ended in {STOP_WAIT:?}\n{}", process.log_tail()))
    }
}
