//! `packaging/quickstart` as a newcomer runs it, with programs that are already built.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use sewer_test_support::ports::{self, Port};

/// Every wait in the script is bounded; this bounds their sum.
const LIMIT_SECONDS: &str = "180";

/// The pages that the script says it was on.
const PAGES: [&str; 3] = ["home", "basket", "checkout"];

/// The script, bounded in time, with three ports in a row. Both test and script see to it that
/// nothing outlives them.
fn quickstart(directory: &Path, ports: &[Port]) -> Command {
    let binary = Path::new(env!("CARGO_BIN_EXE_sewer-shipper"));
    let binaries = binary.parent().expect("a program is in a directory");
    for name in ["sewer-pixel", "sewer-wal"] {
        assert!(binaries.join(name).is_file(), "{name} is not built: run cargo test --workspace");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/quickstart");
    let mut command = Command::new("timeout");
    command.arg(LIMIT_SECONDS).arg(script).arg("--bin-dir").arg(binaries);
    command.arg("--port").arg(ports[0].number().to_string()).arg(directory);
    command.stdin(Stdio::null());
    command
}

fn three_ports() -> Vec<Port> {
    let mut row: Vec<Port> = Vec::new();
    while row.len() < 3 {
        let port = ports::reserve();
        if row.last().is_some_and(|last| last.number() + 1 != port.number()) {
            row.clear();
        }
        row.push(port);
    }
    row
}

fn assert_free(ports: &[Port]) {
    for port in ports {
        TcpListener::bind(port.address()).expect("nothing of the script is left on its ports");
    }
}

/// What it printed on success.
fn printed(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}\n{errors}");
    assert_eq!(errors, "", "{text}");
    text
}

/// The rows of the last step, which have a sort hash.
fn rows(text: &str) -> Vec<Value> {
    let lines = text.lines().filter(|line| line.contains("\"sort_hash\""));
    lines.map(|line| serde_json::from_str(line.trim()).expect("a JSON object")).collect()
}

fn assert_shows_the_pixels(text: &str) {
    let rows = rows(text);
    assert_eq!(rows.len(), PAGES.len(), "{text}");
    for (row, page) in rows.iter().zip(PAGES) {
        let query = row["query_string"].as_str().expect("a query");
        assert!(query.starts_with(&format!("page={page}&run=")), "{text}");
        assert!(text.contains(&format!("    204  GET /pixel.gif?{query}\n")), "{text}");
        assert_eq!(row["referer"], format!("https://shop.example/{page}"), "{text}");
        assert!(row["user_agent"].as_str().is_some_and(|ua| ua.contains("Firefox")), "{text}");
        assert_eq!(row["cookies"], "visitor=7f3a9c", "{text}");
        assert_eq!(row["ip"], "127.0.0.1", "{text}");
    }
    let shown_in_wal = text.lines().filter(|line| line.trim().starts_with("{\"lsn\":")).count();
    assert!(shown_in_wal == PAGES.len() || text.contains("(shipped already"), "{text}");
    assert!(text.contains("==> 3 pixels sent, 3 rows read back."), "{text}");
}

#[test]
fn once_shows_the_pixels_that_it_sent_and_can_be_run_again() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path().join("a new directory");
    let ports = three_ports();
    for run in 0..2 {
        let output = quickstart(&directory, &ports).arg("--once").output().unwrap();
        let text = printed(&output);
        assert_shows_the_pixels(&text);
        assert_free(&ports);
        let first_lsn = format!("{{\"lsn\":{},", run * PAGES.len());
        assert!(text.contains(&first_lsn) || text.contains("(shipped already"), "{text}");
    }
}

#[test]
fn it_needs_no_curl() {
    let temporary = tempfile::tempdir().unwrap();
    let programs = temporary.path().join("bin");
    fs::create_dir(&programs).unwrap();
    let path = std::env::var_os("PATH").expect("there is a PATH");
    let found = std::env::split_paths(&path).filter_map(|dir| fs::read_dir(dir).ok()).flatten();
    for entry in found.map(Result::unwrap).filter(|entry| entry.file_name() != "curl") {
        // The first of two programs with one name is the one that counts.
        let _ = symlink(entry.path(), programs.join(entry.file_name()));
    }
    let ports = three_ports();
    let output = quickstart(&temporary.path().join("quickstart"), &ports)
        .arg("--once")
        .env("PATH", &programs)
        .output()
        .unwrap();
    assert_shows_the_pixels(&printed(&output));
}

#[test]
fn a_port_that_is_taken_is_named_and_nothing_is_left() {
    let temporary = tempfile::tempdir().unwrap();
    let ports = three_ports();
    let listener = TcpListener::bind(ports[0].address()).unwrap();
    let output = quickstart(temporary.path(), &ports).arg("--once").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let taken = format!("quickstart: port {} on 127.0.0.1 is taken", ports[0].number());
    assert!(errors.starts_with(&taken) && errors.contains("--port "), "{errors}");
    drop(listener);
    assert_free(&ports);
}

#[test]
fn a_daemon_that_does_not_start_is_shown_with_the_end_of_its_log() {
    let temporary = tempfile::tempdir().unwrap();
    fs::write(temporary.path().join("wal"), "a file where the WAL's directory should be").unwrap();
    let ports = three_ports();
    let output = quickstart(temporary.path(), &ports).arg("--once").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("quickstart: the pixel does not start\nThe end of "), "{errors}");
    assert!(errors.contains("    sewer-pixel: "), "{errors}");
    assert_free(&ports);
}

#[test]
fn it_runs_until_it_is_interrupted_and_then_stops_what_it_started() {
    let temporary = tempfile::tempdir().unwrap();
    let ports = three_ports();
    let mut script = quickstart(temporary.path(), &ports).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(script.stdout.take().expect("it is piped")).lines();
    let mut shown = String::new();
    for line in lines.by_ref().map(Result::unwrap) {
        shown += &(line.clone() + "\n");
        if line.contains("Ctrl-C stops them") {
            break;
        }
    }
    assert_shows_the_pixels(&shown);
    assert!(TcpListener::bind(ports[0].address()).is_err(), "the pixel runs: {shown}");
    let other = quickstart(temporary.path(), &three_ports()).arg("--once").output().unwrap();
    let errors = String::from_utf8_lossy(&other.stderr);
    assert_eq!(other.status.code(), Some(1), "two in one directory: {errors}");
    assert!(errors.starts_with("quickstart: a quickstart is running in "), "{errors}");
    // `timeout` hands it on to the script.
    let pid = i32::try_from(script.id()).expect("Linux pids fit");
    kill(Pid::from_raw(pid), Signal::SIGINT).expect("interrupt a child of ours");
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(script.wait().unwrap().code(), Some(0), "{shown}{rest:?}");
    assert!(rest.iter().any(|line| line.starts_with("Stopping.")), "{rest:?}");
    assert_free(&ports);
    let log = |name: &str| fs::read_to_string(PathBuf::from(temporary.path()).join(name)).unwrap();
    assert!(log("pixel.log").contains("the segment is sealed"), "{}", log("pixel.log"));
    assert!(log("shipper.log").contains("stopped;"), "{}", log("shipper.log"));
}
