//! Rows: which ones run, how often, and where their results go.

use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::rig::{Rig, RigOptions};
use crate::hdfs::Hdfs;

/// After a fault has ended: the longest wait of a retry, the timeouts, and the shipping of what has
/// come meanwhile add up to some ten seconds; the rest is a margin for a crowded machine.
const RECOVERY: Duration = Duration::from_mins(2);

/// What of a failure goes into the table; all of it is printed at the end.
const WHY_CHARS_MAX: usize = 120;

/// What a row does not do more than once.
const LONG: Duration = Duration::from_mins(1);

/// One row of the matrix.
#[derive(Clone, Debug)]
pub struct Row {
    fault: String,
    step: String,
    is_in_slice: bool,
    times: Option<u32>,
    recovery: Duration,
    pub(super) reasons: Vec<&'static str>,
    pub(super) replication: Option<u16>,
}

impl Row {
    /// What happens, and at which step of a shipment.
    pub fn new(fault: &str, step: &str) -> Self {
        Self {
            fault: fault.to_owned(),
            step: step.to_owned(),
            is_in_slice: false,
            times: None,
            recovery: RECOVERY,
            reasons: Vec::new(),
            replication: None,
        }
    }

    /// It runs by default, and not only in the whole matrix.
    #[must_use]
    pub fn in_slice(mut self) -> Self {
        self.is_in_slice = true;
        self
    }

    /// How often the fault strikes, whatever `SEWERTEST_FAULTS_TIMES` says.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// The time after the fault's end within which lag must be little again; two minutes else.
    #[must_use]
    pub fn recovers_within(mut self, recovery: Duration) -> Self {
        self.recovery = recovery;
        self
    }

    /// The shipper's log must have a warning or an error with this reason. Of several, one will do.
    #[must_use]
    pub fn tells(mut self, reason: &'static str) -> Self {
        self.reasons.push(reason);
        self
    }

    /// Every file at the end must ask for so many replicas.
    #[must_use]
    pub fn ends_with_replication(mut self, replication: u16) -> Self {
        self.replication = Some(replication);
        self
    }

    fn name(&self) -> String {
        format!("{}, {}", self.fault, self.step)
    }

    fn is_chosen(&self) -> bool {
        match std::env::var("SEWERTEST_FAULTS_ROW") {
            Ok(part) => self.name().contains(&part),
            Err(_) => self.is_in_slice || is_complete(),
        }
    }

    /// It waits for [`freeze`]; where that is long, once is enough.
    #[must_use]
    pub fn freezes(mut self) -> Self {
        if freeze() >= LONG {
            self.times = Some(1);
        }
        self
    }

    fn strikes(&self) -> u32 {
        let asked = || std::env::var("SEWERTEST_FAULTS_TIMES").ok();
        let number = |times: String| times.parse().expect("SEWERTEST_FAULTS_TIMES is a number");
        self.times.or_else(|| asked().map(number)).unwrap_or(1)
    }
}

/// Whether all rows run and not only the slice: `SEWERTEST_FAULTS=all`.
fn is_complete() -> bool {
    std::env::var_os("SEWERTEST_FAULTS").is_some_and(|value| value == "all")
}

/// How long a frozen process stays frozen: two minutes in the whole matrix, 8 seconds (longer than
/// every timeout of a rig's shipper) in the slice, or the seconds of `SEWERTEST_FREEZE`.
///
/// # Panics
/// If the variable is no number.
pub fn freeze() -> Duration {
    match std::env::var("SEWERTEST_FREEZE") {
        Ok(seconds) => Duration::from_secs(seconds.parse().expect("SEWERTEST_FREEZE is a number")),
        Err(_) if is_complete() => Duration::from_mins(2),
        Err(_) => Duration::from_secs(8),
    }
}

/// Runs rows, goes on after one that fails, and fails at the end.
#[derive(Debug)]
pub struct Matrix {
    binary: String,
    table: PathBuf,
    failed: Vec<String>,
}

