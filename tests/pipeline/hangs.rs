//! What hangs around the daemons does not keep them from ending: a supervisor that reads nothing, a
//! configuration on a file system that does not answer.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use sewer_test_support::http::Connection;
use sewer_test_support::pixel::Pixel;
use sewer_test_support::process::eventually;
use sewer_test_support::shipper::Shipper;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// Far more than any step takes.
const PATIENCE: Duration = Duration::from_mins(1);

const GET: &[u8] = b"GET /p HTTP/1.1\r\nHost: h\r\n\r\n";

fn shipper(directory: &Path) -> Shipper {
    let out = format!("file://{}/out", directory.display());
    Shipper::new(BINARY, directory, &out, &[])
}

fn answers(pixel: &Pixel) -> u16 {
    Connection::open(&pixel.address()).unwrap().request(GET).unwrap().status
}

/// A supervisor whose queue is full and stays so.
fn full(path: &Path) -> UnixDatagram {
    let supervisor = UnixDatagram::bind(path).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.send_to(b"X_FULL=1", path).is_ok() {}
    supervisor
}

#[test]
fn a_supervisor_that_reads_nothing_holds_up_no_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let _supervisor = full(&path);
    let notify = [("NOTIFY_SOCKET".to_owned(), path.display().to_string())];
    let mut pixel = Pixel::new(BINARY, directory.path(), &[]);
    pixel.set_environment(&notify);
    pixel.start();
    pixel.wait_until_ready();
    let mut shipper = shipper(directory.path());
    shipper.set_environment(&notify);
    shipper.start();
    shipper.wait_until_ready();
    pixel.process().hang_up();
    shipper.process().hang_up();
    assert_eq!(answers(&pixel), 204);
    let is_told = |log: String| log.contains("cannot notify the supervisor");
    assert!(eventually(PATIENCE, || is_told(pixel.process().log())));
    assert!(eventually(PATIENCE, || is_told(shipper.process().log())));
    pixel.stop();
    shipper.stop();
}

/// Makes a file one that is never read to its end; returns once somebody tries to.
fn hang(path: &Path, begin: impl FnOnce()) -> File {
    fs::remove_file(path).unwrap();
    mkfifo(path, Mode::S_IRWXU).unwrap();
    begin();
    let mut writer = OpenOptions::new();
    writer.write(true).custom_flags(OFlag::O_NONBLOCK.bits());
    let mut opened = None;
    // That succeeds once there is a reader.
    assert!(eventually(PATIENCE, || {
        opened = writer.open(path).ok();
        opened.is_some()
    }));
    opened.expect("it was opened")
}

#[test]
fn a_reload_that_hangs_does_not_keep_a_daemon_from_working_and_ending() {
    let directory = tempfile::tempdir().unwrap();
    let mut pixel = Pixel::started(BINARY, directory.path(), &[]);
    let mut shipper = shipper(directory.path());
    shipper.start();
    shipper.wait_until_ready();
    let _pixel = hang(&directory.path().join("pixel.toml"), || pixel.process().hang_up());
    let _shipper = hang(&directory.path().join("shipper.toml"), || shipper.process().hang_up());
    assert_eq!(answers(&pixel), 204);
    let is_shipped = || shipper.metrics()["sewer_shipper_events_total"] >= 1.0;
    assert!(eventually(PATIENCE, is_shipped), "{}", shipper.process().log_tail());
    pixel.stop();
    shipper.stop();
}
