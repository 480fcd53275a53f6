//! The directory of the WAL under a running pixel: removed, copied, and of another user's umask.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sewer_test_support::http;
use sewer_test_support::pixel::{Pixel, STOP_WAIT, dump};

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-pixel");

fn request(pixel: &Pixel, path: &str) {
    assert_eq!(http::get(&pixel.address(), path).unwrap().status, 204);
}

#[test]
fn a_pixel_whose_wal_is_removed_ends_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut pixel = Pixel::started(BINARY, dir.path(), &["wal.roll_interval=1h"]);
    request(&pixel, "/p");
    fs::rename(pixel.wal_dir(), dir.path().join("elsewhere")).unwrap();
    // Without a request, and long before the next roll.
    assert_eq!(pixel.process().wait(STOP_WAIT), Some(1));
    let log = pixel.process().log();
    assert!(log.contains("was removed, replaced or moved while the WAL was in use"), "{log}");
    assert!(!log.contains("nothing acknowledged is lost"), "{log}");
    // Put back, it goes on: moved is not copied.
    fs::rename(dir.path().join("elsewhere"), pixel.wal_dir()).unwrap();
    pixel.start();
    pixel.wait_until_ready();
    request(&pixel, "/q");
    pixel.stop();
    let lsns: Vec<_> = pixel.dump().iter().map(|event| event["lsn"].clone()).collect();
    assert_eq!(lsns, [0, 1]);
}

#[test]
fn a_restored_copy_records_under_a_new_identity_and_keeps_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    if fs::metadata(dir.path()).unwrap().created().is_err() {
        eprintln!("skipped: this file system does not tell when a file was made");
        return;
    }
    let mut pixel = Pixel::started(BINARY, dir.path(), &[]);
    request(&pixel, "/before");
    pixel.kill();
    let copy = dir.path().join("copy");
    let copied = Command::new("cp").arg("-a").arg(pixel.wal_dir()).arg(&copy).status().unwrap();
    assert!(copied.success());
    pixel.start();
    pixel.wait_until_ready();
    request(&pixel, "/lost-by-the-restore");
    pixel.stop();

    fs::remove_dir_all(pixel.wal_dir()).unwrap();
    let restored = Command::new("cp").arg("-a").arg(&copy).arg(pixel.wal_dir()).status().unwrap();
    assert!(restored.success());
    pixel.start();
    pixel.wait_until_ready();
    request(&pixel, "/after");
    pixel.stop();
    let log = pixel.process().log();
    assert!(log.contains("is a copy of the WAL"), "{log}");
    let sealed = pixel.wal_dir().join("sealed");
    let mut names: Vec<_> = fs::read_dir(&sealed)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    // Both begin at LSN 0; the new one's name carries its id.
    assert!(names[0].starts_with("00000000000000000000-"), "{names:?}");
    assert_eq!(names[1], "00000000000000000000.seg");
    let paths = |name: &str| -> Vec<_> {
        let events = dump(BINARY, &sealed.join(name));
        events.iter().map(|event| event["request_path"].clone()).collect()
    };
    assert_eq!(paths(&names[1]), ["/before"]);
    assert_eq!(paths(&names[0]), ["/after"]);
}

#[test]
fn files_of_the_wal_are_for_nobody_else_whatever_the_umask() {
    for umask in ["000", "022", "077"] {
        let dir = tempfile::tempdir().unwrap();
        let mut pixel = Pixel::new(BINARY, dir.path(), &[]);
        // A shell that sets it for the pixel that it becomes.
        let script = dir.path().join("sewer-pixel");
        fs::write(&script, format!("#!/bin/sh\numask {umask}\nexec {BINARY} \"$@\"\n")).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&script, executable).unwrap();
        let log = dir.path().join("pixel.log");
        let mut process = sewer_test_support::process::Process::start(&script, &pixel.args(), &log);
        let address = pixel.address();
        process.wait_until("ready", Duration::from_secs(30), || {
            http::get(&address, "/p").is_ok_and(|response| response.status == 204)
        });
        check_modes(&pixel.wal_dir(), umask);
        process.terminate();
        assert_eq!(process.wait(STOP_WAIT), Some(0), "{}", process.log_tail());
        check_modes(&pixel.wal_dir(), umask);
        pixel.start();
        pixel.wait_until_ready();
        pixel.stop();
    }
}

fn check_modes(path: &Path, umask: &str) {
    let data = fs::symlink_metadata(path).unwrap();
    let mode = if data.is_dir() { 0o750 } else { 0o640 };
    assert_eq!(data.mode() & 0o777, mode, "{} under umask {umask}", path.display());
    if data.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            check_modes(&entry.unwrap().path(), umask);
        }
    }
}
