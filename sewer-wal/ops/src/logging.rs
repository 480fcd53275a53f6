//! The log: structured lines on standard error, where systemd collects them.

use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, reload};

use crate::log_writer::LogWriter;
pub use crate::log_writer::lost_lines;

/// `[log]` of either daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// What to log: `off`, `error`, `warn`, `info`, `debug` or `trace`, or a tracing filter such as
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

/// The levels that a part of `log.level` without a target can be.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

fn filter(level: &str) -> Result<EnvFilter, String> {
    // A tracing filter takes any other word for a target, and would log that alone.
    let is_level = |part: &str| LEVELS.contains(&part.to_ascii_lowercase().as_str());
    let wrong = level.split(',').map(str::trim).find(|part| !part.contains('=') && !is_level(part));
    if let Some(wrong) = wrong {
        let levels = LEVELS.join("\", \"");
        return Err(format!(
            "key `log.level`: \"{wrong}\" is none of \"{levels}\"; a part of the program has its own \
             level as in \"info,sewer_shipper=debug\""
        ));
    }
    EnvFilter::try_new(format!("{QUIET},{level}"))
        .map_err(|e| format!("key `log.level`: \"{level}\" is no log filter: {e}"))
}

static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Whether the log has one JSON object per line.
pub(crate) fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

/// Starts the log for the rest of the process.
///
/// # Errors
/// A line for the operator if `log.level` is no filter.
pub fn init(config: &LogConfig) -> Result<LogLevel, String> {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let has_colours = std::io::stderr().is_terminal() && !is_set("NO_COLOR") && !is_dumb;
    let writer = LogWriter::get();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter(&config.level)?)
        .with_writer(move || writer.clone())
        .log_internal_errors(false)
        .with_ansi(has_colours)
        .with_target(false);
    IS_JSON.store(config.format == LogFormat::Json, Ordering::Relaxed);
    match config.format {
        LogFormat::Text => {
            let subscriber = subscriber.map_event_format(Prioritized::new).with_filter_reloading();
            let handle = subscriber.reload_handle();
            subscriber.init();
            Ok(level(move |filter| handle.reload(filter)))
        }
        LogFormat::Json => {
            let subscriber = subscriber.json().flatten_event(true);
            let subscriber = subscriber.map_event_format(Prioritized::new).with_filter_reloading();
            let handle = subscriber.reload_handle();
            subscriber.init();
            Ok(level(move |filter| handle.reload(filter)))
        }
    }
}

/// Lines that begin with their priority where systemd's journal reads them (sd-daemon(3)).
struct Prioritized<F> {
    format: F,
    is_of_journal: bool,
}

impl<F> Prioritized<F> {
    fn new(format: F) -> Self {
        let stream = std::env::var("JOURNAL_STREAM");
        let is_of_journal = stream.is_ok_and(|stream| is_stderr(&stream));
        Self { format, is_of_journal }
    }
}

/// Whether standard error is the file that systemd names by `device:inode`.
fn is_stderr(stream: &str) -> bool {
    let data = nix::sys::stat::fstat(std::io::stderr());
    data.is_ok_and(|data| stream == format!("{}:{}", data.st_dev, data.st_ino))
}

impl<S, N, F> FormatEvent<S, N> for Prioritized<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if self.is_of_journal {
            let priority = match *event.metadata().level() {
                Level::ERROR => 3,
                Level::WARN => 4,
                Level::INFO => 6,
                _ => 7,
            };
            write!(writer, "<{priority}>")?;
        }
        self.format.format_event(context, writer, event)
    }
}

fn level(set: impl Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync + 'static) -> LogLevel {
    LogLevel(Arc::new(move |filter| {
        // The subscriber lives as long as the process.
        set(filter).expect("the log is there");
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_refused_with_those_that_are() {
        for level in ["info", "WARN", "off", "info,sewer_shipper=debug", "a=warn, error"] {
            assert!(filter(level).is_ok(), "{level}");
        }
        for level in ["warning", "loud", "", "info,hdfs_native", "info,x=loud"] {
            let problem = filter(level).unwrap_err();
            assert!(problem.starts_with("key `log.level`: "), "{problem}");
        }
    }
}
