//! What both daemons need around their work, and the WAL does not:
//! - [`config`] one configuration from defaults, file, environment and flags, strict about keys
//! - [`metrics`] metrics made and registered in one step
//! - [`logging`] the log on standard error
//! - [`status`] the status port: health, metrics, statistics
//! - [`signals`] when to stop

pub mod config;
pub mod logging;
pub mod metrics;
pub mod signals;
pub mod status;

/// Exit code: the work failed.
pub const EXIT_FAILED: u8 = 1;

/// Exit code: wrong usage or configuration.
pub const EXIT_CONFIG: u8 = 2;
