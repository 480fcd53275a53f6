//! A segment that is emptied, zeroed or cut: the names of its neighbours, the log or the file `ID`
//! tell what is gone, and every report names it by LSN. What nothing tells is reported as unknown.
//! A loss is never reported as none.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use bytesize::ByteSize;
use serde_json::Value;
use sewer_shipper::plan::backlog::Backlog;
use sewer_shipper::plan::{self, Losses};
use sewer_test_support::command::Finished;
use sewer_test_support::shipper::Shipper;
use sewer_wal::{Batch, Event, Lsn, look_up_identity};

use crate::node::{Node, append};

/// Six segments with three events each, every one a batch of its own.
fn six_segments() -> Node {
    let node = Node::with_segments(&[&[1, 1, 1][..]; 6]);
    assert_eq!(node.bases(), [0, 3, 6, 9, 12, 15]);
    node
}

/// What is done to a segment.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Empty,
    Zero,
    Halve,
}

fn harm(file: &PathBuf, harm: Harm) {
    let bytes = fs::read(file).unwrap();
    let left = match harm {
        Harm::Empty => Vec::new(),
        Harm::Zero => vec![0; bytes.len()],
        Harm::Halve => bytes[..bytes.len() / 2].to_vec(),
    };
    fs::write(file, left).unwrap();
}

fn replay(shipper: &Shipper) -> Finished {
    let replay = shipper.run(&["--replay"]);
    assert_eq!(replay.code, Some(0), "{replay:?}");
    replay
}

