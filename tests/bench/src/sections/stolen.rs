//! What writing costs the machine itself: two cores have work all the time, one also writes at a
//! rate, and the load's core notes when it was not let run. On a bare machine that is never; a
//! virtual one may have its disk's work done out of the processor time that it was promised.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use serde_json::json;

use crate::cpu;
use crate::report::{Outcome, Table, ms};
use crate::settings::Settings;
use crate::stats::{as_f64, decimal};

/// What is written, in MB/s; a pixel's events and as many zeros for its next segment.
const MB_PER_SECOND: [f64; 4] = [0.0, 50.0, 100.0, 200.0];

/// How much is written and synced at once.
const PIECE_BYTES: usize = 64 << 10;

const FILE_BYTES: u64 = 64 << 20;

/// What a block may be aligned to.
const BLOCK: usize = 4096;

/// A core that does nothing but look at the clock has looked at it again before that.
const GAP_MIN: Duration = Duration::from_micros(200);

/// What one rate has shown.
#[derive(Clone, Copy, Debug, serde::Serialize)]
struct Row {
    mb_per_second: f64,
    lost: f64,
    longest_ms: f64,
    stolen: f64,
}

pub fn run(settings: &Settings) -> Outcome {
    let directory = settings.directory();
    let mut outcome = Outcome { section: "stolen", ..Outcome::default() };
    let time = Duration::from_secs(settings.either(10, 1));
    let (file, mut rows) = (create(&directory.path().join("bare")), Vec::new());
    for rate in MB_PER_SECOND {
        rows.push(at_rate(&file, rate, time));
    }
    let title =
        "Two cores at work, one of them also writing pieces of 64 KiB with an fdatasync each";
    let head = ["MB/s written", "standing still %", "longest ms", "stolen %"];
    let mut table = Table::new(title, &head);
    for row in &rows {
        table.row([
            decimal(row.mb_per_second, 0),
            decimal(row.lost * 100.0, 1),
            ms(row.longest_ms),
            decimal(row.stolen * 100.0, 1),
        ]);
    }
    outcome.tables.push(table);
    outcome.data = json!(rows);
    outcome
}

/// A file like the WAL's: zeros that are on the disk, written past the page cache where that can
/// be.
fn create(path: &Path) -> File {
    std::fs::write(path, vec![0; usize::try_from(FILE_BYTES).expect("64 MiB")])
        .expect("fill a file");
    let open = |flag: OFlag| File::options().write(true).custom_flags(flag.bits()).open(path);
    let file = open(OFlag::O_DIRECT).or_else(|_| open(OFlag::empty())).expect("open a file");
    file.sync_all().expect("sync a file");
    file
}

fn at_rate(file: &File, rate: f64, time: Duration) -> Row {
    let is_over = AtomicBool::new(false);
    let before = cpu::core_times(None);
    let (written, (lost, longest)) = std::thread::scope(|scope| {
        scope.spawn(|| {
            cpu::on_core(cpu::SERVER_CORE, || {
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        });
        let writing =
            scope.spawn(|| cpu::on_core(cpu::SERVER_CORE, || write(file, rate, &is_over)));
        let seen = cpu::on_core(cpu::LOAD_CORE, || watch(time));
        is_over.store(true, Ordering::Relaxed);
        (writing.join().expect("writing does not panic"), seen)
    });
    let stolen = (cpu::core_times(None) - before).stolen / as_f64(cpu::cores() as u64);
    let seconds = time.as_secs_f64();
    Row {
        mb_per_second: as_f64(written) / seconds / 1e6,
        lost: lost.as_secs_f64() / seconds,
        longest_ms: longest.as_secs_f64() * 1e3,
        stolen: stolen / seconds,
    }
}

/// Writes at a rate, and returns how much it was.
fn write(file: &File, rate: f64, is_over: &AtomicBool) -> u64 {
    let memory = vec![b'u'; PIECE_BYTES + BLOCK];
    let start = memory.as_ptr().addr().wrapping_neg() % BLOCK;
    let piece = &memory[start..][..PIECE_BYTES];
    let (begun, mut written) = (Instant::now(), 0);
    while !is_over.load(Ordering::Relaxed) {
        let due = begun.elapsed().as_secs_f64() * rate * 1e6;
        if as_f64(written) >= due {
            std::thread::sleep(Duration::from_micros(100));
            continue;
        }
        file.write_all_at(piece, written % FILE_BYTES).expect("write into a file");
        file.sync_data().expect("sync a file");
        written += PIECE_BYTES as u64;
    }
    written
}

/// Looks at the clock all the time; returns the sum of the gaps and the longest.
fn watch(time: Duration) -> (Duration, Duration) {
    let (begun, mut last) = (Instant::now(), Instant::now());
    let (mut sum, mut longest) = (Duration::ZERO, Duration::ZERO);
    while begun.elapsed() < time {
        let now = Instant::now();
        let gap = now - last;
        if gap > GAP_MIN {
            sum += gap;
            longest = longest.max(gap);
        }
        last = now;
    }
    (sum, longest)
}
