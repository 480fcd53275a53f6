//! The benchmarks: the pixel beside nginx and Flume, the shipper beside hdfs-native and Flume, all
//! in one run on one machine. `tests/bench/run` installs what they need, builds and starts them;
//! `tests/bench/README.md` says what each section does and how to read it.
//!
//! - [`settings`]: how many rounds of what length, and where things are.
//! - [`servers`]: what is measured, each a process of its own, pinned to a core.
//! - [`wrk`], [`cpu`], [`disk`]: the measuring: requests, processor time, a bare write and
//!   fdatasync.
//! - [`slices`]: slices of several servers in turn, and the medians of them.
//! - [`sections`]: one file per section.
//! - [`report`], [`plot`], [`machine`]: tables, JSON and plots, and what it all ran on.
//!
//! Nothing here judges a speed. A run fails when a request has failed or an event is missing.

mod cpu;
mod disk;
mod machine;
mod plot;
mod report;
mod sections;
mod servers;
mod settings;
mod slices;
mod stats;
mod wrk;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::report::Report;
use crate::sections::Section;
use crate::settings::Settings;

/// Measures the pixel and the shipper beside what one would use instead.
#[derive(Debug, Parser)]
struct Arguments {
    /// The sections to run, in this order; all without it.
    #[arg(value_enum)]
    sections: Vec<Section>,
    /// A few short rounds: to see that everything works, not to measure.
    #[arg(long)]
    quick: bool,
    /// How many rounds of slices.
    #[arg(long)]
    rounds: Option<usize>,
    /// The length of a slice in seconds.
    #[arg(long)]
    slice: Option<u64>,
    /// The directory of another build, whose pixel is measured beside this one in `connections` and
    /// `fresh`.
    #[arg(long)]
    before: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut settings = Settings::new(arguments.quick);
    settings.rounds = arguments.rounds.unwrap_or(settings.rounds).max(1);
    settings.slice_seconds = arguments.slice.unwrap_or(settings.slice_seconds).max(1);
    settings.before = arguments.before;
    let sections = match arguments.sections {
        none if none.is_empty() => Section::all(),
        some => some,
    };
    let mut report = Report::begin(&settings);
    for section in sections {
        eprintln!("bench: {}", section.name());
        report.add(section.run(&settings));
    }
    if report.finish() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
