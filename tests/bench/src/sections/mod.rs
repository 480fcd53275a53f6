//! The sections, each a file and a function from settings to an outcome.

mod ab;
mod backlog;
mod connections;
mod end_to_end;
mod flume_sink;
mod fresh;
mod half;
mod lone;
mod pace;
mod replay;
mod rolls;
mod scaling;
mod slow_disk;
mod stolen;

use clap::ValueEnum;

use crate::report::Outcome;
use crate::settings::Settings;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Section {
    /// What writing costs the machine itself.
    Stolen,
    /// Side by side with nginx and Flume, by connections.
    Connections,
    /// By ab, as in 2012.
    Ab,
    /// A connection for each request, plain and encrypted, beside nginx.
    Fresh,
    /// By workers and by the size of events.
    Scaling,
    /// Latency at half the capacity.
    Half,
    /// One connection.
    Lone,
    /// A disk whose syncs take long.
    SlowDisk,
    /// The seconds in which a segment ends.
    Rolls,
    /// What a shipper beside it costs the pixel, and at which rate it keeps up.
    EndToEnd,
    /// How fast a backlog is shipped, by format and compression.
    Replay,
}

impl Section {
    /// All of them.
    pub fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    /// Its name on the command line.
    pub fn name(self) -> String {
        let value = self.to_possible_value().expect("no section is hidden");
        value.get_name().to_owned()
    }

    /// Runs it.
    pub fn run(self, settings: &Settings) -> Outcome {
        match self {
            Self::Stolen => stolen::run(settings),
            Self::Connections => connections::run(settings),
            Self::Ab => ab::run(settings),
            Self::Half => half::run(settings),
            Self::Fresh => fresh::run(settings),
            Self::Scaling => scaling::run(settings),
            Self::Lone => lone::run(settings),
            Self::SlowDisk => slow_disk::run(settings),
            Self::Rolls => rolls::run(settings),
            Self::EndToEnd => end_to_end::run(settings),
            Self::Replay => replay::run(settings),
        }
    }
}
