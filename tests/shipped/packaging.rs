//! The systemd units: systemd finds nothing wrong with them, and the daemons tell it what
//! `Type=notify` waits for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use sewer_test_support::process::sibling;
use sewer_test_support::supervised::Supervised;
use sewer_test_support::{hadoop, ports};

fn systemd_units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd")
}

fn binary(name: &str) -> PathBuf {
    sibling(env!("CARGO_BIN_EXE_sewer-shipper"), name)
}

/// Runs a tool of systemd; `None`, and a word about it, where there is none.
fn systemd(tool: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(tool).args(arguments).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{tool} {arguments:?}: {text}");
            Some(text)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            hadoop::skip("packaging", &format!("there is no {tool}"));
            None
        }
        Err(error) => panic!("run {tool}: {error}"),
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["sewer-pixel", "sewer-shipper"] {
        let file = format!("{name}.service");
        let unit = fs::read_to_string(systemd_units().join(&file)).unwrap();
        let installed = format!("ExecStart=/usr/bin/{name}\n");
        assert!(unit.contains(&installed), "{file} starts {name}");
        // It must exist for systemd to be content.
        let here = format!("ExecStart={}\n", binary(name).display());
        fs::write(directory.path().join(&file), unit.replace(&installed, &here)).unwrap();
    }
    let socket = "sewer-pixel.socket";
    fs::copy(systemd_units().join(socket), directory.path().join(socket)).unwrap();
    // All at once, because one is ordered after the other, and the socket starts its service.
    let path = |name: &str| directory.path().join(name).display().to_string();
    let units = [path("sewer-pixel.service"), path("sewer-shipper.service"), path(socket)];
    let [pixel, shipper, socket] = units.each_ref().map(String::as_str);
    if let Some(complaints) = systemd("systemd-analyze", &["verify", pixel, shipper, socket]) {
        assert_eq!(complaints, "");
    }
}

#[test]
fn systemd_knows_the_user_of_the_units_from_the_sysusers_file() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let file = systemd_units().join("sewer.sysusers").canonicalize().unwrap();
    let arguments = [format!("--root={}", root.path().display()), file.display().to_string()];
    // The file is looked up below the root.
    let inside = root.path().join(file.strip_prefix("/").expect("it is absolute"));
    fs::create_dir_all(inside.parent().expect("a file is in a directory")).unwrap();
    fs::copy(&file, &inside).unwrap();
    if systemd("systemd-sysusers", &[&arguments[0], &arguments[1]]).is_some() {
        let users = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
        assert!(users.starts_with("sewer:") && users.contains(":/var/lib/sewer:"), "{users}");
    }
}

/// Both daemons on one directory and on ports of their own.
struct Pair {
    directory: tempfile::TempDir,
    ports: [ports::Port; 3],
}

impl Pair {
    fn new() -> Self {
        let ports = [ports::reserve(), ports::reserve(), ports::reserve()];
        Self { directory: tempfile::tempdir().unwrap(), ports }
    }

    fn pixel(&self) -> Supervised {
        let root = self.directory.path();
        let sets = [
            format!("wal.dir={}/wal", root.display()),
            format!("pixel.listen={}", self.ports[0].address()),
            format!("status.listen={}", self.ports[1].address()),
        ];
        start(root, "sewer-pixel", &sets)
    }

    fn shipper(&self) -> Supervised {
        let root = self.directory.path();
        fs::create_dir_all(root.join("out")).unwrap();
        let sets = [
            format!("wal.dir={}/wal", root.display()),
            format!("shipper.dir={}/shipper", root.display()),
            format!("status.listen={}", self.ports[2].address()),
            format!("destination.uri=file://{}/out", root.display()),
        ];
        start(root, "sewer-shipper", &sets)
    }
}

fn start(root: &Path, name: &str, sets: &[String]) -> Supervised {
    let args: Vec<_> = sets.iter().flat_map(|set| ["--set".to_owned(), set.clone()]).collect();
    Supervised::start(root, &binary(name), &args, None)
}

#[test]
fn both_daemons_say_when_they_are_ready_and_when_they_stop() {
    let pair = Pair::new();
    let pixel = pair.pixel();
    pixel.await_line("READY=1");
    let shipper = pair.shipper();
    shipper.await_line("READY=1");
    pixel.await_line("STATUS=serving: 0.0 requests/s");
    shipper.await_line("STATUS=shipping: 0 segments wait, lag 0 s");
    assert!(shipper.terminate().success());
    assert!(pixel.terminate().success());
}

/// `systemctl reload` waits for nothing, but shows what it hears.
#[test]
fn both_daemons_say_when_they_reload_and_when_they_have() {
    let pair = Pair::new();
    let pixel = pair.pixel();
    pixel.await_line("READY=1");
    let shipper = pair.shipper();
    shipper.await_line("READY=1");
    for daemon in [pixel, shipper] {
        daemon.signal(Signal::SIGHUP);
        daemon.await_line("RELOADING=1");
        daemon.await_line("READY=1");
        assert!(daemon.terminate().success());
    }
}

/// A supervisor may stop a daemon in the moment in which it hears that it is ready.
#[test]
fn a_stop_right_after_ready_is_a_clean_one() {
    let pair = Pair::new();
    for round in 0..10 {
        let pixel = pair.pixel();
        pixel.await_line("READY=1");
        assert_eq!(pixel.terminate().code(), Some(0), "pixel, round {round}");
        let shipper = pair.shipper();
        shipper.await_line("READY=1");
        assert_eq!(shipper.terminate().code(), Some(0), "shipper, round {round}");
    }
}
