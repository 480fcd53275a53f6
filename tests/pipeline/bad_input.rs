//! What an operator gets wrong: one clear line on standard error that names the key, the file or
//! the address, exit code 2 for configuration and 1 for work, and nothing left running.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sewer_test_support::command::{self, Finished, without_own_variables};
use sewer_test_support::http;
use sewer_test_support::pixel::{Pixel, run, sewer_wal};
use sewer_test_support::ports;
use sewer_test_support::process::{eventually, sibling};
use sewer_test_support::shipper::Shipper;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// Far more than it takes to refuse.
const PATIENCE: Duration = Duration::from_secs(30);

fn binary(name: &str) -> PathBuf {
    sibling(BINARY, name)
}

/// Runs a daemon that must not come up, with a variable in its environment.
fn run_with(name: &str, variable: (&str, &str)) -> Finished {
    let mut command = Command::new(binary(name));
    without_own_variables(&mut command).env(variable.0, variable.1);
    command::run(&mut command, PATIENCE).unwrap_or_else(|why| panic!("{name}: {why}"))
}

/// Holds a refusal to the promise: the exit code, and one line with these words and no more.
fn assert_refused(name: &str, finished: &Finished, code: i32, words: &[&str]) {
    let Finished { stdout, stderr, .. } = finished;
    assert_eq!(finished.code, Some(code), "{stdout}{stderr}");
    let lines: Vec<_> = stderr.lines().filter(|line| !line.contains(" INFO ")).collect();
    assert_eq!(lines.len(), 1, "one line: {stderr}");
    assert!(lines[0].starts_with(&format!("{name}: ")), "{stderr}");
    for word in words {
        assert!(lines[0].contains(word), "{word} is not in: {stderr}");
    }
    let repeated = lines[0].matches("(os error").count() > 1;
    assert!(!repeated, "a cause is said once: {stderr}");
}

#[test]
fn a_configuration_that_cannot_be_used_is_named_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("conf.toml");
    let path = file.to_str().unwrap();
    for (name, text, words) in [
        ("sewer-pixel", "[wal]\ndri = \"x\"\n", ["unknown key `wal.dri`", "`dir`"]),
        ("sewer-pixel", "[pixle]\n", ["unknown key `pixle`", "`pixel`"]),
        (
            "sewer-pixel",
            "[wal]\nsegment_bytes = \"64 bananas\"\n",
            ["`wal.segment_bytes`", "bananas"],
        ),
        ("sewer-pixel", "[wal]\nroll_interval = \"soon\"\n", ["`wal.roll_interval`", "soon"]),
        ("sewer-pixel", "[wal]\nsegment_bytes = 5.5\n", ["`wal.segment_bytes`", "5.5"]),
        ("sewer-pixel", "[wal\n", ["line 1", "wal"]),
        ("sewer-pixel", "[pixel]\nlisten = \"here\"\n", ["`pixel.listen`", "address"]),
        (
            "sewer-pixel",
            "[[pixel.route]]\nprefx = \"/a\"\n",
            ["unknown key `pixel.route.0.prefx`", "`prefix`"],
        ),
        ("sewer-pixel", "[[event.drop]]\nfield = \"ip\"\n", ["`event.drop.0`", "regex"]),
        ("sewer-pixel", "[cors]\nallow_origin = 5\n", ["`cors.allow_origin`", "a list of origins"]),
        ("sewer-shipper", "[wal]\ndri = \"x\"\n", ["unknown key `wal.dri`", "`dir`"]),
        ("sewer-shipper", "[roll]\nmax_bytes = \"lots\"\n", ["`roll.max_bytes`", "lots"]),
        ("sewer-shipper", "[retry]\ninitial = \"soon\"\n", ["`retry.initial`", "soon"]),
        ("sewer-shipper", "[destination]\nformat = \"avro\"\n", ["`destination.format`", "avro"]),
        (
            "sewer-shipper",
            "[destination]\ncompression = \"x\"\n",
            ["`destination.compression`", "x"],
        ),
    ] {
        fs::write(&file, text).unwrap();
        let finished = run(&binary(name), &["--config", path]);
        assert_refused(name, &finished, 2, &[&[path], &words[..]].concat());
    }
}

