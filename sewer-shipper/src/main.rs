//! `sewer-shipper`: delivers sealed segments to HDFS, each event exactly once.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sewer_ops::logging::LogLevel;
use sewer_ops::program::{Sources, configure, finish_or, print_config};
use sewer_ops::{EXIT_FAILED, EXIT_OUT_OF_REACH};
use sewer_shipper::commands::{audit, cat, check, dry_run, replay};
use sewer_shipper::config::Config;
use sewer_shipper::daemon;
use sewer_wal::error::one_line;

#[allow(clippy::struct_excessive_bools)] // Each is a flag of the command line.
/// Ships what the pixel has sealed: SequenceFiles at a destination, each event exactly once.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file [default: /etc/sewer/shipper.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets a key over file and environment; can be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// Says whether configuration, directories and destination would work, and exits
    #[arg(long, group = "mode")]
    check: bool,
    /// Seals what a dead pixel left, ships everything now, prints a summary and exits
    #[arg(long, groups = ["mode", "on_a_wal"])]
    replay: bool,
    /// With --replay: shows what would be shipped, and to where, and changes nothing
    #[arg(long, requires = "replay")]
    dry_run: bool,
    /// Proves by LSN that every event is at the destination or on the local disk, and exits; 1 if
    /// not, 3 if it could not look
    #[arg(long, groups = ["mode", "on_a_wal"])]
    audit: bool,
    /// With --replay or --audit: the WAL of another node instead of the configured one
    #[arg(long, value_name = "DIR", requires = "on_a_wal")]
    wal: Option<PathBuf>,
    /// With --replay: writes nothing into the WAL, as where its disk takes no writes, but remembers
    /// in this directory what is shipped; give the same one again to go on
    #[arg(long, value_name = "DIR", requires = "replay", conflicts_with = "dry_run")]
    journal: Option<PathBuf>,
    /// Prints the rows of finished files as JSON lines, and exits
    #[arg(long, value_name = "FILE|URI", num_args = 1.., group = "mode")]
    cat: Vec<String>,
    /// Prints every key with its value and the layer that it comes from, and exits
    #[arg(long, group = "mode")]
    print_config: bool,
}

fn main() -> ExitCode {
    const NAME: &str = "sewer-shipper";
    let arguments = Arguments::parse();
    let sources = Sources { file: arguments.config.clone(), sets: arguments.set.clone() };
    if arguments.print_config {
        return print_config::<Config>(NAME, &sources);
    }
    match configure(NAME, &sources) {
        Ok((config, log)) => {
            let result = run(&arguments, config, sources, log);
            let on_error = if arguments.audit { EXIT_OUT_OF_REACH } else { EXIT_FAILED };
            finish_or(NAME, result.map_err(|e| one_line(e.as_ref())), on_error)
        }
        Err(code) => code,
    }
}

/// `true` if what was asked for was done.
fn run(
    arguments: &Arguments,
    config: Config,
    sources: Sources,
    log: LogLevel,
) -> anyhow::Result<bool> {
    // Two threads are enough: encoding has threads of its own, and HDFS a runtime of its own.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(async {
        if arguments.check {
            return Ok(check::run(&config).await);
        }
        if !arguments.cat.is_empty() {
            return cat::run(&config, &arguments.cat).await.map(|()| true);
        }
        if arguments.audit {
            return audit::run(&config, arguments.wal.as_deref()).await;
        }
        if arguments.dry_run {
            let (config, wal) = (config, arguments.wal.clone());
            return tokio::task::spawn_blocking(move || dry_run::run(&config, wal.as_deref()))
                .await?
                .map(|()| true);
        }
        if arguments.replay {
            let (wal, journal) = (arguments.wal.as_deref(), arguments.journal.as_deref());
            return replay::run(&config, wal, journal).await;
        }
        daemon::run(config, sources, log).await.map(|()| true)
    });
    // A call that hangs must not keep the process from ending.
    runtime.shutdown_background();
    result
}
