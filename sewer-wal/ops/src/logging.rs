//! The log: structured lines on standard error, where systemd collects them.

use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

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

/// Starts the log for the rest of the process.
///
/// # Errors
/// A line for the operator if `log.level` is no filter.
pub fn init(config: &LogConfig) -> Result<(), String> {
    let filter = EnvFilter::try_new(format!("{QUIET},{}", config.level))
        .map_err(|e| format!("key `log.level`: \"{}\" is no log filter: {e}", config.level))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    match config.format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
    Ok(())
}
