//! What is measured: servers, each a process of its own.

mod flume;
mod nginx;
mod pixel;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use sewer_test_support::ports::Port;
use sewer_test_support::process::{Process, eventually};
use sewer_test_support::watch::Watch;

use crate::cpu::{self, CoreTimes};
use crate::stats::as_f64;
use crate::wrk::{self, Load, Request};

pub use flume::{Flume, flume, http_source, post, takes_events};
pub use nginx::{AccessLog, nginx, nginx_with_tls};
pub use pixel::PixelServer;

/// How long a server may take to start.
const READY_WAIT: Duration = Duration::from_mins(1);

/// How long a server that is asked to stop may take.
const STOP_WAIT: Duration = Duration::from_secs(10);

/// The command before a program's own that keeps it on the servers' core.
fn pin() -> [String; 3] {
    ["taskset".to_owned(), "-c".to_owned(), cpu::SERVER_CORE.to_string()]
}

/// The files of a certificate and its key.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    /// A new one, signed by itself, in a directory. Its key is on the curve P-256, as most are.
    pub fn new(directory: &Path) -> Self {
        let identity = rcgen::generate_simple_self_signed(vec!["localhost".into()]);
        let identity = identity.expect("make a certificate");
        let [cert, key] = ["cert.pem", "key.pem"].map(|name| directory.join(name));
        fs::write(&cert, identity.cert.pem()).expect("write a certificate");
        fs::write(&key, identity.signing_key.serialize_pem()).expect("write a key");
        Self { cert, key }
    }
}

/// Starts a program on the servers' core, or on any.
fn start(pinned: bool, command: &[String], log: &Path) -> Process {
    let command = if pinned { [&pin(), command].concat() } else { command.to_vec() };
    let program = Path::new(&command[0]);
    Process::start(program, &command[1..], log)
}

/// What a server leaves on the disk, which others take away where it is used.
#[derive(Clone, Debug)]
pub enum Left {
    /// Nothing, or what it takes away itself.
    Nothing,
    /// A log, which is rotated.
    Log(PathBuf),
    /// Sealed segments, which a shipper ships.
    Segments(PathBuf),
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// What it is called in the results.
    pub label: &'static str,
    address: String,
    is_tls: bool,
    process: Process,
    left: Left,
    /// It works while nobody asks it, too, and is held while others are measured.
    is_held: bool,
    /// Takes the place of the request that others get.
    is_flume: bool,
    scripts: PathBuf,
    /// Over nginx's workers, which a killed master leaves behind.
    _watch: Option<Watch>,
    _ports: Vec<Port>,
}

/// What one slice of time under load has shown.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Slice {
    pub requests: f64,
    pub requests_per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
    pub cpu_seconds_per_100k: f64,
    pub resident_mib: f64,
    /// The part of the processors' time that the hypervisor kept for itself.
    pub stolen: f64,
    /// The part of its time in which the load's core had nothing to do.
    pub load_idle: f64,
}

/// The times of all cores, and of the load's.
fn core_times() -> (CoreTimes, CoreTimes) {
    (cpu::core_times(None), cpu::core_times(Some(cpu::LOAD_CORE)))
}

impl Server {
    /// Puts it under load for a slice, and tidies up behind it.
    pub fn slice(&mut self, load: &Load) -> Result<Slice, String> {
        let slice = self.slice_untidied(load);
        self.tidy();
        slice
    }

    /// As [`Self::slice`], and leaves what is left.
    pub fn slice_untidied(&mut self, load: &Load) -> Result<Slice, String> {
        let load = match load.request {
            Request::Get(bytes) if self.is_flume => {
                Load { request: Request::Flume(bytes), ..*load }
            }
            _ => *load,
        };
        if self.is_held {
            self.process.thaw();
        }
        let before = cpu::seconds(self.process.pid());
        let (all_before, load_before) = core_times();
        let said = wrk::run(&self.url(), &load, &self.scripts);
        let cpu = cpu::seconds(self.process.pid()) - before;
        let (all, load_core) = core_times();
        let resident_mib = cpu::resident_mib(self.process.pid());
        if self.is_held {
            self.process.freeze();
        }
        let what = || format!("{} with {} connections", self.label, load.connections);
        let said = said.map_err(|why| format!("{}: {why}", what()))?;
        if let Some(why) = said.failure() {
            return Err(format!("{}: {why}", what()));
        }
        let seconds = said.duration_us / 1e6;
        Ok(Slice {
            requests: said.requests,
            requests_per_second: said.requests / seconds,
            p50_ms: said.p50 / 1e3,
            p99_ms: said.p99 / 1e3,
            p999_ms: said.p999 / 1e3,
            max_ms: said.max / 1e3,
            cpu_seconds_per_100k: cpu / said.requests * 1e5,
            resident_mib,
            stolen: (all - all_before).stolen / seconds / as_f64(cpu::cores() as u64),
            load_idle: (load_core - load_before).idle / seconds,
        })
    }

    /// Asks it to end: nginx's workers end with their master only if it ends by itself.
    pub fn stop(&mut self) -> Result<(), String> {
        if !self.process.is_running() {
            return Ok(());
        }
        if self.is_held {
            self.process.thaw();
        }
        self.process.terminate();
        if eventually(STOP_WAIT, || !self.process.is_running()) {
            Ok(())
        } else {
            Err(format!("{} has not ended in {STOP_WAIT:?}", self.label))
        }
    }

    fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Takes away what it has left, as a shipper or a rotation of logs does.
    pub fn tidy(&self) {
        match &self.left {
            Left::Nothing => {}
            Left::Log(path) => {
                let log = File::options().write(true).open(path);
                log.and_then(|log| log.set_len(0)).expect("truncate a log");
            }
            Left::Segments(directory) => {
                for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                    fs::remove_file(entry.path()).expect("remove a segment");
                }
            }
        }
    }

    /// What it leaves.
    pub fn left(&self) -> &Left {
        &self.left
    }
}

impl Left {
    /// The bytes of sealed segments.
    pub fn bytes(&self) -> f64 {
        let Self::Segments(directory) = self else { return 0.0 };
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        // A segment that goes in between is not left any more.
        as_f64(entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What does not end when asked is killed with its handle.
        let _ = self.stop();
    }
}
