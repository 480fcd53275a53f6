//! `sewer-wal`: what each command prints, for people and for scripts, and the code with which it
//! ends: 0, 1 for damage, 2 for a mistake on the command line, 3 where it could not look.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sewer_test_support::command::Finished;
use sewer_test_support::pixel::sewer_wal;
use sewer_test_support::process::{Process, eventually};
use sewer_wal::{Layout, Lsn, Wal, sealed};
use tempfile::TempDir;

use crate::common::{OPTIONS, batch, wal_dir};

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-wal");

const PATIENCE: Duration = Duration::from_secs(20);

fn run(args: &[&str], path: &Path) -> Finished {
    sewer_wal(BINARY, &[args, &[path.to_str().unwrap()]].concat())
}

fn json(args: &[&str], path: &Path) -> (Option<i32>, Value) {
    let finished = run(args, path);
    let value = serde_json::from_str(&finished.stdout);
    (finished.code, value.unwrap_or_else(|e| panic!("{e}: {}{}", finished.stdout, finished.stderr)))
}

/// Three segments of two events each, and a log with one.
fn wal() -> (TempDir, Layout, Wal) {
    let (dir, layout) = wal_dir();
    for life in 0..3 {
        let (mut wal, _) = Wal::open(layout.clone(), OPTIONS).unwrap();
        wal.append(&batch(2 * life, 2)).unwrap();
        wal.close().unwrap();
    }
    let (mut wal, _) = Wal::open(layout.clone(), OPTIONS).unwrap();
    wal.append(&batch(6, 1)).unwrap();
    (dir, layout, wal)
}

