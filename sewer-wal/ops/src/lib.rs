//! What both daemons need around their work, and the WAL does not:
//! - [`program`] from the command line to an exit code
//! - [`config`] one configuration from defaults, file, environment and flags, strict about keys
//! - [`reload`] that configuration read again while the daemon runs
//! - [`logging`] the log on standard error, which never fails and never blocks
//! - [`failure`] a panic in any thread ends the daemon
//! - [`descriptors`] as many as the system allows
//! - [`metrics`] metrics made and registered in one step
//! - [`status`] the status port: health, metrics, statistics; [`access`] who may see them
//! - [`proxy`] the PROXY protocol
//! - [`signals`] when to stop, when to reload; [`supervisor`] what systemd is told
//! - [`periodic`] a thread that looks at something now and then
//! - [`check`] the lines of `--check`

pub mod access;
pub mod check;
pub mod config;
pub mod descriptors;
pub mod failure;
mod log_writer;
pub mod logging;
pub mod metrics;
pub mod periodic;
pub mod program;
pub mod proxy;
pub mod reload;
pub mod signals;
pub mod status;
pub mod supervisor;

/// Exit code: the work failed.
pub const EXIT_FAILED: u8 = 1;

/// Exit code: wrong usage or configuration.
pub const EXIT_CONFIG: u8 = 2;

/// Exit code: what was to be looked at is out of reach.
pub const EXIT_OUT_OF_REACH: u8 = 3;

/// Prints a line for whoever ran a command. Whoever has seen enough may close the pipe: that ends
/// neither the work nor the program.
#[macro_export]
macro_rules! say {
    ($($arguments:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($arguments)*);
    }};
}
