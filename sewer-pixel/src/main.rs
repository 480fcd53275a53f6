//! `sewer-pixel`: answers every request with 204 once it is on stable storage.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sewer_ops::logging::LogLevel;
use sewer_ops::program::{Sources, configure, finish, print_config};
use sewer_pixel::config::Config;
use sewer_pixel::{check, daemon};
use sewer_wal::error::one_line;

/// The pixel server: a 204 means that the event is on stable storage.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file [default: /etc/sewer/pixel.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets a key over file and environment; can be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// Says whether configuration, directories and ports would work, and exits
    #[arg(long)]
    check: bool,
    /// Prints every key with its value and the layer that it comes from, and exits
    #[arg(long)]
    print_config: bool,
}

fn main() -> ExitCode {
    const NAME: &str = "sewer-pixel";
    let Arguments { config: file, set: sets, check, print_config: is_printed } = Arguments::parse();
    let sources = Sources { file, sets };
    if is_printed {
        return print_config::<Config>(NAME, &sources);
    }
    match configure(NAME, &sources) {
        Ok((config, log)) => {
            finish(NAME, run(check, config, sources, log).map_err(|e| one_line(e.as_ref())))
        }
        Err(code) => code,
    }
}

/// `true` if what was asked for was done.
fn run(check: bool, config: Config, sources: Sources, log: LogLevel) -> anyhow::Result<bool> {
    if check {
        return Ok(check::run(&config));
    }
    actix_web::rt::System::new().block_on(daemon::run(config, sources, log))?;
    Ok(true)
}
