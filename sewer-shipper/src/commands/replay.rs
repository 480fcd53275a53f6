//! `--replay`: seal what a dead pixel left, ship everything now, and say what was done.

use std::fmt;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytesize::ByteSize;
use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};
use sewer_ops::say;
use sewer_ops::signals::StopSignals;
use sewer_wal::wal::seal_leftovers;
use sewer_wal::{Layout, WalError};
use tokio::sync::{Notify, watch};

use super::overlay::Overlay;
use crate::config::Config;
use crate::metrics::Delivered;
use crate::plan::backlog::Totals;
use crate::ship::planner::Planner;
use crate::ship::schedule::{self, Until};

/// Where there is no terminal, how often a line tells the progress.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// How often to look how far it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How long an interrupt waits for the shipments under way.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Drains a WAL: the configured one, or that in `other_wal`; by way of the directory `journal`, if
/// there is one, and then nothing is written into the WAL. `true` if the backlog is empty.
///
/// # Errors
/// What keeps it from starting. Failures on the way are retried for `retry.replay_patience`
/// without progress.
pub async fn run(
    config: &Config,
    other_wal: Option<&Path>,
    journal: Option<&Path>,
) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let mut stop = StopSignals::listen().context("listen for signals")?;
    let mut dir = other_wal.unwrap_or(&config.wal.dir);
    let mut overlay = None;
    if let Some(journal) = journal {
        let (source, own) = (Layout::new(dir), journal.to_owned());
        let opened = tokio::task::spawn_blocking(move || Overlay::open(&source, &own)).await??;
        dir = overlay.insert(opened).layout().root();
    }
    let mut planner = Planner::open(config, dir, other_wal.is_none())?;
    seal(dir).await?;
    if let Some(overlay) = &overlay {
        overlay.remember_sealed()?;
    }
    let totals = planner.refresh()?;
    say!(
        "replaying {} events in {} segments ({}) of the WAL {} to {}",
        totals.events,
        totals.segments,
        ByteSize(totals.bytes),
        planner.wal_id(),
        planner.destination().describe()
    );
    let progress = Progress::new(totals);
    let drained = drain(&mut planner, config, &progress, &mut stop).await;
    progress.bar.finish_and_clear();
    let left = planner.refresh()?;
    summarise(&planner, left, begun.elapsed());
    Ok(drained && left.segments == 0 && left.set_aside == 0)
}

/// Seals what is left of a pixel that is not running.
async fn seal(dir: &Path) -> anyhow::Result<()> {
    let layout = Layout::new(dir);
    match tokio::task::spawn_blocking(move || seal_leftovers(&layout)).await? {
        Ok(report) => {
            for note in &report.notes {
                tracing::error!("{note}");
            }
            for log in report.logs {
                say!("sealed what the pixel left: LSN {}", log.range);
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
            say!("{pixel} is running: its active segment is left to it");
            Ok(())
        }
        Err(e) => Err(e.into()),
    }
}

/// Ships until there is nothing; `false` once it has been in vain for too long, or is interrupted.
async fn drain(
    planner: &mut Planner,
    config: &Config,
    progress: &Progress,
    stop: &mut StopSignals,
) -> bool {
    let metrics = Arc::clone(planner.metrics());
    let until = Until::Drained { patience: config.retry.replay_patience };
    let (interrupt, stopping) = watch::channel(false);
    let nothing_is_sealed = Notify::new();
    let mut shipping = std::pin::pin!(schedule::ship(planner, until, &nothing_is_sealed, stopping));
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    loop {
        tokio::select! {
            drained = &mut shipping => return drained,
            _ = ticks.tick() => progress.show(metrics.delivered()),
            signal = stop.next() => {
                tracing::warn!(signal, "interrupted; run it again to go on");
                interrupt.send_replace(true);
                // What is cut is taken up by the next run.
                let _ = tokio::time::timeout(STOP_PATIENCE, shipping).await;
                return false;
            }
        }
    }
}

fn summarise(planner: &Planner, left: Totals, took: Duration) {
    let done = planner.metrics().delivered();
    say!(
        "shipped {} events in {} files ({}) in {:.1} s; {} segments quarantined, {}",
        done.events,
        done.files,
        ByteSize(done.bytes),
        took.as_secs_f64(),
        done.quarantined,
        done.losses,
    );
    if left.set_aside > 0 {
        let dir = planner.sealed_dir().display().to_string();
        say!("{} files in {dir} are not shipped; the errors above say why", left.set_aside);
    }
    if left.segments == 0 {
        say!("the backlog is empty");
    } else {
        let (segments, bytes) = (left.segments, ByteSize(left.bytes));
        say!("{} events in {segments} segments ({bytes}) are still to be shipped", left.events);
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
        let template = "{bar:30} {human_pos}/{human_len} events, {per_sec}, {msg}{time_left}";
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.expect("the template is a valid constant").with_key(
            "time_left",
            |state: &ProgressState, text: &mut dyn fmt::Write| {
                // Before the first events there is no telling.
                if state.pos() > 0 {
                    let _ = write!(text, ", {:#} left", HumanDuration(state.eta()));
                }
            },
        ));
        let now = Instant::now();
        Self { bar, events: totals.events, begun: now, reported: now.into(), on_terminal }
    }

    fn show(&self, done: Delivered) {
        let seconds = self.begun.elapsed().as_secs_f64().max(0.001);
        #[allow(clippy::cast_precision_loss)] // For people.
        let (events, bytes) = (done.events as f64 / seconds, done.bytes as f64 / seconds);
        self.bar.set_position(done.events);
        self.bar.set_message(format!("{:.1} MB/s written", bytes / 1e6));
        if self.on_terminal || self.reported.get().elapsed() < REPORT_INTERVAL {
            return;
        }
        self.reported.set(Instant::now());
        #[allow(clippy::cast_precision_loss)] // For people.
        let left = self.events.saturating_sub(done.events) as f64;
        let eta_s = if events > 0.0 { (left / events).ceil() } else { f64::NAN };
        tracing::info!(
            events = done.events,
            of = self.events,
            events_per_s = events.round(),
            mb_per_s = format_args!("{:.1}", bytes / 1e6),
            eta_s,
            "replaying"
        );
    }
}
