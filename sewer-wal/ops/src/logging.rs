//! The log: structured lines on standard error, where systemd collects them.

use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, reload};

use crate::log_writer::LogWriter;
pub use crate::log_writer::lost_lines;

/// `[log]` of either daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// What to log: `error`, `warn`, `info`, `debug` or `trace`, or a tracing filter such as
    /// `info,sewer_shipper=debug`.
    pub level: String,
    /// How to write a line.
    pub format: LogFormat,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// The HTTP library logs an error for every malformed request, which a stranger can send at will,
/// and tells the life of its threads. `log.level` can name these targets to hear them again.
const QUIET: &str = "actix_http=off,actix_server=warn,mio=warn,hdfs_native=error";

/// Changes what is logged, while the daemon runs.
#[derive(Clone)]
pub struct LogLevel(Arc<dyn Fn(EnvFilter) + Send + Sync>);

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogLevel")
    }
}

impl LogLevel {
    /// Reads a value of `log.level`.
    ///
    /// # Errors
    /// A line for the operator if it is no filter.
    pub fn filter(&self, level: &str) -> Result<EnvFilter, String> {
        filter(level)
    }

    /// Logs by this filter from now on.
    pub fn set(&self, filter: EnvFilter) {
        (self.0)(filter);
    }
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(format!("{QUIET},{level}"))
        .map_err(|e| format!("key `log.level`: \"{level}\" is no log filter: {e}"))
}

/// Starts the log for the rest of the process.
///
/// # Errors
/// A line for the operator if `log.level` is no filter.
pub fn init(config: &LogConfig) -> Result<LogLevel, String> {
    let on_terminal = std::io::stderr().is_terminal();
    let writer = LogWriter::get();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter(&config.level)?)
        .with_writer(move || writer.clone())
        .log_internal_errors(false)
        .with_ansi(on_terminal)
        .with_target(false);
    match config.format {
        LogFormat::Text => {
            let subscriber = subscriber.with_filter_reloading();
            let handle = subscriber.reload_handle();
            subscriber.init();
            Ok(level(move |filter| handle.reload(filter)))
        }
        LogFormat::Json => {
            let subscriber = subscriber.json().flatten_event(true).with_filter_reloading();
            let handle = subscriber.reload_handle();
            subscriber.init();
            Ok(level(move |filter| handle.reload(filter)))
        }
    }
}

fn level(set: impl Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync + 'static) -> LogLevel {
    LogLevel(Arc::new(move |filter| {
        // The subscriber lives as long as the process.
        set(filter).expect("the log is there");
    }))
}
