//! `sewer-pixel`: answers every request with 204 once it is on stable storage.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use sewer_ops::{EXIT_CONFIG, EXIT_FAILED};
use sewer_pixel::config::{Config, STANDARD_FILE};
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
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match configure(&arguments) {
        Ok(config) => config,
        Err(problem) => {
            eprintln!("sewer-pixel: {problem}");
            return EXIT_CONFIG.into();
        }
    };
    if arguments.check {
        return if check::run(&config) { ExitCode::SUCCESS } else { EXIT_FAILED.into() };
    }
    match actix_web::rt::System::new().block_on(daemon::run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sewer-pixel: {}", one_line(error.as_ref()));
            EXIT_FAILED.into()
        }
    }
}

fn configure(arguments: &Arguments) -> Result<Config, String> {
    let standard = Path::new(STANDARD_FILE);
    let config: Config =
        sewer_ops::config::load(standard, arguments.config.as_deref(), &arguments.set)
            .map_err(|e| e.to_string())?;
    config.validate()?;
    sewer_ops::logging::init(&config.log)?;
    Ok(config)
}
