//! One of the workspace's own programs under test: started, signalled, waited for with a bound.
//!
//! Its standard error goes to a file in the test's directory, whose end is shown when the test
//! fails. It ends with its handle, and with the test process however that ends.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::{self, without_own_variables};
use crate::watch::Watch;

/// How much of a log a failing test shows.
const TAIL_LINES: usize = 60;

/// How long [`eventually`] waits between two looks.
const POLL: Duration = Duration::from_millis(10);

/// The path of another program of this workspace, given that of one: Cargo tells a test only those
/// of its own crate, and puts all of them into one directory.
///
/// # Panics
/// If it has not been built.
pub fn sibling(binary: &str, name: &str) -> PathBuf {
    let path = Path::new(binary).with_file_name(name);
    assert!(path.is_file(), "{} is not built: run cargo test --workspace", path.display());
    path
}

/// Waits until `done` is true and returns whether it became so within `limit`.
pub fn eventually(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(POLL);
    }
    true
}

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
    watch: Option<Watch>,
}

impl Process {
    /// Starts `binary`, with its standard error appended to `log`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start<S: AsRef<OsStr>>(binary: &Path, args: &[S], log: &Path) -> Self {
        Self::start_with(binary, args, &[], log)
    }

    /// As [`Process::start`], with further environment variables.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_with<S: AsRef<OsStr>>(
        binary: &Path,
        args: &[S],
        environment: &[(String, String)],
        log: &Path,
    ) -> Self {
        let mut command = Command::new(binary);
        let command = without_own_variables(command.args(args));
        let variables = environment.iter().map(|(name, value)| (name, value));
        Self::spawn(command.envs(variables).stdin(Stdio::null()), binary, log)
    }

    /// Starts `binary` with a listening socket as systemd hands one over: as descriptor 3, with
    /// variables that say so.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_with_socket<S: AsRef<OsStr>>(
        binary: &Path,
        args: &[S],
        log: &Path,
        socket: OwnedFd,
    ) -> Self {
        let hand_over = "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        let command = command.args(["-c", hand_over]).arg(binary).args(args).stdin(socket);
        let command = without_own_variables(command);
        Self::spawn(command, binary, log)
    }

    fn spawn(command: &mut Command, binary: &Path, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("open a log");
        let child = command
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|e| panic!("start {}: {e}", binary.display()));
        let watch = Some(Watch::over(child.id()));
        let name = binary.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, log: log.to_owned(), child, watch }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory in bytes.
    ///
    /// # Panics
    /// If it has ended.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .unwrap_or_else(|e| panic!("look at {}: {e}", self.name));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.unwrap_or_else(|| panic!("no resident size in {status}")) << 10
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        let running = self.child.try_wait().expect("wait for a child of ours").is_none();
        if !running {
            self.watch = None;
        }
        running
    }

    /// Sends SIGTERM.
    pub fn terminate(&mut self) {
        self.signal(Signal::SIGTERM);
    }

    /// Sends SIGHUP.
    pub fn hang_up(&mut self) {
        self.signal(Signal::SIGHUP);
    }

    /// Sends SIGSTOP.
    pub fn freeze(&mut self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Sends SIGCONT.
    pub fn thaw(&mut self) {
        self.signal(Signal::SIGCONT);
    }

    /// Sends SIGKILL and waits until it is gone.
    pub fn kill(&mut self) {
        // `Child` knows whether it was reaped: it never signals a number given to another.
        self.child.kill().expect("kill a child of ours");
        self.watch = None;
        self.child.wait().expect("reap a child of ours");
    }

    /// Waits for its end and returns its exit code; `None` if a signal ended it.
    ///
    /// # Panics
    /// If it has not ended within `limit`; with the end of its log.
    pub fn wait(&mut self, limit: Duration) -> Option<i32> {
        match command::wait(&mut self.child, limit) {
            Some(status) => {
                self.watch = None;
                status.code()
            }
            None => panic!("{} has not ended after {limit:?}\n{}", self.name, self.log_tail()),
        }
    }

    /// Waits until `done`, and fails early if the process ends.
    ///
    /// # Panics
    /// If it has ended, or `limit` is over; with the end of its log.
    pub fn wait_until(&mut self, what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
        let start = Instant::now();
        while !done() {
            let running = self.is_running();
            assert!(running, "{} ended before it was {what}\n{}", self.name, self.log_tail());
            let in_time = start.elapsed() < limit;
            assert!(in_time, "{} not {what} in {limit:?}\n{}", self.name, self.log_tail());
            std::thread::sleep(POLL);
        }
    }

    /// Its log.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("--- {}: {}\n{}\n", self.name, self.log.display(), tail.join("\n"))
    }

    fn signal(&mut self, signal: Signal) {
        assert!(self.is_running(), "{} has ended\n{}", self.name, self.log_tail());
        let pid = i32::try_from(self.child.id()).expect("Linux pids fit");
        kill(Pid::from_raw(pid), signal).expect("signal a child of ours");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            // Past libtest's capture, and no reason to panic once more if it cannot be written.
            let _ = writeln!(std::io::stderr(), "{}", self.log_tail());
        }
    }
}
