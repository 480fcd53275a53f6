//! From the command line to an exit code: what the `main` of both daemons does.

use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::{ConfigError, Layers, flat};
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
    /// One line, "key `section.key`: " and what it may be.
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
        let layers = self.layers::<C>().map_err(|e| e.to_string())?;
        let config = layers.extract::<C>().map_err(|e| e.to_string())?;
        config.validated().map_err(|problem| located(&layers, problem))
    }

    fn layers<C: Configuration>(&self) -> Result<Layers, ConfigError> {
        Layers::read::<C>(Path::new(C::STANDARD_FILE), self.file.as_deref(), &self.sets)
    }
}

/// A problem with a key behind the layer that the key's value comes from.
fn located(layers: &Layers, problem: String) -> String {
    let key = problem.strip_prefix("key `").and_then(|rest| rest.split('`').next());
    match key.map(|key| layers.origin(key)) {
        Some(origin) => format!("{origin}: {problem}"),
        None => problem,
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
    // First, so that whatever is wrong with the rest is told as the log is to be.
    let layers = sources.layers::<C>();
    let log = layers.as_ref().ok().and_then(|layers| layers.section("log")).unwrap_or_default();
    let level = logging::init(&log).map_err(|problem| match &layers {
        Ok(layers) => located(layers, problem),
        Err(_) => problem,
    });
    let configured = sources.load().and_then(|config: C| {
        let level = level?;
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

/// Prints every key with its value and the layer that it comes from. Returns the code to exit with.
pub fn print_config<C: Configuration>(name: &str, sources: &Sources) -> ExitCode {
    match effective::<C>(sources) {
        Ok(text) => {
            // Nobody who reads it is no reason to complain.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            tell(name, &problem);
            EXIT_CONFIG.into()
        }
    }
}

fn effective<C: Configuration>(sources: &Sources) -> Result<String, String> {
    let layers = sources.layers::<C>().map_err(|e| e.to_string())?;
    let mut section = String::new();
    let mut lines = Vec::new();
    for (key, value) in flat(&sources.load::<C>()?) {
        let (of, name) = key.split_once('.').unwrap_or(("", &key));
        if of != section {
            lines.push(format!("[{of}]"));
            of.clone_into(&mut section);
        }
        let origin = layers.origin(&key);
        lines.push(match toml::Value::try_from(&value) {
            Ok(value) => format!("{name} = {value}  # {origin}"),
            Err(_) => format!("# {name} is not set"),
        });
    }
    Ok(lines.join("\n") + "\n")
}

/// Says on standard error why the program ends, if anybody listens there.
fn tell(name: &str, problem: &impl Display) {
    for line in problem.to_string().lines() {
        if logging::is_json() {
            tracing::error!(program = name, "{line}");
        } else {
            LogWriter::get().line(format!("{name}: {line}\n").as_bytes());
        }
    }
    log_writer::flush();
}