#[test]
fn a_flag_that_cannot_be_used_is_named() {
    for (name, set, words) in [
        ("sewer-pixel", "wal.dir", ["--set wal.dir", "section.key=value"]),
        ("sewer-pixel", "wal.dri=/x", ["--set", "`wal.dri`"]),
        ("sewer-pixel", "wal.segment_bytes=1KiB", ["`wal.segment_bytes`", "64KiB"]),
        ("sewer-pixel", "wal.segment_bytes=many", ["`wal.segment_bytes`", "64MiB"]),
        ("sewer-pixel", "wal.on_full=wait", ["`wal.on_full`", "\"reject\", \"drop\""]),
        ("sewer-pixel", "wal.roll_interval=1ms", ["`wal.roll_interval`", "100ms"]),
        (
            "sewer-pixel",
            "pixel.trusted_proxies=[\"10.0.0.0/33\"]",
            ["`pixel.trusted_proxies", "10.0.0.0/8"],
        ),
        ("sewer-pixel", "pixel.route=[{prefix=\"a\"}]", ["`pixel.route.prefix`", "begin with /"]),
        ("sewer-pixel", "event.static={ip=\"x\"}", ["`event.static`", "\"ip\""]),
        ("sewer-pixel", "event.extra_headers=[\"cookie\"]", ["`event.extra_headers`", "cookie"]),
        (
            "sewer-pixel",
            "event.drop=[{field=\"ip\",regex=\"(\"}]",
            ["`event.drop.regex`", "unclosed"],
        ),
        (
            "sewer-pixel",
            "cors.allow_origin=*.example.org",
            ["`cors.allow_origin`", "*.example.org"],
        ),
        (
            "sewer-shipper",
            "destination.uri=s3://bucket",
            ["`destination.uri`", "hdfs, viewfs and file"],
        ),
        ("sewer-shipper", "destination.uri=/var/out", ["`destination.uri`", "file:///"]),
        ("sewer-shipper", "destination.uri=hdfs:///x", ["`destination.uri`", "host"]),
        ("sewer-shipper", "destination.path=sewer/%H", ["`destination.path`", "absolute"]),
        ("sewer-shipper", "destination.path=/sewer/%!", ["`destination.path`", "/sewer/%!"]),
        ("sewer-shipper", "destination.path=/sewer/../%H", ["`destination.path`", ".."]),
        ("sewer-shipper", "destination.path=/sewer/%Y-%m-%dT%T", ["`destination.path`", "colon"]),
        ("sewer-shipper", "destination.path=/sewer/%H:00", ["`destination.path`", "/sewer/%H:00"]),
        ("sewer-shipper", "destination.path=/a/.snapshot/%H", ["`destination.path`", ".snapshot"]),
        ("sewer-shipper", "destination.uri=hdfs://nn:port", ["`destination.uri`", "port"]),
        ("sewer-shipper", "destination.uri=hdfs://nn/a:b", ["`destination.uri`", "colon"]),
        ("sewer-shipper", "shipper.host=_a", ["`shipper.host`", "the first"]),
        (
            "sewer-shipper",
            "destination.timezone=Mars/Base",
            ["`destination.timezone`", "Mars/Base"],
        ),
        ("sewer-shipper", "retry.max=1ms", ["`retry.max`", "initial"]),
        ("sewer-shipper", "shipper.host=a/b", ["`shipper.host`", "a/b"]),
    ] {
        let finished = run(&binary(name), &["--set", set]);
        assert_refused(name, &finished, 2, &words);
    }
}

#[test]
fn a_misspelt_variable_is_named_and_the_other_daemons_is_passed_over() {
    for (name, variable, word) in [
        ("sewer-pixel", "SEWER_WAL__DRI", "`wal.dri`"),
        ("sewer-pixel", "SEWER_STATUS__LISTN", "`status.listn`"),
        ("sewer-pixel", "SEWER_PIXLE__LISTEN", "`pixle`"),
        ("sewer-shipper", "SEWER_DESTINATION__URL", "`destination.url`"),
        ("sewer-shipper", "SEWER_SHIPER__DIR", "`shiper`"),
    ] {
        let finished = run_with(name, (variable, "x"));
        assert_refused(name, &finished, 2, &["environment", word]);
    }
    let finished = run_with("sewer-pixel", ("SEWER_PIXEL__LISTEN", "here"));
    assert_refused("sewer-pixel", &finished, 2, &["environment", "`pixel.listen`"]);
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary("sewer-pixel"));
    let args = Pixel::new(BINARY, directory.path(), &[]).args();
    let command = without_own_variables(&mut command).args(args).arg("--check");
    let shared = command.env("SEWER_DESTINATION__URI", "hdfs://nn:8020");
    command::run(shared, PATIENCE).unwrap().expect_success();
}