impl Matrix {
    /// `binary` is the path of any program of the workspace.
    ///
    /// # Panics
    /// If that is not in Cargo's target directory.
    pub fn new(binary: &str) -> Self {
        let profile = Path::new(binary).parent().expect("a program is in a directory");
        let table = profile.parent().expect("of the target directory").join("faults.md");
        Self { binary: binary.to_owned(), table, failed: Vec::new() }
    }

    /// Whether any of these rows runs, so that a cluster for them is worth its start.
    pub fn wants(&self, rows: &[&Row]) -> bool {
        rows.iter().any(|row| row.is_chosen())
    }

    /// Runs a row if it is chosen. `strike` does the fault and undoes it.
    pub fn row(
        &mut self,
        hdfs: &Hdfs,
        row: &Row,
        options: &RigOptions,
        mut strike: impl FnMut(&mut Rig<'_>),
    ) {
        let binary = self.binary.clone();
        self.caught(hdfs, row, || run(&binary, hdfs, row, options, &mut strike));
    }

    /// Runs a row without a rig, if it is chosen. `strike` does all of it, the checks included, and
    /// tells how long what followed the fault took.
    pub fn row_alone(&mut self, hdfs: &Hdfs, row: &Row, mut strike: impl FnMut() -> Duration) {
        self.caught(hdfs, row, || (0..row.strikes()).map(|_| strike()).collect());
    }

    fn caught(&mut self, hdfs: &Hdfs, row: &Row, run: impl FnOnce() -> Vec<Duration>) {
        if !row.is_chosen() {
            return;
        }
        println!("{}:", row.name());
        let begun = Instant::now();
        // The rows that follow tell more than one alone.
        let result = catch_unwind(AssertUnwindSafe(run)).map_err(|panic| message(&*panic));
        println!("    {:?} in all", begun.elapsed());
        self.write(row, &result);
        if let Err(why) = result {
            self.failed.push(format!("{}: {why}", row.name()));
            hdfs.heal();
        }
    }

    /// One line of the table, in one write: other suites write to the same file.
    fn write(&self, row: &Row, result: &Result<Vec<Duration>, String>) {
        let (fault, step, times) = (&row.fault, &row.step, row.strikes());
        let line = match result {
            Ok(recoveries) => {
                let longest = recoveries.iter().max().copied().unwrap_or_default();
                format!(
                    "| {fault} | {step} | {times} | exactly once | {:.1} s |\n",
                    longest.as_secs_f64()
                )
            }
            Err(why) => {
                let why = why.lines().next().unwrap_or_default().replace('|', "/");
                let why: String = why.chars().take(WHY_CHARS_MAX).collect();
                format!("| {fault} | {step} | {times} | FAILED: {why} | |\n")
            }
        };
        print!("    {line}");
        let table = File::options().create(true).append(true).open(&self.table);
        table
            .and_then(|mut table| table.write_all(line.as_bytes()))
            .unwrap_or_else(|e| panic!("append to {}: {e}", self.table.display()));
    }

    /// Says whether all rows held.
    ///
    /// # Panics
    /// If one has not.
    pub fn finish(self) {
        let failed = self.failed;
        assert!(failed.is_empty(), "{} rows failed:\n{}", failed.len(), failed.join("\n"));
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

/// Strikes under load, as often as the row says; returns how long each recovery took.
fn run(
    binary: &str,
    hdfs: &Hdfs,
    row: &Row,
    options: &RigOptions,
    strike: &mut dyn FnMut(&mut Rig<'_>),
) -> Vec<Duration> {
    let mut rig = Rig::start(binary, hdfs, options);
    let before = rig.figures();
    let mut recoveries = Vec::new();
    for _ in 0..row.strikes() {
        let begun = Instant::now();
        strike(&mut rig);
        let lasted = begun.elapsed();
        let recovery = rig.recover(row.recovery);
        println!("    lasted {lasted:?}, recovered {recovery:?} after its end");
        recoveries.push(recovery);
    }
    let after = rig.check_figures(&before);
    println!("    {before} before, {after} after");
    if let Some(alarm) = rig.alarms().iter().find(|line| line.contains("reason=")) {
        println!("    {alarm}");
    }
    rig.finish(row, row.strikes());
    recoveries
}