fn damage_footer(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() - 40;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn stat_lists_each_file_and_all_that_is_there() {
    let (_dir, layout, _wal) = wal();
    let sound = run(&["stat"], layout.root());
    assert_eq!(sound.code, Some(0), "{}{}", sound.stdout, sound.stderr);
    for words in ["sealed/00000000000000000002.seg", "wal-1", "7 events"] {
        assert!(sound.stdout.contains(words), "{words}: {}", sound.stdout);
    }
    let (code, told) = json(&["stat", "--json"], layout.root());
    assert_eq!((code, &told["events"]), (Some(0), &7.into()));
    let states: Vec<_> =
        told["files"].as_array().unwrap().iter().map(|row| &row["state"]).collect();
    assert_eq!(states[..4], ["sealed", "sealed", "sealed", "active"]);
    assert_eq!(told["files"][1]["last_lsn"], 3);
    assert_eq!(told["wal_id"], told["files"][0]["wal_id"]);
}

/// What is done to a segment of a WAL.
type Harm = fn(PathBuf, &Layout);

#[test]
fn stat_exits_1_for_a_damaged_segment_a_misnamed_one_and_a_foreign_file() {
    let harms: [(&str, Harm); 3] = [
        ("damaged", |path, _| damage_footer(&path)),
        ("misnamed", |path, layout| {
            fs::copy(path, layout.sealed_file(Lsn(999))).unwrap();
        }),
        ("foreign.txt", |_, layout| {
            fs::write(layout.sealed_dir().join("foreign.txt"), "x").unwrap();
        }),
    ];
    for (word, harm) in harms {
        let (_dir, layout, _wal) = wal();
        harm(layout.sealed_file(Lsn(2)), &layout);
        let finished = run(&["stat"], layout.root());
        assert_eq!(finished.code, Some(1), "{word}: {}", finished.stdout);
        assert!(finished.stdout.contains(word), "{word}: {}", finished.stdout);
    }
}

#[test]
fn stat_names_what_is_in_quarantine_and_the_wal_though_its_id_is_damaged() {
    let (_dir, layout, wal) = wal();
    let id = sewer_wal::look_up_identity(&layout).unwrap().unwrap().id.to_string();
    let segment = sealed::list(&layout).unwrap().remove(0);
    let kept = sealed::quarantine(&layout, segment.name, b"{}").unwrap();
    drop(wal);
    fs::write(layout.id_file(), "nonsense").unwrap();
    for log in layout.log_numbers().unwrap() {
        fs::remove_dir_all(layout.log_dir(log)).unwrap();
    }
    let told = run(&["stat"], layout.root()).expect_success();
    for words in ["in quarantine", kept.to_str().unwrap(), &id] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

#[test]
fn verify_ends_with_a_summary_and_quiet_leaves_out_what_is_sound() {
    let (_dir, layout, _wal) = wal();
    let quiet = run(&["verify", "--quiet"], layout.root());
    assert_eq!((quiet.code, &quiet.stdout[..]), (Some(0), "4 files, 7 events: sound\n"));
    fs::remove_file(layout.sealed_file(Lsn(2))).unwrap();
    let gap = run(&["verify", "--quiet"], layout.root());
    assert_eq!(gap.code, Some(1));
    let lines: Vec<_> = gap.stdout.lines().collect();
    assert!(lines[0].contains("2 events are missing before it"), "{lines:?}");
    assert_eq!(lines[1], "3 files, 5 events: 1 with damage, 2 events known to be lost");
    let (code, told) = json(&["verify", "--json"], layout.root());
    assert_eq!((code, &told["lost_events"]), (Some(1), &2.into()));
}

#[test]
fn dump_takes_times_and_durations() {
    let (_dir, layout, _wal) = wal();
    let lsns = |args: &[&str]| {
        let finished = run(&[&["dump"], args].concat(), layout.root());
        let lines = finished.expect_success();
        let lsns = lines.lines().map(|line| line.split('\t').next().unwrap().to_owned());
        lsns.collect::<Vec<_>>().join(" ")
    };
    // Events are a millisecond apart, from the second second of 1970 on.
    assert_eq!(lsns(&["--since", "1970-01-01T00:00:01.003Z"]), "3 4 5 6");
    assert_eq!(lsns(&["--until", "1970-01-01 00:00:01.003"]), "0 1 2");
    assert_eq!(lsns(&["--since", "10m"]), "");
    assert_eq!(run(&["dump", "--since", "yesterday"], layout.root()).code, Some(2));
}

#[test]
fn dump_follows_a_wal_over_its_rolls() {
    let (dir, layout, mut wal) = wal();
    let log = dir.path().join("followed");
    let command = "exec \"$0\" dump --follow --from 5 \"$1\" >&2";
    let args = ["-c", command, BINARY, layout.root().to_str().unwrap()];
    let mut follower = Process::start(Path::new("/bin/sh"), &args, &log);
    let seen = || {
        let lines = fs::read_to_string(&log).unwrap_or_default();
        let lsns = lines.lines().map(|line| line.split('\t').next().unwrap().to_owned());
        lsns.collect::<Vec<_>>().join(" ")
    };
    assert!(eventually(PATIENCE, || seen() == "5 6"), "{}", seen());
    for number in 7..9 {
        wal.append(&batch(number, 1)).unwrap();
        wal.close().unwrap();
        wal = Wal::open(layout.clone(), OPTIONS).unwrap().0;
    }
    assert!(eventually(PATIENCE, || seen() == "5 6 7 8"), "{}", seen());
    follower.kill();
}

#[test]
fn what_cannot_be_looked_at_is_told_apart_from_damage() {
    let (_dir, layout, _wal) = wal();
    let nowhere = layout.root().join("nowhere");
    for args in [&["dump"][..], &["stat"], &["stat", "--json"], &["verify"]] {
        let finished = run(args, &nowhere);
        assert_eq!(finished.code, Some(3), "{args:?}: {}", finished.stderr);
        assert!(finished.stderr.contains("nowhere"), "{}", finished.stderr);
    }
    assert_eq!(run(&["stat"], &layout.sealed_file(Lsn(0))).code, Some(3));
    assert_eq!(run(&["stat", "--no-such-option"], layout.root()).code, Some(2));
}