#[test]
fn a_file_or_directory_that_is_missing_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("no/such");
    let path = missing.to_str().unwrap();
    for name in ["sewer-pixel", "sewer-shipper"] {
        let finished = run(&binary(name), &["--config", path]);
        assert_refused(name, &finished, 2, &[path, "No such file or directory"]);
    }
    let set = format!("wal.dir={path}");
    let pixel = Pixel::new(BINARY, directory.path(), &[&set]);
    let finished = run(&binary("sewer-pixel"), &pixel.args());
    assert_refused("sewer-pixel", &finished, 1, &[path, "No such file or directory"]);
    assert!(!missing.parent().unwrap().exists(), "a disk that is not mounted is not made up for");

    let shipper = Shipper::new(BINARY, directory.path(), "file:///tmp", &[&set]);
    let finished = shipper.run(&[]);
    assert_refused("sewer-shipper", &finished, 1, &[path, "sewer-pixel", "wal.dir"]);
    let finished = shipper.run(&["--cat", path]);
    assert_refused("sewer-shipper", &finished, 1, &[path, "No such file or directory"]);
    for command in ["dump", "stat", "verify"] {
        let finished = sewer_wal(BINARY, &[command, path]);
        assert_refused("sewer-wal", &finished, 3, &[path, "No such file or directory"]);
    }
    let finished = sewer_wal(BINARY, &[Path::new("verify"), directory.path()]);
    assert_refused("sewer-wal", &finished, 3, &[directory.path().to_str().unwrap(), "ID"]);
}

#[test]
fn a_port_in_use_is_named_with_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let port = ports::reserve();
    let _holder = TcpListener::bind(port.address()).unwrap();
    for key in ["pixel.listen", "status.listen"] {
        let set = format!("{key}={}", port.address());
        let pixel = Pixel::new(BINARY, directory.path(), &[&set]);
        let finished = run(&binary("sewer-pixel"), &pixel.args());
        let words = [&port.address()[..], key, "Address already in use"];
        assert_refused("sewer-pixel", &finished, 1, &words);
        assert!(!pixel.wal_dir().exists(), "the WAL is left alone");
    }
    let _pixel = Pixel::started(BINARY, directory.path(), &[]);
    let set = format!("status.listen={}", port.address());
    let shipper = Shipper::new(BINARY, directory.path(), "file:///tmp", &[&set]);
    let words = [&port.address()[..], "status.listen", "Address already in use"];
    assert_refused("sewer-shipper", &shipper.run(&[]), 1, &words);
}

#[test]
fn a_wal_in_use_is_named_with_who_uses_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = Pixel::started(BINARY, directory.path(), &[]);
    let pid = first.process().pid().to_string();
    let other = tempfile::tempdir().unwrap();
    let set = format!("wal.dir={}", first.wal_dir().display());
    let second = Pixel::new(BINARY, other.path(), &[&set]);
    let finished = run(&binary("sewer-pixel"), &second.args());
    let wal = first.wal_dir();
    let words = [wal.to_str().unwrap(), "in use", &pid, "wal.dir"];
    assert_refused("sewer-pixel", &finished, 1, &words);
    assert_eq!(first.status("/").status, 200, "the first one goes on");
}

#[test]
fn two_shippers_on_one_wal_exclude_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    let uri = format!("file://{}/out", directory.path().display());
    let mut first = Shipper::new(BINARY, directory.path(), &uri, &[]);
    first.start();
    first.wait_until_ready();
    let other = tempfile::tempdir().unwrap();
    let set = format!("wal.dir={}", pixel.wal_dir().display());
    let second = Shipper::new(BINARY, other.path(), &uri, &[&set]);
    let wal = pixel.wal_dir();
    for args in [&[][..], &["--replay"]] {
        let finished = second.run(args);
        let words = ["another shipper", wal.to_str().unwrap()];
        assert_refused("sewer-shipper", &finished, 1, &words);
    }
    first.kill();
    second.run(&["--replay"]).expect_success();
}

