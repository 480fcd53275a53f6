//! A daemon and the socket on which it talks to its supervisor, as systemd would hear it.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::without_own_variables;
use crate::watch::Watch;

/// How long a daemon may take to say something.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running daemon. It is killed when this is dropped.
#[derive(Debug)]
pub struct Supervised {
    child: Child,
    watch: Option<Watch>,
    socket: UnixDatagram,
}

impl Supervised {
    /// Starts `binary` in `directory`, where its socket is. With `watchdog`, it is told to feed one
    /// that bites after that time.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(
        directory: &Path,
        binary: &Path,
        args: &[String],
        watchdog: Option<Duration>,
    ) -> Self {
        let name = binary.file_name().expect("a program has a name");
        let path = directory.join(name).with_extension("notify");
        // There may be one of an earlier start.
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).expect("bind a socket");
        let mut command = Command::new(binary);
        without_own_variables(command.args(args)).env("NOTIFY_SOCKET", &path);
        match watchdog {
            Some(watchdog) => command.env("WATCHDOG_USEC", watchdog.as_micros().to_string()),
            None => command.env_remove("WATCHDOG_USEC"),
        };
        let child = command
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap_or_else(|e| panic!("start {}: {e}", binary.display()));
        let watch = Some(Watch::over(child.id()));
        Self { child, watch, socket }
    }

    /// What it says until a line begins with `start`, that line last.
    ///
    /// # Panics
    /// If it does not say that in half a minute.
    pub fn await_line(&self, start: &str) -> Vec<String> {
        let give_up = Instant::now() + PATIENCE;
        let mut heard = Vec::new();
        loop {
            let left = give_up.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{start} was never said, but {heard:?}");
            for line in self.hear(left) {
                let is_it = line.starts_with(start);
                heard.push(line);
                if is_it {
                    return heard;
                }
            }
        }
    }

    /// All that it says from now on and for `time`; what it has said before is passed over.
    ///
    /// # Panics
    /// If the socket fails.
    pub fn listen(&self, time: Duration) -> Vec<String> {
        self.socket.set_nonblocking(true).expect("set up a socket");
        while self.socket.recv(&mut [0; 4096]).is_ok() {}
        self.socket.set_nonblocking(false).expect("set up a socket");
        let end = Instant::now() + time;
        let mut heard = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return heard;
            }
            heard.extend(self.hear(left));
        }
    }

    /// The lines of the next message, or none after `patience`.
    fn hear(&self, patience: Duration) -> Vec<String> {
        self.socket.set_read_timeout(Some(patience)).expect("set up a socket");
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).unwrap_or(0);
        String::from_utf8_lossy(&message[..length]).lines().map(str::to_owned).collect()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If that is not possible.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("Linux pids fit");
        kill(Pid::from_raw(pid), signal).expect("signal a child of ours");
    }

    /// Ends it by SIGTERM.
    ///
    /// # Panics
    /// If it does not say that it stops.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.await_line("STOPPING=1");
        let status = self.child.wait().expect("wait for a child of ours");
        self.watch = None;
        status
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        // Nothing happens if it has been waited for.
        let _ = self.child.kill();
        self.watch = None;
        let _ = self.child.wait();
    }
}
