//! What surrounds the daemons does not stop them: a log that cannot be written or is not read,
//! foreign environment variables, few descriptors, used-up inodes. And a thread that panics does:
//! the daemon ends, to be started again.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use sewer_test_support::hadoop::skip;
use sewer_test_support::http::{self, Connection};
use sewer_test_support::pixel::{Pixel, run};
use sewer_test_support::process::{Process, eventually, sibling};
use sewer_test_support::shipper::Shipper;
use sewer_test_support::small_disk::SmallDisk;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// Far more than any step takes.
const PATIENCE: Duration = Duration::from_mins(1);

const GET: &[u8] = b"GET /p?x HTTP/1.1\r\nHost: h\r\n\r\n";

/// How many times a reload makes a daemon say something: more than a small pipe holds.
const LINES: usize = 100;

fn shipper(directory: &Path) -> Shipper {
    let out = format!("file://{}/out", directory.display());
    Shipper::new(BINARY, directory, &out, &[])
}

fn answers(pixel: &Pixel) -> u16 {
    Connection::open(&pixel.address()).unwrap().request(GET).unwrap().status
}

/// What a daemon's log is.
#[derive(Clone, Copy, Debug)]
enum Log {
    /// A device that is full.
    Full,
    /// A pipe whose reader has ended.
    Ended,
    /// A pipe of which nobody reads, and a small one.
    Stalled,
}

