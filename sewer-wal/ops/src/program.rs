//! From the command line to an exit code: what the `main` of both daemons does.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::log_writer::LogWriter;
use crate::logging::{self, LogConfig, LogLevel};
use crate::{EXIT_CONFIG, EXIT_FAILED, config, log_writer};

/// The configuration of a daemon.
pub trait Configuration: Clone + Default + Serialize + DeserializeOwned + Send + 'static {
    /// Where it is unless `--config` says otherwise.
    const STANDARD_FILE: &'static str;

    /// Checks what a type cannot say, and fills in what only the system knows.
    ///
    /// # Errors
    /// One line that names the key and what it may be.
    fn validated(self) -> Result<Self, String>;

    /// `[log]`.
    fn log(&self) -> &LogConfig;
}

/// Where the configuration comes from, by the command line; the same for a reload as for a start.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file of `--config`.
    pub file: Option<PathBuf>,
    /// Every `--set`.
    pub sets: Vec<String>,
}

impl Sources {
    /// Reads and checks it.
    ///
    /// # Errors
    /// A line for the operator.
    pub fn load<C: Configuration>(&self) -> Result<C, String> {
        let standard = Path::new(C::STANDARD_FILE);
        let config: C =
            config::load(standard, self.file.as_deref(), &self.sets).map_err(|e| e.to_string())?;
        config.validated()
    }
}

/// Loads the configuration and starts the log. What is wrong is printed, with the program's name.
///
/// # Errors
/// The code to exit with.
pub fn configure<C: Configuration>(
    name: &str,
    sources: &Sources,
) -> Result<(C, LogLevel), ExitCode> {
    let configured = sources.load().and_then(|config: C| {
        let level = logging::init(config.log())?;
        let names = config::mistyped::<C>(std::env::vars_os().map(|(name, _)| name));
        if !names.is_empty() {
            tracing::info!(
                variables = names.join(", "),
                "environment variables without __ between section and key are passed over"
            );
        }
        Ok((config, level))
    });
    configured.map_err(|problem| {
        tell(name, &problem);
        EXIT_CONFIG.into()
    })
}

/// The exit code of work that was done or not, or that failed; then its error is printed.
pub fn finish(name: &str, result: Result<bool, impl Display>) -> ExitCode {
    finish_or(name, result, EXIT_FAILED)
}

/// The same, with another exit code for an error.
pub fn finish_or(name: &str, result: Result<bool, impl Display>, on_error: u8) -> ExitCode {
    let code = match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => EXIT_FAILED.into(),
        Err(error) => {
            tell(name, &error);
            on_error.into()
        }
    };
    log_writer::flush();
    code
}

/// Says on standard error why the program ends, if anybody listens there.
fn tell(name: &str, problem: &impl Display) {
    LogWriter::get().line(format!("{name}: {problem}\n").as_bytes());
    log_writer::flush();
}
