//! One Hadoop daemon: a JVM of its own that can be killed, frozen and started again.
//!
//! It ends with its handle, and with the test process however that ends: the JVM watches the pipe
//! that is its standard input (`UntilStdinCloses`). A frozen JVM cannot watch anything, so a shell
//! does it in its place for as long as it is frozen.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::hadoop::HadoopJars;
use crate::watch::Watch;

/// How much of a log a failing start shows.
const TAIL_LINES: usize = 60;

#[derive(Debug)]
pub struct Daemon {
    name: String,
    main: &'static str,
    jars: HadoopJars,
    /// Holds `conf/` and `log`.
    directory: PathBuf,
    process: Mutex<Process>,
}

#[derive(Debug, Default)]
struct Process {
    jvm: Option<Child>,
    /// Kills the frozen JVM if the test process ends before it thaws it.
    watch: Option<Watch>,
}

impl Daemon {
    /// A daemon that is not running yet. `directory` has its configuration in `conf/`.
    pub fn new(jars: HadoopJars, name: String, main: &'static str, directory: &Path) -> Self {
        let directory = directory.to_owned();
        Self { name, main, jars, directory, process: Mutex::default() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Starts a JVM unless one is there.
    pub fn start(&self) {
        let mut process = self.lock();
        if process.jvm.is_some() {
            return;
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("open a daemon's log");
        let jvm = self
            .jars
            .command(Some(&self.directory.join("conf")), "UntilStdinCloses")
            .arg(self.main)
            .current_dir(&self.directory)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("duplicate a descriptor"))
            .stderr(log)
            .spawn()
            .expect("start a JVM");
        process.jvm = Some(jvm);
    }

    /// Ends the JVM by SIGKILL and waits until it is gone. Nothing happens if there is none.
    pub fn kill(&self) {
        self.lock().kill();
    }

    /// Stops the JVM by SIGSTOP: its sockets stay open and nobody answers.
    ///
    /// # Panics
    /// If it is not running.
    pub fn freeze(&self) {
        let mut process = self.lock();
        let pid = process.jvm.as_ref().unwrap_or_else(|| panic!("{} is down", self.name)).id();
        if process.watch.is_none() {
            process.watch = Some(Watch::over(pid));
            kill(raw(pid), Signal::SIGSTOP).expect("stop a child of ours");
        }
    }

    /// Lets a frozen JVM run on.
    ///
    /// # Panics
    /// If it is not running.
    pub fn thaw(&self) {
        let mut process = self.lock();
        let pid = process.jvm.as_ref().unwrap_or_else(|| panic!("{} is down", self.name)).id();
        process.watch = None;
        kill(raw(pid), Signal::SIGCONT).expect("continue a child of ours");
    }

    /// Whether a JVM is there and not frozen.
    pub fn is_up(&self) -> bool {
        let mut process = self.lock();
        process.watch.is_none() && process.is_alive()
    }

    /// Whether it is meant to answer: started, and neither killed from here nor frozen.
    pub fn is_expected(&self) -> bool {
        let process = self.lock();
        process.jvm.is_some() && process.watch.is_none()
    }

    /// Whether a JVM was started, not killed from here, and has ended all the same.
    pub fn has_failed(&self) -> bool {
        let mut process = self.lock();
        process.jvm.is_some() && !process.is_alive()
    }

    /// The process id of the JVM, while there is one.
    pub fn pid(&self) -> Option<u32> {
        self.lock().jvm.as_ref().map(Child::id)
    }

    /// The last lines of the log.
    pub fn log_tail(&self) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("--- {}: {}\n{}\n", self.name, self.log_path().display(), tail.join("\n"))
    }

    fn lock(&self) -> MutexGuard<'_, Process> {
        // A test that panicked elsewhere must still be able to end its daemons.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    fn is_alive(&mut self) -> bool {
        let Some(jvm) = &mut self.jvm else { return false };
        jvm.try_wait().expect("wait for a child of ours").is_none()
    }

    fn kill(&mut self) {
        if let Some(mut jvm) = self.jvm.take() {
            // `Child` knows whether it was reaped: it never signals a number given to another.
            jvm.kill().expect("kill a child of ours");
            self.watch = None;
            jvm.wait().expect("reap a child of ours");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn raw(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("Linux pids fit"))
}