#[test]
fn an_unreachable_namenode_keeps_nothing_from_starting_and_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    let nobody = ports::reserve();
    let uri = format!("hdfs://{}", nobody.address());
    let sets = ["retry.replay_patience=1s", "retry.max=200ms"];
    let mut shipper = Shipper::new(BINARY, directory.path(), &uri, &sets);

    let check = shipper.run(&["--check"]);
    assert_eq!(check.code, Some(1), "{}{}", check.stdout, check.stderr);
    let failed: Vec<_> = check.stdout.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert_eq!(failed.len(), 1, "{}", check.stdout);
    assert!(failed[0].contains("destination") && failed[0].contains("refused"), "{}", failed[0]);

    shipper.start();
    shipper.wait_until_ready();
    assert_eq!(http::get(&pixel.address(), "/p").unwrap().status, 204);
    let refused = || {
        let metrics = shipper.metrics();
        metrics.get("sewer_shipper_retries_total{reason=\"connection\"}").is_some_and(|n| *n >= 3.0)
    };
    assert!(eventually(PATIENCE, refused), "it tries again and again: {:#?}", shipper.metrics());
    assert_eq!(http::get(&shipper.status_address(), "/").unwrap().status, 200);
    assert!(shipper.metrics()["sewer_shipper_lag_seconds"] > 0.0);
    shipper.stop();

    let replay = shipper.run(&["--replay"]);
    assert_eq!(replay.code, Some(1), "{}{}", replay.stdout, replay.stderr);
    assert!(replay.stdout.contains("1 events in 1 segments"), "{}", replay.stdout);
    assert_eq!(pixel.dump().len(), 1, "nothing is given up");
}

#[test]
fn check_says_a_line_for_each_thing_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::new(BINARY, directory.path(), &[]);
    let check = [&pixel.args()[..], &["--check".to_owned()]].concat();
    let sound = run(&binary("sewer-pixel"), &check).expect_success();
    assert_eq!(marks(&sound), ["ok"; 5], "{sound}");
    assert!(!pixel.wal_dir().exists(), "--check makes nothing");

    let _holder = TcpListener::bind(pixel.address()).unwrap();
    fs::write(pixel.wal_dir(), "no directory").unwrap();
    let finished = run(&binary("sewer-pixel"), &check);
    assert_eq!(finished.code, Some(1), "{}", finished.stdout);
    assert_eq!(marks(&finished.stdout), ["ok", "FAIL", "FAIL", "ok", "ok"], "{}", finished.stdout);
    assert!(finished.stdout.contains(&pixel.address()), "{}", finished.stdout);
    fs::remove_file(pixel.wal_dir()).unwrap();
}

#[test]
fn the_shippers_check_says_a_line_for_each_thing() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    fs::create_dir(&out).unwrap();
    let uri = format!("file://{}", out.display());
    let shipper = Shipper::new(BINARY, directory.path(), &uri, &[]);
    let finished = shipper.run(&["--check"]);
    assert_eq!(finished.code, Some(1), "{}", finished.stdout);
    assert_eq!(
        marks(&finished.stdout),
        ["ok", "FAIL", "ok", "ok", "ok", "ok"],
        "{}",
        finished.stdout
    );

    let mut pixel = Pixel::started(BINARY, directory.path(), &[]);
    let sound = shipper.run(&["--check"]).expect_success();
    assert_eq!(marks(&sound), ["ok"; 6], "{sound}");
    pixel.stop();
    let files: Vec<_> = walk(&out).into_iter().filter(|path| path.is_file()).collect();
    assert_eq!(files, Vec::<PathBuf>::new(), "the probe is removed");
}

/// The first word of each line.
fn marks(lines: &str) -> Vec<&str> {
    lines.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    match fs::read_dir(dir) {
        Ok(entries) => entries
            .map(|entry| entry.unwrap().path())
            .flat_map(|path| [vec![path.clone()], walk(&path)].concat())
            .collect(),
        Err(e) if e.kind() == ErrorKind::NotADirectory => Vec::new(),
        Err(e) => panic!("list {}: {e}", dir.display()),
    }
}
