//! What a process holds: descriptors, threads, memory.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

/// How long one look takes: shipments come and go, and what counts is the most of it.
const LOOK: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(40);

/// The sockets and files of an idle connection, or of a shipment that came a little earlier.
const DESCRIPTORS_MORE: usize = 8;
/// The threads of a shipment that came a little earlier.
const THREADS_MORE: usize = 6;
/// What an allocator keeps after having had to do more than before.
const RESIDENT_KIB_MORE: u64 = 24 << 10;

/// The most that a process held while it was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Open descriptors, sockets among them.
    pub descriptors: usize,
    /// Open sockets.
    pub sockets: usize,
    /// Threads.
    pub threads: usize,
    /// Memory that is resident, in KiB.
    pub resident_kib: u64,
    /// What was open at the look with the most descriptors.
    pub open: Vec<String>,
}

impl Figures {
    /// Looks at a process for two seconds.
    pub fn most_of(pid: u32) -> Self {
        let begun = Instant::now();
        let mut most = Self::default();
        while begun.elapsed() < LOOK {
            most.take(Self::now(pid));
            std::thread::sleep(POLL);
        }
        most
    }

    /// One look. A process that has ended holds nothing.
    pub fn now(pid: u32) -> Self {
        let entries = fs::read_dir(format!("/proc/{pid}/fd"));
        let open: Vec<String> = entries
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.display().to_string()))
            .collect();
        Self {
            descriptors: open.len(),
            sockets: open.iter().filter(|name| name.starts_with("socket:")).count(),
            threads: fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count),
            resident_kib: resident_kib(pid),
            open,
        }
    }

    fn take(&mut self, other: Self) {
        self.sockets = self.sockets.max(other.sockets);
        self.threads = self.threads.max(other.threads);
        self.resident_kib = self.resident_kib.max(other.resident_kib);
        if other.descriptors > self.descriptors {
            (self.descriptors, self.open) = (other.descriptors, other.open);
        }
    }

    /// Whether this is not more than `before`, but for what comes and goes.
    pub fn is_no_leak_after(&self, before: &Self) -> bool {
        self.descriptors <= before.descriptors + DESCRIPTORS_MORE
            && self.sockets <= before.sockets + DESCRIPTORS_MORE
            && self.threads <= before.threads + THREADS_MORE
            && self.resident_kib <= before.resident_kib + RESIDENT_KIB_MORE
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { descriptors, sockets, threads, resident_kib, .. } = self;
        let mib = resident_kib >> 10;
        write!(f, "{descriptors} descriptors, {sockets} sockets, {threads} threads, {mib} MiB")
    }
}

/// Resident memory of a process in KiB, 0 if it has ended.
pub(super) fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_opened_and_kept_is_a_leak() {
        let before = Figures::now(std::process::id());
        assert!(before.descriptors > 0 && before.threads > 0 && before.resident_kib > 0);
        let kept: Vec<_> = (0..=DESCRIPTORS_MORE + 20)
            .map(|_| fs::File::open("/dev/null").expect("open /dev/null"))
            .collect();
        let after = Figures::now(std::process::id());
        assert!(!after.is_no_leak_after(&before), "{before} and {after}, of {}", kept.len());
        assert!(before.is_no_leak_after(&before));
    }
}
