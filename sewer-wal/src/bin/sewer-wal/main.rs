//! `sewer-wal`: look at a WAL, that of a running pixel included. Every command only reads.

mod dump;
mod sources;
mod stat;
mod verify;

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sewer_wal::error::one_line;

/// Looks at a Sewer WAL. Works beside a running pixel: it takes no lock and writes nothing.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints events in LSN order.
    Dump {
        #[command(flatten)]
        query: dump::Query,
    },
    /// Prints a line per file of a WAL directory, and what is in it altogether; exit 1 on damage.
    Stat {
        /// One JSON object instead.
        #[arg(long)]
        json: bool,
        /// A WAL directory.
        dir: PathBuf,
    },
    /// Checks every CRC, every footer and the continuity of LSNs; exit 1 and the offsets on damage.
    Verify {
        /// Only damage and the summary.
        #[arg(long, short)]
        quiet: bool,
        /// One JSON object instead.
        #[arg(long)]
        json: bool,
        /// A WAL directory, a segment or an active log.
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
}

/// The exit code when nothing could be looked at.
const COULD_NOT_LOOK: u8 = 3;

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let result = match command {
        Command::Dump { query } => dump::run(&mut out, &query),
        Command::Stat { json, dir } => stat::run(&mut out, json, &dir),
        Command::Verify { quiet, json, paths } => verify::run(&mut out, quiet, json, &paths),
    };
    let result = result.and_then(|sound| out.flush().map(|()| sound).map_err(Into::into));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) if is_closed_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("sewer-wal: {}", one_line(e.as_ref()));
            let is_of_output = e.is::<std::io::Error>() && e.chain().count() == 1;
            if is_of_output { ExitCode::FAILURE } else { COULD_NOT_LOOK.into() }
        }
    }
}

/// Whether the reader of our output has gone, as `head` does: no reason to complain.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
