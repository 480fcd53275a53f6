//! Looks at both daemons all the time while a fault lasts.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::figures::resident_kib;
use crate::http;

const POLL: Duration = Duration::from_millis(200);

/// More complaints than these tell nothing new.
const COMPLAINTS_MAX: usize = 20;

/// A thread that asks the status ports.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    pixel: String,
    shipper: String,
    stop: AtomicBool,
    /// The process of the shipper; 0 while it is not meant to be there.
    pid: AtomicU32,
    resident_kib: AtomicU64,
    complaints: Mutex<Vec<String>>,
}

impl Watcher {
    /// Begins to ask the status ports of a pixel and of a shipper with process id `pid`.
    pub fn start(pixel: String, shipper: String, pid: u32) -> Self {
        let shared = Arc::new(Shared {
            pixel,
            shipper,
            stop: AtomicBool::new(false),
            pid: AtomicU32::new(pid),
            resident_kib: AtomicU64::new(0),
            complaints: Mutex::default(),
        });
        let run = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("watcher".into())
            .spawn(move || run.run())
            .expect("start a thread");
        Self { shared, thread: Some(thread) }
    }

    /// From now on the shipper is another process, or `None` while it is not meant to be there.
    pub fn shipper_is(&self, pid: Option<u32>) {
        self.shared.pid.store(pid.unwrap_or(0), Ordering::SeqCst);
    }

    /// The most memory that the shipper had resident at any look, in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.shared.resident_kib.load(Ordering::Relaxed)
    }

    /// Ends, and tells what was wrong.
    pub fn stop(mut self) -> Vec<String> {
        self.end();
        std::mem::take(&mut self.shared.complaints.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the watcher does not panic");
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn run(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            self.look_at_pixel();
            self.look_at_shipper();
            std::thread::sleep(POLL);
        }
    }

    fn look_at_pixel(&self) {
        match http::get(&self.pixel, "/") {
            Ok(response) if response.status == 200 => {}
            Ok(response) => self.complain(format!("the pixel's status was {}", response.status)),
            Err(error) => self.complain(format!("the pixel's status port: {error}")),
        }
    }

    fn look_at_shipper(&self) {
        let pid = self.pid.load(Ordering::SeqCst);
        if pid == 0 {
            return;
        }
        self.resident_kib.fetch_max(resident_kib(pid), Ordering::Relaxed);
        let answer = http::get(&self.shipper, "/metrics");
        if self.pid.load(Ordering::SeqCst) != pid {
            // Ended by the row meanwhile.
            return;
        }
        match answer {
            Ok(response) if response.status == 200 => {}
            Ok(response) => {
                self.complain(format!("the shipper's metrics: status {}", response.status));
            }
            Err(error) => self.complain(format!("the shipper's status port: {error}")),
        }
    }

    fn complain(&self, complaint: String) {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if complaints.len() < COMPLAINTS_MAX {
            complaints.push(complaint);
        }
    }
}
