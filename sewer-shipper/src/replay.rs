//! `--replay`: seal what a dead pixel left, ship everything now, and say what was done.

use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytesize::ByteSize;
use indicatif::{ProgressBar, ProgressStyle};
use sewer_ops::signals::StopSignals;
use sewer_wal::wal::seal_leftovers;
use sewer_wal::{Layout, WalError};

use crate::backlog::Totals;
use crate::config::Config;
use crate::daemon::log_failure;
use crate::retry::Backoff;
use crate::worker::{Step, Worker};

/// Where there is no terminal, how often a line tells the progress.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Drains a WAL: the configured one, or that in `other_wal`. `true` if the backlog is empty.
///
/// # Errors
/// What keeps it from starting. Failures on the way are retried for `retry.replay_patience`
/// without progress.
pub async fn run(config: &Config, other_wal: Option<&Path>) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let mut stop = StopSignals::listen().context("listen for signals")?;
    let dir = other_wal.unwrap_or(&config.wal.dir);
    let mut worker = Worker::open(config, dir, other_wal.is_none())?;
    seal(dir).await?;
    let totals = worker.refresh()?;
    println!(
        "replaying {} events in {} segments ({}) of the WAL {} to {}",
        totals.events,
        totals.segments,
        ByteSize(totals.bytes),
        worker.wal_id(),
        worker.destination().describe()
    );
    let progress = Progress::new(totals);
    let drained = tokio::select! {
        drained = drain(&mut worker, config, &progress) => drained,
        signal = stop.next() => {
            tracing::warn!(signal, "replay was interrupted");
            false
        }
    };
    progress.bar.finish_and_clear();
    let left = worker.refresh()?;
    summarise(&worker, left, begun.elapsed());
    Ok(drained && left.segments == 0 && left.set_aside == 0)
}

/// Seals what is left of a pixel that is not running.
async fn seal(dir: &Path) -> anyhow::Result<()> {
    let layout = Layout::new(dir);
    match tokio::task::spawn_blocking(move || seal_leftovers(&layout)).await? {
        Ok(report) => {
            for log in report.logs {
                println!("sealed what the pixel left: LSN {}", log.range);
                for damage in &log.damage {
                    tracing::error!(
                        offset = damage.offset, lost = %damage.lost, reason = damage.reason,
                        "what the pixel left is damaged"
                    );
                }
            }
            Ok(())
        }
        Err(WalError::Locked { holder, .. }) => {
            let pixel = holder.map_or("a pixel".into(), |pid| format!("the pixel, process {pid},"));
            println!("{pixel} is running: its active segment is left to it");
            Ok(())
        }
        Err(e) => Err(e.into()),
    }
}

/// Ships until there is nothing; `false` once it has been in vain for too long.
async fn drain(worker: &mut Worker, config: &Config, progress: &Progress) -> bool {
    let mut backoff = Backoff::new(&config.retry);
    let mut last_success = Instant::now();
    loop {
        match worker.step(true).await {
            Ok(Step::Shipped) => {
                backoff.reset();
                last_success = Instant::now();
                progress.shipped(worker.metrics().delivered().events);
            }
            Ok(Step::Idle(_)) => return true,
            Err(error) => {
                worker.metrics().failed(&error);
                let wait = backoff.after_failure(error.needs_a_human());
                progress.bar.suspend(|| log_failure(&error, wait));
                let left = config.retry.replay_patience.saturating_sub(last_success.elapsed());
                if left.is_zero() {
                    tracing::error!("no progress for the time of retry.replay_patience");
                    return false;
                }
                tokio::time::sleep(wait.min(left)).await;
            }
        }
    }
}

fn summarise(worker: &Worker, left: Totals, took: Duration) {
    let done = worker.metrics().delivered();
    println!(
        "shipped {} events in {} files ({}) in {:.1} s; {} segments quarantined, {} events lost to damage",
        done.events,
        done.files,
        ByteSize(done.bytes),
        took.as_secs_f64(),
        done.quarantined,
        done.lost,
    );
    if left.set_aside > 0 {
        let dir = worker.sealed_dir().display().to_string();
        println!("{} files in {dir} are not shipped; the errors above say why", left.set_aside);
    }
    if left.segments == 0 {
        println!("the backlog is empty");
    } else {
        let (segments, bytes) = (left.segments, ByteSize(left.bytes));
        println!("{} events in {segments} segments ({bytes}) are still to be shipped", left.events);
    }
}

/// A bar on a terminal, a line now and then elsewhere.
struct Progress {
    bar: ProgressBar,
    events: u64,
    begun: Instant,
    reported: std::cell::Cell<Instant>,
    on_terminal: bool,
}

impl Progress {
    fn new(totals: Totals) -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        let bar = if on_terminal { ProgressBar::new(totals.events) } else { ProgressBar::hidden() };
        let template = "{bar:30} {human_pos}/{human_len} events, {per_sec}, {eta} left";
        bar.set_style(
            ProgressStyle::with_template(template).expect("the template is a valid constant"),
        );
        let now = Instant::now();
        Self { bar, events: totals.events, begun: now, reported: now.into(), on_terminal }
    }

    fn shipped(&self, events: u64) {
        self.bar.set_position(events);
        if self.on_terminal || self.reported.get().elapsed() < REPORT_INTERVAL {
            return;
        }
        self.reported.set(Instant::now());
        let seconds = self.begun.elapsed().as_secs_f64();
        #[allow(clippy::cast_precision_loss)] // For people.
        let rate = events as f64 / seconds;
        tracing::info!(events, of = self.events, events_per_second = rate.round(), "replaying");
    }
}