impl Log {
    /// Puts it into the place of a log; what is returned is to be kept while the daemon runs.
    fn make(self, path: &Path) -> Option<File> {
        if let Self::Full = self {
            symlink("/dev/full", path).unwrap();
            return None;
        }
        mkfifo(path, Mode::S_IRWXU).unwrap();
        let flags = OFlag::O_NONBLOCK.bits();
        let reader = OpenOptions::new().read(true).custom_flags(flags).open(path).unwrap();
        fcntl(&reader, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
        Some(reader)
    }

    /// What becomes of it once the daemon has it. For the test itself the log is an empty file.
    fn after_start(self, path: &Path, reader: Option<File>) -> Option<File> {
        fs::remove_file(path).unwrap();
        File::create(path).unwrap();
        if let Self::Ended = self { None } else { reader }
    }
}

#[test]
fn a_log_that_fails_or_stalls_stops_no_pixel() {
    for log in [Log::Full, Log::Ended, Log::Stalled] {
        let directory = tempfile::tempdir().unwrap();
        let mut pixel = Pixel::new(BINARY, directory.path(), &[]);
        let path = directory.path().join("pixel.log");
        let reader = log.make(&path);
        pixel.start();
        let _kept = log.after_start(&path, reader);
        pixel.wait_until_ready();
        for _ in 0..LINES {
            pixel.process().hang_up();
            assert_eq!(answers(&pixel), 204, "{log:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
        let address = pixel.status_address();
        // A pipe that nobody reads costs no line until the queue is full.
        let is_lost = || matches!(log, Log::Stalled) || lost_lines(&address, "pixel") > 0.0;
        assert!(eventually(PATIENCE, is_lost), "{log:?}");
        pixel.stop();
        assert_eq!(pixel.dump().len(), LINES, "{log:?}");
    }
}

/// How many lines of its log a daemon has lost.
fn lost_lines(address: &str, daemon: &str) -> f64 {
    let name = format!("sewer_{daemon}_lost_log_lines_total");
    sewer_test_support::metrics::get(address)[&name]
}

#[test]
fn a_log_that_fails_or_stalls_stops_no_shipper() {
    for log in [Log::Full, Log::Ended, Log::Stalled] {
        let directory = tempfile::tempdir().unwrap();
        let pixel = Pixel::started(BINARY, directory.path(), &[]);
        let mut shipper = shipper(directory.path());
        let path = directory.path().join("shipper.log");
        let reader = log.make(&path);
        shipper.start();
        let _kept = log.after_start(&path, reader);
        shipper.wait_until_ready();
        for _ in 0..LINES {
            shipper.process().hang_up();
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(answers(&pixel), 204);
        let is_done = || shipper.metrics()["sewer_shipper_events_total"] >= 1.0;
        assert!(eventually(PATIENCE, is_done), "{log:?}: it goes on shipping");
        let address = shipper.status_address();
        let is_lost = || matches!(log, Log::Stalled) || lost_lines(&address, "shipper") > 0.0;
        assert!(eventually(PATIENCE, is_lost), "{log:?}");
        shipper.stop();
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_no_command() {
    let directory = tempfile::tempdir().unwrap();
    let mut pixel = Pixel::started(BINARY, directory.path(), &[]);
    assert_eq!(answers(&pixel), 204);
    pixel.stop();
    let shipper = shipper(directory.path());
    let binary = sibling(BINARY, "sewer-shipper");
    let pipe = "set -o pipefail; \"$0\" \"$@\" 2>&1 | true; exit ${PIPESTATUS[0]}";
    for arguments in [&["--check"][..], &["--replay", "--dry-run"], &["--replay"], &["--audit"]] {
        let mut all = vec!["-c".to_owned(), pipe.to_owned(), binary.display().to_string()];
        all.extend(shipper.args());
        all.extend(arguments.iter().map(ToString::to_string));
        let finished = run(Path::new("/bin/bash"), &all);
        assert_eq!(finished.code, Some(0), "{arguments:?}: {}", finished.stderr);
    }
    assert_eq!(shipper.left().len(), 0, "the replay went to its end");
}

fn variables(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn variables_of_others_stop_no_daemon_and_a_typing_error_is_noticed() {
    let foreign = [
        ("SEWER_PORT", "tcp://10.0.0.5:8080"),
        ("SEWER_PORT_8080_TCP_ADDR", "10.0.0.5"),
        ("SEWER_SERVICE_HOST", "10.0.0.5"),
        ("SEWER_PIXEL_PORT", "tcp://10.0.0.5:8080"),
        ("SEWER_PIXEL_SERVICE_HOST", "10.0.0.5"),
        ("SEWER_SHIPPER_PORT", "tcp://10.0.0.6:8082"),
        ("SEWER_VERSION", "1.0"),
        ("SEWER_WAL_DIR", "/x"),
    ];
    let directory = tempfile::tempdir().unwrap();
    let mut pixel = Pixel::new(BINARY, directory.path(), &[]);
    pixel.set_environment(&variables(&foreign));
    pixel.start();
    pixel.wait_until_ready();
    let mut shipper = shipper(directory.path());
    shipper.set_environment(&variables(&foreign));
    shipper.start();
    shipper.wait_until_ready();
    for log in [pixel.process().log(), shipper.process().log()] {
        let lines: Vec<_> = log.lines().filter(|line| line.contains("SEWER_")).collect();
        assert_eq!(lines.len(), 1, "{log}");
        assert!(lines[0].contains("INFO") && lines[0].contains("SEWER_WAL_DIR"), "{log}");
        assert!(!lines[0].contains("PORT"), "{log}");
    }
}

#[test]
fn a_panic_in_any_thread_of_a_pixel_ends_it_and_loses_nothing() {
    let socket = |directory: &Path| directory.join("notify").display().to_string();
    for thread in ["committer", "space", "sampler", "supervisor", "http-0"] {
        let directory = tempfile::tempdir().unwrap();
        let trigger = directory.path().join("trigger");
        let _supervisor = std::os::unix::net::UnixDatagram::bind(socket(directory.path())).unwrap();
        let mut pixel = Pixel::new(BINARY, directory.path(), &["pixel.workers=1"]);
        let wanted = format!("{thread}:{}", trigger.display());
        let notify = socket(directory.path());
        let all = [("SEWERTEST_PANIC", wanted.as_str()), ("NOTIFY_SOCKET", notify.as_str())];
        pixel.set_environment(&variables(&all));
        pixel.start();
        pixel.wait_until_ready();
        assert_eq!(answers(&pixel), 204);
        File::create(&trigger).unwrap();
        // Some look only when something comes; what that gets does not matter.
        let _ = TcpStream::connect(pixel.address());
        let code = pixel.process().wait(PATIENCE);
        let log = pixel.process().log_tail();
        assert_eq!(code, Some(1), "{thread}: {log}");
        assert!(log.contains("panicked") && log.contains(&format!("thread=\"{thread}\"")), "{log}");
        fs::remove_file(&trigger).unwrap();
        pixel.start();
        pixel.wait_until_ready();
        assert!(!pixel.dump().is_empty(), "{thread}: what was acknowledged is there");
    }
}

#[test]
fn a_panic_of_the_thread_that_seals_ends_a_pixel_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let trigger = directory.path().join("trigger");
    let mut pixel = Pixel::new(BINARY, directory.path(), &[]);
    let wanted = format!("wal-sealer:{}", trigger.display());
    pixel.set_environment(&variables(&[("SEWERTEST_PANIC", wanted.as_str())]));
    pixel.start();
    pixel.wait_until_ready();
    File::create(&trigger).unwrap();
    // It panics when it has something to say: that there is a file which is none of its own.
    let mut acknowledged = 0;
    let is_over = || {
        for log in fs::read_dir(pixel.wal_dir().join("active")).unwrap() {
            // The log may be sealed meanwhile.
            let _ = File::create(log.unwrap().path().join("foreign"));
        }
        let answer = Connection::open(&pixel.address()).and_then(|mut c| c.request(GET));
        acknowledged += usize::from(answer.is_ok_and(|answer| answer.status == 204));
        !pixel.process().is_running()
    };
    assert!(eventually(PATIENCE, is_over), "{}", pixel.process().log_tail());
    let (code, log) = (pixel.process().wait(PATIENCE), pixel.process().log_tail());
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("panicked") && log.contains("thread=\"wal-sealer\""), "{log}");
    assert!(acknowledged > 0, "{log}");
    fs::remove_file(&trigger).unwrap();
    pixel.start();
    pixel.wait_until_ready();
    let events = pixel.dump().len();
    assert!(events >= acknowledged, "{events} events of {acknowledged}");
}

#[test]
fn a_limit_of_file_sizes_is_told_and_kills_no_pixel() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::new(BINARY, directory.path(), &[]);
    let mut process = start_limited(&pixel, directory.path(), "-f 1000");
    assert_eq!(process.wait(PATIENCE), Some(1), "{}", process.log_tail());
    assert!(process.log().contains("File too large"), "{}", process.log_tail());
}

#[test]
fn a_panic_in_any_thread_of_a_shipper_ends_it() {
    for thread in ["watch-sealed", "supervisor"] {
        let directory = tempfile::tempdir().unwrap();
        let trigger = directory.path().join("trigger");
        let notify = directory.path().join("notify");
        let _supervisor = std::os::unix::net::UnixDatagram::bind(&notify).unwrap();
        let _pixel = Pixel::started(BINARY, directory.path(), &[]);
        let mut shipper = shipper(directory.path());
        let wanted = format!("{thread}:{}", trigger.display());
        let notify = notify.display().to_string();
        let all = [("SEWERTEST_PANIC", wanted.as_str()), ("NOTIFY_SOCKET", notify.as_str())];
        shipper.set_environment(&variables(&all));
        shipper.start();
        shipper.wait_until_ready();
        File::create(&trigger).unwrap();
        let code = shipper.process().wait(PATIENCE);
        let log = shipper.process().log_tail();
        assert_eq!(code, Some(1), "{thread}: {log}");
        assert!(log.contains("panicked") && log.contains(thread), "{thread}: {log}");
    }
}

/// Starts a pixel under a limit of the shell's.
fn start_limited(pixel: &Pixel, directory: &Path, limit: &str) -> Process {
    let start = format!("ulimit {limit}; exec \"$0\" \"$@\"");
    let binary = sibling(BINARY, "sewer-pixel").display().to_string();
    let mut args = vec!["-c".to_owned(), start, binary];
    args.extend(pixel.args());
    Process::start(Path::new("/bin/sh"), &args, &directory.join("pixel.log"))
}

/// A pixel with so many files, of which it may not have more.
fn with_files(pixel: &Pixel, directory: &Path, limit: &str) -> Process {
    let mut process = start_limited(pixel, directory, limit);
    let address = pixel.status_address();
    process.wait_until("ready", PATIENCE, || {
        http::get(&address, "/").is_ok_and(|response| response.status == 200)
    });
    process
}

#[test]
fn with_few_descriptors_health_answers_and_segments_roll() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::new(BINARY, directory.path(), &["pixel.header_timeout=1m"]);
    let mut process = with_files(&pixel, directory.path(), "-n 256");
    let mut honest = Connection::open(&pixel.address()).unwrap();
    assert_eq!(honest.request(GET).unwrap().status, 204);
    let idle: Vec<_> = (0..221).map(|_| TcpStream::connect(pixel.address()).unwrap()).collect();
    let sealed = || fs::read_dir(pixel.wal_dir().join("sealed")).map_or(0, Iterator::count);
    for _ in 0..5 {
        let before = sealed();
        assert_eq!(honest.request(GET).unwrap().status, 204);
        assert_eq!(http::get(&pixel.status_address(), "/").unwrap().status, 200);
        assert!(eventually(PATIENCE, || sealed() > before), "{}", process.log_tail());
    }
    let log = process.log();
    assert!(log.contains("WARN") && log.contains("raise it (LimitNOFILE="), "{log}");
    assert!(!log.contains("Too many open files"), "{log}");
    drop(idle);
    process.terminate();
    assert_eq!(process.wait(PATIENCE), Some(0), "{}", process.log_tail());
}

#[test]
fn a_soft_limit_of_descriptors_is_raised() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::new(BINARY, directory.path(), &["pixel.header_timeout=1m"]);
    let mut process = with_files(&pixel, directory.path(), "-Sn 256");
    let idle: Vec<_> = (0..400).map(|_| TcpStream::connect(pixel.address()).unwrap()).collect();
    let open = || pixel.metrics()["sewer_pixel_connections"] >= 400.0;
    assert!(eventually(PATIENCE, open), "{}", process.log_tail());
    drop(idle);
    process.terminate();
    assert_eq!(process.wait(PATIENCE), Some(0), "{}", process.log_tail());
    let check = run(
        &sibling(BINARY, "sewer-pixel"),
        &[&pixel.args()[..], &["--check".to_owned()]].concat(),
    );
    assert!(check.stdout.contains("open files: "), "{}", check.stdout);
}

#[test]
fn used_up_inodes_are_a_full_disk() {
    let directory = tempfile::tempdir().unwrap();
    let mount = directory.path().join("disk");
    let disk = match SmallDisk::mount(&mount, 48 << 20) {
        Ok(disk) => disk,
        Err(why) => return skip("surroundings", &why),
    };
    let wal = format!("wal.dir={}/wal", mount.display());
    let sets = [wal.as_str(), "wal.segment_bytes=1MiB", "wal.min_free_bytes=1MiB"];
    let mut pixel = Pixel::started(BINARY, directory.path(), &sets);
    assert_eq!(answers(&pixel), 204);
    let ballast = mount.join("ballast");
    fs::create_dir(&ballast).unwrap();
    let filled =
        (0..1_000_000).find(|number| match File::create(ballast.join(number.to_string())) {
            Ok(_) => false,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StorageFull);
                true
            }
        });
    println!("{filled:?} inodes");
    let status = || http::get(&pixel.status_address(), "/").unwrap().status;
    assert!(eventually(PATIENCE, || status() == 503), "health");
    assert_eq!(answers(&pixel), 503);
    assert!(pixel.metrics()["sewer_pixel_free_inodes"] < 32.0);
    fs::remove_dir_all(&ballast).unwrap();
    assert!(eventually(PATIENCE, || status() == 200), "health again");
    assert_eq!(answers(&pixel), 204);
    pixel.stop();
    drop(disk);
}
