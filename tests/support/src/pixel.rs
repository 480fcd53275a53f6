//! A pixel under test: its own directory, ports that stay its own while it is down, and the WAL
//! read by `sewer-wal`.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::command::{self, Finished, without_own_variables};
use crate::http::{self, Response};
use crate::metrics::{self, Samples};
use crate::ports::{self, Port};
use crate::process::{Process, sibling};

/// How long a start with recovery may take.
pub const READY_WAIT: Duration = Duration::from_secs(30);

/// How long a clean stop may take: longer than the pixel's own patience with open connections.
pub const STOP_WAIT: Duration = Duration::from_secs(30);

/// How long a command may take.
const COMMAND_WAIT: Duration = Duration::from_mins(1);

/// A pixel that can be killed and started again on the same WAL and ports.
#[derive(Debug)]
pub struct Pixel {
    binary: PathBuf,
    directory: PathBuf,
    sets: Vec<String>,
    environment: Vec<(String, String)>,
    traffic: Port,
    status: Port,
    process: Option<Process>,
}

impl Pixel {
    /// A pixel that is not running yet. `binary` is the path of any program of the workspace,
    /// `directory` holds its configuration, log and WAL, `sets` win over the test's defaults.
    ///
    /// # Panics
    /// If the configuration cannot be written.
    pub fn new(binary: &str, directory: &Path, sets: &[&str]) -> Self {
        let (traffic, status) = (ports::reserve(), ports::reserve());
        let config = format!(
            "[pixel]\nlisten = \"{}\"\ndrain_timeout = \"2s\"\n[status]\nlisten = \"{}\"\n\
             history = \"{}\"\n[wal]\ndir = \"{}\"\nroll_interval = \"200ms\"\n",
            traffic.address(),
            status.address(),
            // A WAL that a test puts elsewhere is there alone.
            directory.join("history").display(),
            directory.join("wal").display()
        );
        fs::write(directory.join("pixel.toml"), config).expect("write pixel.toml");
        Self {
            binary: sibling(binary, "sewer-pixel"),
            directory: directory.to_owned(),
            sets: sets.iter().map(ToString::to_string).collect(),
            environment: Vec::new(),
            traffic,
            status,
            process: None,
        }
    }

    /// A pixel that serves.
    pub fn started(binary: &str, directory: &Path, sets: &[&str]) -> Self {
        let mut pixel = Self::new(binary, directory, sets);
        pixel.start();
        pixel.wait_until_ready();
        pixel
    }

    /// Takes the program of another build, of which `binary` is any one, from its next start on.
    pub fn use_build_of(&mut self, binary: &str) {
        self.binary = sibling(binary, "sewer-pixel");
    }

    /// Further environment variables for its next start.
    pub fn set_environment(&mut self, variables: &[(String, String)]) {
        self.environment = variables.to_vec();
    }

    /// The arguments that it is started with.
    pub fn args(&self) -> Vec<String> {
        let config = self.directory.join("pixel.toml").display().to_string();
        let sets = self.sets.iter().flat_map(|set| ["--set".to_owned(), set.clone()]);
        ["--config".to_owned(), config].into_iter().chain(sets).collect()
    }

    /// Starts it and waits for nothing.
    pub fn start(&mut self) {
        let log = self.directory.join("pixel.log");
        let (args, environment) = (self.args(), &self.environment);
        self.process = Some(Process::start_with(&self.binary, &args, environment, &log));
    }

    /// Starts it as systemd does with a listening socket for its traffic, and waits for nothing.
    ///
    /// # Panics
    /// If the socket cannot be passed on.
    pub fn start_with_socket(&mut self, socket: &TcpListener) {
        self.start_with(socket.try_clone().expect("duplicate a descriptor").into());
    }

    /// The same with any descriptor in place of the socket.
    pub fn start_with(&mut self, descriptor: OwnedFd) {
        let log = self.directory.join("pixel.log");
        let args = self.args();
        self.process = Some(Process::start_with_socket(&self.binary, &args, &log, descriptor));
    }

    /// Waits until its status port answers 200.
    ///
    /// # Panics
    /// If it ends before, or takes longer than [`READY_WAIT`].
    pub fn wait_until_ready(&mut self) {
        let address = self.status.address();
        self.process().wait_until("ready", READY_WAIT, || {
            http::get(&address, "/").is_ok_and(|response| response.status == 200)
        });
    }

    /// The running process.
    ///
    /// # Panics
    /// If it was not started.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the pixel was started")
    }

    /// Ends it by SIGKILL.
    pub fn kill(&mut self) {
        self.process().kill();
    }

    /// Ends it by SIGTERM.
    ///
    /// # Panics
    /// If it does not end in time or with another exit code than 0.
    pub fn stop(&mut self) {
        self.process().terminate();
        let code = self.process().wait(STOP_WAIT);
        assert_eq!(code, Some(0), "{}", self.process().log_tail());
    }

    /// Where it takes pixels.
    pub fn address(&self) -> String {
        self.traffic.address()
    }

    /// Where it tells its state.
    pub fn status_address(&self) -> String {
        self.status.address()
    }

    /// The answer of the status port to a path.
    ///
    /// # Panics
    /// If there is none.
    pub fn status(&self, path: &str) -> Response {
        http::get(&self.status.address(), path).unwrap_or_else(|e| panic!("status port: {e}"))
    }

    /// Its metrics, which must be well-formed.
    pub fn metrics(&self) -> Samples {
        metrics::get(&self.status.address())
    }

    /// Its WAL.
    pub fn wal_dir(&self) -> PathBuf {
        self.directory.join("wal")
    }

    /// The events in its WAL, read by `sewer-wal dump --format json`.
    ///
    /// # Panics
    /// If that does not succeed.
    pub fn dump(&self) -> Vec<Value> {
        dump(&self.binary.display().to_string(), &self.wal_dir())
    }
}

/// Runs `sewer-wal` to its end. `binary` is the path of any program of the workspace.
///
/// # Panics
/// If it is not built, or does not end in a minute.
pub fn sewer_wal<S: AsRef<OsStr>>(binary: &str, args: &[S]) -> Finished {
    run(&sibling(binary, "sewer-wal"), args)
}

/// Runs a program of the workspace to its end.
///
/// # Panics
/// If it does not end in a minute.
pub fn run<S: AsRef<OsStr>>(binary: &Path, args: &[S]) -> Finished {
    let mut command = Command::new(binary);
    command::run(without_own_variables(command.args(args)), COMMAND_WAIT)
        .unwrap_or_else(|why| panic!("run {}: {why}", binary.display()))
}

/// The events in a WAL directory, a segment or an active log, in the order of `sewer-wal dump`.
///
/// # Panics
/// If that does not succeed.
pub fn dump(binary: &str, path: &Path) -> Vec<Value> {
    let args = [OsStr::new("dump"), OsStr::new("--format"), OsStr::new("json"), path.as_os_str()];
    let lines = sewer_wal(binary, &args).expect_success();
    lines.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}
