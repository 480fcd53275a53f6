//! The words of both daemons to their operator: every mistake of a configuration at once, each
//! value with its layer, why a node takes nothing, and lines as systemd's journal and scripts read
//! them.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use serde_json::Value;
use sewer_test_support::command::Finished;
use sewer_test_support::http;
use sewer_test_support::pixel::{Pixel, READY_WAIT, run};
use sewer_test_support::process::{Process, eventually, sibling};
use sewer_test_support::shipper::Shipper;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// Runs both daemons with a configuration file and further arguments, each to its end.
fn both(text: &str, args: &[&str]) -> [(&'static str, Finished, String); 2] {
    ["sewer-pixel", "sewer-shipper"].map(|name| {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sewer.toml");
        fs::write(&file, text).unwrap();
        let file = file.display().to_string();
        let finished = run(&sibling(BINARY, name), &[&["--config", &file], args].concat());
        (name, finished, file)
    })
}

#[test]
fn every_mistake_of_a_configuration_is_told_at_once_with_its_line_and_layer() {
    let text = "[wal]\ndri = \"x\"\n\n[log]\nformat = \"loud\"\n";
    for (name, finished, file) in both(text, &["--set", "status.max=1"]) {
        assert_eq!(finished.code, Some(2), "{name}: {}", finished.stderr);
        let told = |begin: &str| finished.stderr.lines().any(|line| line.starts_with(begin));
        for (place, problem) in [
            (format!("{file}:2"), "unknown key `wal.dri`"),
            (format!("{file}:5"), "key `log.format`"),
            ("--set".to_owned(), "unknown key `status.max`"),
        ] {
            let begin = format!("{name}: {place}: {problem}");
            assert!(told(&begin), "{begin} is not in:\n{}", finished.stderr);
        }
    }
}

#[test]
fn a_value_out_of_range_is_told_with_its_line_and_a_misspelt_level_with_those_there_are() {
    for (name, finished, file) in both("[log]\nlevel = \"warning\"\n", &["--check"]) {
        assert_eq!(finished.code, Some(2), "{name}: {}", finished.stderr);
        let begin = format!("{name}: {file}:2: key `log.level`: \"warning\" is none of ");
        assert!(finished.stderr.starts_with(&begin), "{}", finished.stderr);
    }
    let [(_, finished, file), _] = both("[pixel]\n\nkeep_alive = \"1ms\"\n", &["--check"]);
    let begin = format!("sewer-pixel: {file}:3: key `pixel.keep_alive`: ");
    assert!(finished.stderr.starts_with(&begin), "{}", finished.stderr);
}

#[test]
fn what_is_wrong_is_told_in_the_format_of_the_log() {
    let text = "[log]\nformat = \"json\"\n[wal]\ndri = \"x\"\n";
    for (name, finished, file) in both(text, &[]) {
        let line: Value = serde_json::from_str(finished.stderr.trim())
            .unwrap_or_else(|e| panic!("{name}: {e}: {}", finished.stderr));
        assert_eq!((&line["level"], &line["program"]), (&"ERROR".into(), &name.into()));
        let message = line["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("{file}:4: unknown key")), "{message}");
    }
}

#[test]
fn the_effective_configuration_is_printed_with_the_layer_of_each_value() {
    let args = ["--print-config", "--set", "status.listen=127.0.0.1:1"];
    for (name, finished, file) in both("[wal]\ndir = \"/there\"\n", &args) {
        let printed = finished.expect_success();
        for line in [
            format!("dir = \"/there\"  # {file}:2"),
            "listen = \"127.0.0.1:1\"  # --set".to_owned(),
            "level = \"info\"  # default".to_owned(),
        ] {
            assert!(printed.lines().any(|printed| printed == line), "{name}: {line}:\n{printed}");
        }
        // It is a configuration itself.
        let again = both(&printed, &["--print-config"]);
        assert!(again.iter().any(|(of, finished, _)| *of == name && finished.code == Some(0)));
    }
}

#[test]
fn lines_of_the_journal_begin_with_their_priority() {
    let directory = tempfile::tempdir().unwrap();
    let log: PathBuf = directory.path().join("journal");
    let data = File::create(&log).unwrap().metadata().unwrap();
    let stream = ("JOURNAL_STREAM".to_owned(), format!("{}:{}", data.dev(), data.ino()));
    let pixel = Pixel::new(BINARY, directory.path(), &[]);
    let binary = sibling(BINARY, "sewer-pixel");
    let mut process = Process::start_with(&binary, &pixel.args(), &[stream], &log);
    let lines = || fs::read_to_string(&log).unwrap();
    assert!(eventually(READY_WAIT, || lines().contains("serving")), "{}", lines());
    process.kill();
    for line in lines().lines() {
        let is_right =
            |(level, priority): (&str, &str)| line.contains(level) && line.starts_with(priority);
        let levels = [(" INFO ", "<6>"), (" WARN ", "<4>"), ("ERROR ", "<3>")];
        assert!(levels.into_iter().any(is_right), "{line}");
    }
}

/// The status and the body of a path of a pixel's status port.
fn told(pixel: &Pixel, path: &str) -> (u16, String) {
    let response = pixel.status(path);
    (response.status, response.body)
}

#[test]
fn a_pixel_that_takes_nothing_says_why_in_a_sentence_and_lives() {
    for (set, key) in
        [("wal.min_free_bytes=9EiB", "wal.min_free_bytes"), ("wal.max_bytes=1B", "wal.max_bytes")]
    {
        let directory = tempfile::tempdir().unwrap();
        let mut pixel = Pixel::new(BINARY, directory.path(), &[set]);
        pixel.start();
        let is_full = || {
            let answer = http::get(&pixel.status_address(), "/");
            answer.is_ok_and(|answer| answer.body.contains("full"))
        };
        assert!(eventually(READY_WAIT, is_full), "{key}");
        for path in ["/", "/healthz", "/of/a/load/balancer"] {
            let (status, body) = told(&pixel, path);
            assert_eq!(status, 503, "{path}");
            assert!(body.contains(key) && body.lines().count() == 1, "{path}: {body}");
        }
        assert_eq!(told(&pixel, "/livez"), (200, String::new()));
    }
}

#[test]
fn a_mistyped_path_is_404_where_that_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &["status.any_path=false"]);
    for path in ["/", "/healthz", "/livez"] {
        assert_eq!(told(&pixel, path), (200, String::new()), "{path}");
    }
    let (status, body) = told(&pixel, "/metric");
    assert_eq!(status, 404);
    assert!(body.contains("/metrics"), "{body}");
    let other = tempfile::tempdir().unwrap();
    assert_eq!(told(&Pixel::started(BINARY, other.path(), &[]), "/metric"), (200, String::new()));
    let mut shipper = Shipper::new(BINARY, directory.path(), "file:///tmp", &[]);
    shipper.start();
    shipper.wait_until_ready();
    let get = |path: &str| http::get(&shipper.status_address(), path).unwrap().status;
    assert_eq!(["/", "/healthz", "/livez", "/metric"].map(get), [200, 200, 200, 404]);
}
