//! The systemd units: systemd finds nothing wrong with them, and the daemons tell it what
//! `Type=notify` waits for.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sewer_test_support::{hadoop, ports};

/// How long a daemon may take to say something.
const PATIENCE: Duration = Duration::from_secs(30);

fn systemd_units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd")
}

fn binary(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_sewer-shipper")).with_file_name(name);
    assert!(path.is_file(), "{name} is not built: run cargo test --workspace");
    path
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
    // Both at once, because one is ordered after the other.
    let path = |name: &str| directory.path().join(name).display().to_string();
    let units = [path("sewer-pixel.service"), path("sewer-shipper.service")];
    if let Some(complaints) = systemd("systemd-analyze", &["verify", &units[0], &units[1]]) {
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

/// A daemon, and the socket on which it talks to its supervisor.
struct Supervised {
    child: Child,
    socket: UnixDatagram,
}

impl Supervised {
    fn start(directory: &Path, name: &str, sets: &[String]) -> Self {
        let path = directory.join(format!("{name}.notify"));
        // There may be one of an earlier start.
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        let child = Command::new(binary(name))
            .args(sets.iter().flat_map(|set| ["--set", set]))
            .env("NOTIFY_SOCKET", &path)
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        Self { child, socket }
    }

    /// Waits until it says a line.
    fn await_line(&self, line: &str) {
        let give_up = Instant::now() + PATIENCE;
        let mut heard = Vec::new();
        while !heard.iter().any(|said| said == line) {
            let left = give_up.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{line} was never said, but {heard:?}");
            self.socket.set_read_timeout(Some(left)).unwrap();
            let mut message = [0; 4096];
            if let Ok(length) = self.socket.recv(&mut message) {
                let text = String::from_utf8_lossy(&message[..length]).into_owned();
                heard.extend(text.lines().map(str::to_owned));
            }
        }
    }

    fn terminate(mut self) -> ExitStatus {
        let pid = i32::try_from(self.child.id()).expect("Linux pids fit");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("stop a child of ours");
        self.await_line("STOPPING=1");
        self.child.wait().unwrap()
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        // Nothing happens if it has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
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
        Supervised::start(root, "sewer-pixel", &sets)
    }

    fn shipper(&self) -> Supervised {
        let root = self.directory.path();
        let sets = [
            format!("wal.dir={}/wal", root.display()),
            format!("shipper.dir={}/shipper", root.display()),
            format!("status.listen={}", self.ports[2].address()),
            format!("destination.uri=file://{}/out", root.display()),
        ];
        Supervised::start(root, "sewer-shipper", &sets)
    }
}

#[test]
fn both_daemons_say_when_they_are_ready_and_when_they_stop() {
    let pair = Pair::new();
    let pixel = pair.pixel();
    pixel.await_line("READY=1");
    let shipper = pair.shipper();
    shipper.await_line("READY=1");
    assert!(shipper.terminate().success());
    assert!(pixel.terminate().success());
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
