//! Processor time, and on which core who runs.

use std::fs;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// The core of what is measured.
pub const SERVER_CORE: usize = 0;

/// The core of what makes the load.
pub const LOAD_CORE: usize = 1;

/// What the kernel counts processor time in.
const TICKS_PER_SECOND: f64 = 100.0;

/// The children of a process that are running: nginx has its workers there.
pub fn children(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    children.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// The processor time of a process so far, with that of its children that are running, in seconds.
pub fn seconds(pid: u32) -> f64 {
    // User and system time: the 14th and 15th field of proc(5).
    let ticks_of = |pid: u32| ticks(&pid.to_string(), 13);
    let all = ticks_of(pid) + children(pid).into_iter().map(ticks_of).sum::<f64>();
    all / TICKS_PER_SECOND
}

/// The processor time of the children of this process that have ended and were waited for.
pub fn ended_children_seconds() -> f64 {
    ticks("self", 15) / TICKS_PER_SECOND
}

/// The sum of two fields of a process's `stat`, counted from 0; 0 if it has ended.
fn ticks(process: &str, first: usize) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name in brackets may have spaces; what follows begins with the third field.
    let Some((_, fields)) = stat.rsplit_once(')') else { return 0.0 };
    let ticks = fields.split_whitespace().skip(first - 2).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum()
}

/// What the kernel has counted for a core so far, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct CoreTimes {
    /// It had nothing to do.
    pub idle: f64,
    /// It had, but the hypervisor did not let it.
    pub stolen: f64,
}

impl std::ops::Sub for CoreTimes {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { idle: self.idle - before.idle, stolen: self.stolen - before.stolen }
    }
}

/// The times of one core; those of all together without one.
pub fn core_times(core: Option<usize>) -> CoreTimes {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let name = core.map_or_else(|| "cpu".to_owned(), |core| format!("cpu{core}"));
    let lines = stat.lines().map(str::split_whitespace);
    let line = lines.into_iter().find_map(|mut line| (line.next()? == name).then_some(line));
    // proc(5): user nice system idle iowait irq softirq steal.
    let ticks: Vec<f64> =
        line.into_iter().flatten().filter_map(|field| field.parse().ok()).collect();
    let seconds = |field: usize| ticks.get(field).copied().unwrap_or(0.0) / TICKS_PER_SECOND;
    CoreTimes { idle: seconds(3) + seconds(4), stolen: seconds(7) }
}

/// How many cores there are.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Resident memory of a process, in MiB; 0 if it has ended.
pub fn resident_mib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// Runs `work` on a thread that stays on a core.
pub fn on_core<T: Send>(core: usize, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let mut cores = CpuSet::new();
            cores.set(core).expect("a small number");
            sched_setaffinity(Pid::from_raw(0), &cores).expect("a thread may choose its core");
            work()
        });
        worker.join().expect("what it ran has panicked")
    })
}
