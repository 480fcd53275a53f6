//! `sewer-wal`: look at a WAL, that of a running pixel included. Every command only reads.

mod dump;
mod sources;
mod stat;
mod verify;

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sewer_wal::Lsn;
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
        /// How to print an event: tab-separated with `-` for absent, or one JSON object per line.
        #[arg(long, value_enum, default_value = "text")]
        format: dump::Format,
        /// The first LSN to print.
        #[arg(long, value_name = "LSN", default_value = "0")]
        from: Lsn,
        /// The last LSN to print.
        #[arg(long, value_name = "LSN")]
        to: Option<Lsn>,
        /// A WAL directory, a segment or an active log.
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Prints a line per segment of a WAL directory.
    Stat {
        /// A WAL directory.
        dir: PathBuf,
    },
    /// Checks every CRC, every footer and the continuity of LSNs; exit 1 and the offsets on damage.
    Verify {
        /// A WAL directory, a segment or an active log.
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let result = match command {
        Command::Dump { format, from, to, paths } => dump::run(&mut out, format, from, to, &paths),
        Command::Stat { dir } => stat::run(&mut out, &dir),
        Command::Verify { paths } => verify::run(&mut out, &paths),
    };
    let result = result.and_then(|sound| out.flush().map(|()| sound).map_err(Into::into));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) if is_closed_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("sewer-wal: {}", one_line(e.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Whether the reader of our output has gone, as `head` does: no reason to complain.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