fn report(node: &Node, base: u64) -> Value {
    let path = node.layout.quarantine_report(Lsn(base).into());
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn what_a_segment_has_lost_is_named_by_lsn_wherever_it_is_reported() {
    let cases: [(u64, Harm, &str); 6] = [
        (6, Harm::Empty, "6..=8"),
        (6, Harm::Zero, "6..=8"),
        (0, Harm::Zero, "0..=2"),
        (15, Harm::Zero, "15..=17"),
        (15, Harm::Empty, "15..=17"),
        (6, Harm::Halve, "7..=8"),
    ];
    for ((base, how, lost), max_bytes) in
        cases.iter().flat_map(|case| [(case, "1B"), (case, "1GiB")])
    {
        let what = format!("{how:?} {base}, shipments of {max_bytes}");
        let node = six_segments();
        harm(&node.sealed(*base), *how);
        let shipper = node.shipper(&[&format!("roll.max_bytes={max_bytes}")]);
        // While it is still to be shipped.
        let before = shipper.run(&["--audit"]);
        assert_eq!(before.code, Some(1), "{what}: {before:?}");
        assert!(before.stdout.contains(&format!("LSN {lost} lost:")), "{what}: {before:?}");
        assert!(!before.stdout.contains("GAP"), "{what}: {before:?}");

        let replay = replay(&shipper);
        let (first, last) = lost.split_once("..=").unwrap();
        let (first, last): (u64, u64) = (first.parse().unwrap(), last.parse().unwrap());
        let count = last - first + 1;
        let told = format!("1 segments quarantined, {count} events lost to damage\n");
        assert!(replay.stdout.contains(&told), "{what}: {replay:?}");
        let logged = format!("events_lost={count} lsns_lost=\"{lost}\"");
        assert!(replay.stderr.contains(&logged), "{what}: {replay:?}");

        let report = report(&node, *base);
        assert_eq!(report["events_lost"], count, "{what}: {report}");
        assert_eq!(node.lost(*base), (first..=last).collect(), "{what}: {report}");
        let rows = node.lsns();
        let expected: Vec<_> = (0..18).filter(|lsn| !(first..=last).contains(lsn)).collect();
        assert_eq!(rows, expected, "{what}");

        let audit = shipper.run(&["--audit"]);
        assert_eq!(audit.code, Some(1), "{what}: {audit:?}");
        let told = format!("LOST to damage, as reported: LSN {lost}\nNOT complete: 1 problems");
        assert!(audit.stdout.contains(&told), "{what}: {audit:?}");
    }
}

#[test]
fn an_event_of_a_time_that_no_calendar_has_stops_nothing_and_is_lost_alone() {
    for time_ms in [i64::MAX, i64::MIN, 1 << 62] {
        let node = Node::with_segments(&[&[2]]);
        let mut wal = node.open_wal();
        let mut batch = Batch::default();
        for lsn in 2..5_i64 {
            let path = lsn.to_string();
            let timestamp_ms = if lsn == 3 { time_ms } else { 1_000 + lsn };
            let request_path = Some(path.as_bytes());
            batch.push(&Event { timestamp_ms, request_path, ..Event::default() }).unwrap();
        }
        wal.append(&batch).unwrap();
        append(&mut wal, &[1]);
        wal.close().unwrap();
        let shipped = node.ship();
        assert_eq!(shipped.lsns, [0, 1, 2, 4, 5], "{time_ms}: {shipped:?}");
        assert_eq!(shipped.counted.losses, Losses { events: 1, uncounted: 0 }, "{time_ms}");
        assert_eq!((node.left(), node.lost(2)), (0, [3].into()), "{time_ms}");
    }
}

#[test]
fn lost_events_are_counted_in_the_metrics() {
    let node = six_segments();
    harm(&node.sealed(6), Harm::Zero);
    harm(&node.sealed(9), Harm::Empty);
    let shipped = node.ship();
    assert_eq!(shipped.counted.losses, Losses { events: 6, uncounted: 0 }, "{shipped:?}");
    let lost: BTreeSet<_> = [6, 9].iter().flat_map(|base| node.lost(*base)).collect();
    assert_eq!(lost, (6..12).collect(), "a damaged neighbour tells where it begins");
}

#[test]
fn a_loss_that_nothing_counts_is_reported_as_unknown_and_never_as_none() {
    for (how, rows) in [(Harm::Zero, 15), (Harm::Halve, 16)] {
        let node = six_segments();
        harm(&node.sealed(15), how);
        node.forget_next_lsn();
        let shipper = node.shipper(&[]);
        let from = format!("LSN {rows} and up");
        let before = shipper.run(&["--audit"]);
        assert_eq!(before.code, Some(1), "{before:?}");
        assert!(before.stdout.contains(&format!("{from} lost:")), "{before:?}");
        let dry = shipper.run(&["--replay", "--dry-run"]).expect_success();
        let uncounted = "0 events lost to damage, and in 1 segments an unknown number more";
        assert!(dry.contains(uncounted), "{dry}");
        let replay = replay(&shipper);
        assert!(replay.stdout.contains(uncounted), "{replay:?}");
        let logged = format!("events_lost=unknown lsns_lost=\"{rows} and up\"");
        assert!(replay.stderr.contains(&logged), "{replay:?}");
        assert_eq!(node.lsns(), (0..rows).collect::<Vec<_>>());
        let report = report(&node, 15);
        assert_eq!(report["events_lost"], Value::Null, "{report}");
        let damage = report["damage"].as_array().unwrap();
        let last = &damage[damage.len() - 1];
        assert_eq!((&last["first_lost_lsn"], &last["last_lost_lsn"]), (&rows.into(), &Value::Null));
        let audit = shipper.run(&["--audit"]);
        assert_eq!(audit.code, Some(1), "{audit:?}");
        let told = format!("LOST to damage, as reported: {from}, nothing tells how many events");
        assert!(audit.stdout.contains(&told), "{audit:?}");
    }
    let node = six_segments();
    harm(&node.sealed(15), Harm::Zero);
    node.forget_next_lsn();
    let shipped = node.ship();
    assert_eq!(shipped.counted.losses, Losses { events: 0, uncounted: 1 }, "{shipped:?}");
}

/// The pixel's note of a clean stop is enough, and so is the log of one that still runs.
#[test]
fn the_end_of_the_last_segment_is_told_by_the_log_or_by_the_note_of_a_clean_stop() {
    let noted = six_segments();
    fs::remove_dir_all(noted.layout.active_dir()).unwrap();
    let running = six_segments();
    let mut wal = running.open_wal();
    append(&mut wal, &[2]);
    for node in [&noted, &running] {
        harm(&node.sealed(15), Harm::Zero);
        assert_eq!(node.ship().counted.losses, Losses { events: 3, uncounted: 0 });
        assert_eq!(node.lost(15), (15..18).collect());
    }
    wal.close().unwrap();
}

#[test]
fn a_segment_in_the_middle_of_a_shipment_that_is_lost_after_it_was_seen_is_named_too() {
    let node = six_segments();
    let identity = look_up_identity(&node.layout).unwrap().unwrap();
    let mut backlog = Backlog::new(node.layout.clone(), identity.clone());
    backlog.refresh().unwrap();
    for (base, how) in [(6, Harm::Zero), (15, Harm::Halve)] {
        harm(&node.sealed(base), how);
    }
    // Nothing but what was seen tells where the last one ended.
    node.forget_next_lsn();
    let due = backlog.due(&node.config.roll, &BTreeSet::new(), true).unwrap();
    let plan = plan::make(&node.layout, &identity, &due, &node.config, "h").unwrap();
    assert_eq!((plan.first_lsn.0, plan.last_lsn.0, plan.segments.len()), (0, 17, 6));
    assert_eq!(plan.losses(), Losses { events: 5, uncounted: 0 });
    let lost = |index: usize| {
        let damage: &[plan::DamageReport] = &plan.damaged[index].damage;
        damage.iter().map(ToString::to_string).filter(|lost| lost != "none").collect::<Vec<_>>()
    };
    assert_eq!((lost(0), lost(1)), (vec!["6..=8".to_owned()], vec!["16..=17".to_owned()]));
    let name = &plan.outputs[0].name;
    assert!(name.ends_with(&format!("-{:020}-{:020}.seq", 0, 17)), "{name}");
}

/// Earlier builds have quarantined such segments with reports that name nothing.
#[test]
fn a_report_of_an_earlier_build_that_names_no_loss_does_not_make_the_audit_complete() {
    let mut node = six_segments();
    node.config.roll.max_bytes = ByteSize(1);
    fs::remove_file(node.sealed(0)).unwrap();
    node.ship();
    let shipper = node.shipper(&[]);
    let complete = shipper.run(&["--audit"]).expect_success();
    assert!(complete.contains("complete from LSN 3 to LSN 17"), "{complete}");
    let id = look_up_identity(&node.layout).unwrap().unwrap().id;
    let report = format!(
        "{{\"wal_id\":\"{id}\",\"segment\":0,\"shipment_first_lsn\":0,\"shipment_last_lsn\":0,\
         \"events_shipped\":0,\"events_lost\":0,\"damage\":[{{\"offset\":0,\
         \"reason\":\"no intact log header\",\"first_lost_lsn\":null,\"last_lost_lsn\":null}}]}}"
    );
    fs::write(node.layout.quarantine_report(Lsn(0).into()), report).unwrap();
    let audit = shipper.run(&["--audit"]);
    assert_eq!(audit.code, Some(1), "{audit:?}");
    assert!(audit.stdout.contains("GAP LSN 0..=2: 3 events are nowhere"), "{audit:?}");
}

#[test]
fn what_quarantine_holds_without_telling_what_is_lost_is_a_problem_for_the_audit() {
    let node = six_segments();
    let shipper = node.shipper(&[]);
    shipper.run(&["--replay"]).expect_success();
    shipper.run(&["--audit"]).expect_success();
    let quarantine = node.layout.quarantine_dir();
    for (name, bytes, told) in [
        ("log-00000000000000000007-0badcafe", "", "the log"),
        ("00000000000000000018.seg", "", "cannot be read: No such file"),
        ("00000000000000000018.json", "{", "is not one: EOF"),
    ] {
        let path = quarantine.join(name);
        fs::write(&path, bytes).unwrap();
        let audit = shipper.run(&["--audit"]);
        assert_eq!(audit.code, Some(1), "{audit:?}");
        let line = audit.stdout.lines().find(|line| line.starts_with("LOST to damage, nothing"));
        let line = line.unwrap_or_else(|| panic!("{audit:?}"));
        assert!(line.contains(name.split('.').next().unwrap()) && line.contains(told), "{line}");
        fs::remove_file(&path).unwrap();
    }
    shipper.run(&["--audit"]).expect_success();
}

/// A log that nothing can be read of is put aside by the next start of a pixel, which says so, and
/// by a replay; the audit then never says "complete".
#[test]
fn a_log_that_is_put_aside_as_unreadable_is_never_passed_over() {
    let node = Node::with_segments(&[&[1, 1]]);
    let mut wal = node.open_wal();
    append(&mut wal, &[1, 1]);
    let log = node.layout.log_file(wal.segment());
    drop(wal); // as a crash leaves it
    let mut bytes = fs::read(&log).unwrap();
    for at in [0, 4096, 8192, 12_288, 16_384, 20_480] {
        bytes[at..at + 100].fill(0xaa);
    }
    fs::write(&log, bytes).unwrap();
    let shipper = node.shipper(&[]);
    let replay = shipper.run(&["--replay"]);
    assert!(replay.stderr.contains("nothing can be read of the log"), "{replay:?}");
    let aside = node.layout.quarantined_logs().unwrap();
    assert_eq!(aside.len(), 1, "{replay:?}");
    let audit = shipper.run(&["--audit"]);
    assert_eq!(audit.code, Some(1), "{audit:?}");
    assert!(audit.stdout.contains(&aside[0].display().to_string()), "{audit:?}");
    assert!(audit.stdout.contains("NOT complete"), "{audit:?}");
}
