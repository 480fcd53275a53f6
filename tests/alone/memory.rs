//! A shipper's memory does not grow with the backlog.
//!
//!     SEWERTEST_BACKLOG=10GB cargo test --release -p sewer-shipper --test memory -- --nocapture
//!
//! prints the curve. Without the variable the backlog is 512 MB, in a debug build less. Below
//! `TMPDIR` there must be room for twice as much.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use sewer_test_support::backlog;
use sewer_test_support::process::Process;
use sewer_test_support::shipper::Shipper;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// What the shipper may have resident at any time.
const RESIDENT_MAX: ByteSize = ByteSize::mib(128);

const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// How many samples are printed.
const SAMPLES: usize = 20;

/// Far more than 10 GB take.
const PATIENCE: Duration = Duration::from_hours(1);

/// Unoptimised code takes ten times as long.
const BACKLOG: ByteSize =
    if cfg!(debug_assertions) { ByteSize::mb(192) } else { ByteSize::mb(512) };

fn backlog_size() -> ByteSize {
    let size = std::env::var("SEWERTEST_BACKLOG");
    size.map_or(BACKLOG, |size| size.parse().expect("SEWERTEST_BACKLOG is a size"))
}

/// A moment of the shipper's life.
#[derive(Clone, Copy)]
struct Sample {
    at: Duration,
    resident: ByteSize,
    /// The most that it had resident up to then, which the kernel keeps exactly.
    peak: ByteSize,
    left: ByteSize,
}

/// `None` once the process has ended.
fn sample(pid: u32, sealed: &Path, begun: Instant) -> Option<Sample> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let size = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        Some(ByteSize::kib(line.split_whitespace().nth(1)?.parse().ok()?))
    };
    // A segment that goes in between is not left any more.
    let sizes = std::fs::read_dir(sealed).ok()?.filter_map(|entry| entry.ok()?.metadata().ok());
    Some(Sample {
        at: begun.elapsed(),
        resident: size("VmRSS:")?,
        peak: size("VmHWM:")?,
        left: ByteSize(sizes.map(|metadata| metadata.len()).sum()),
    })
}

fn print_curve(samples: &[Sample]) {
    println!("| seconds | backlog left | resident | peak |\n|---|---|---|---|");
    let last = samples.len() - 1;
    for index in (0..SAMPLES).map(|number| number * last / (SAMPLES - 1)) {
        let Sample { at, resident, peak, left } = samples[index];
        println!("| {:.1} | {left} | {resident} | {peak} |", at.as_secs_f64());
    }
}

#[test]
fn a_large_backlog_is_shipped_in_bounded_memory() {
    let dir = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let events = backlog::write(&dir.path().join("wal"), backlog_size().as_u64());
    println!("{events} events, {} in {:.1} s", backlog_size(), begun.elapsed().as_secs_f64());

    let uri = format!("file://{}/out", dir.path().display());
    let shipper = Shipper::new(BINARY, dir.path(), &uri, &[]);
    let arguments = [shipper.args(), vec!["--replay".to_owned()]].concat();
    let begun = Instant::now();
    let mut process =
        Process::start(Path::new(BINARY), &arguments, &dir.path().join("shipper.log"));
    let sealed = dir.path().join("wal/sealed");
    let mut samples = Vec::new();
    while process.is_running() && begun.elapsed() < PATIENCE {
        samples.extend(sample(process.pid(), &sealed, begun));
        std::thread::sleep(SAMPLE_EVERY);
    }
    assert_eq!(process.wait(Duration::from_secs(1)), Some(0), "{}", process.log_tail());
    let took = begun.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss)] // For people.
    let rate = events as f64 / took;
    println!("shipped in {took:.1} s, {rate:.0} events/s");
    print_curve(&samples);
    assert_eq!(shipper.left(), Vec::<PathBuf>::new());
    let peak = samples.iter().map(|sample| sample.peak).max().expect("it ran for a while");
    assert!(peak < RESIDENT_MAX, "{peak} resident");
}
