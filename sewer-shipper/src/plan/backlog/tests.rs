//! The run that is due, by figures alone.

use super::*;
use bytesize::ByteSize;
use std::num::NonZeroU64;

/// Segments of 10 events and 100 bytes each, at the given bases, all of them `age_ms` old.
fn backlog(bases: &[u64], age_ms: i64) -> Backlog {
    let mut backlog = Backlog::new(Layout::new("/nowhere"), Identity::new(WalId(1)));
    for &base in bases {
        add(&mut backlog, Lsn(base).into(), WalId(1), age_ms);
    }
    backlog
}

fn add(backlog: &mut Backlog, name: SegmentName, wal_id: WalId, age_ms: i64) {
    let timestamp = now_ms() - age_ms;
    let (first_timestamp_ms, last_timestamp_ms) = (timestamp, timestamp);
    let content = Content { events: 10, first_timestamp_ms, last_timestamp_ms, is_sure: true };
    let content = Some(content);
    let waiting = Waiting { name, wal_id, bytes: 100, content, seen: Instant::now() };
    backlog.segments.insert(name, waiting);
}

fn roll(max_bytes: u64) -> RollConfig {
    let max_bytes = ByteSize(max_bytes);
    RollConfig { max_age: Duration::from_mins(1), max_bytes, ..RollConfig::default() }
}

fn due(backlog: &mut Backlog, roll: &RollConfig, force: bool) -> Option<Vec<u64>> {
    due_beside(backlog, roll, &[], force)
}

fn due_beside(
    backlog: &mut Backlog,
    roll: &RollConfig,
    claimed: &[u64],
    force: bool,
) -> Option<Vec<u64>> {
    let claimed = claimed.iter().map(|base| Lsn(*base).into()).collect();
    let run = backlog.due(roll, &claimed, force)?;
    Some(run.segments.iter().map(|segment| segment.name.base.0).collect())
}

#[test]
fn young_segments_wait_until_they_are_old_or_many() {
    let mut young = backlog(&[0, 10], 1_000);
    assert_eq!(due(&mut young, &roll(1_000), false), None);
    assert_eq!(due(&mut young, &roll(1_000), true), Some(vec![0, 10]));
    assert_eq!(due(&mut young, &roll(200), false), Some(vec![0, 10]));
    assert_eq!(due(&mut backlog(&[0, 10, 20], 1_000), &roll(250), false), Some(vec![0, 10]));
    assert_eq!(due(&mut backlog(&[0, 10], 61_000), &roll(1_000), false), Some(vec![0, 10]));
}

#[test]
fn a_run_ends_where_lsns_are_missing() {
    assert_eq!(due(&mut backlog(&[0, 20], 1_000), &roll(1_000), false), Some(vec![0]));
}

#[test]
fn a_segment_over_the_limit_is_shipped_alone() {
    assert_eq!(due(&mut backlog(&[0, 10], 1_000), &roll(50), false), Some(vec![0]));
}

#[test]
fn a_clock_that_was_ahead_does_not_hold_segments_back_for_ever() {
    let mut ahead = backlog(&[0], -3_600_000);
    assert_eq!(due(&mut ahead, &roll(1_000), false), None);
    let first = ahead.segments.get_mut(&Lsn(0).into()).unwrap();
    first.seen = Instant::now().checked_sub(Duration::from_secs(61)).unwrap();
    assert_eq!(due(&mut ahead, &roll(1_000), false), Some(vec![0]));
}

#[test]
fn a_run_ends_at_the_limit_of_events() {
    let twenty = RollConfig { max_events: NonZeroU64::new(20), ..roll(10_000) };
    assert_eq!(due(&mut backlog(&[0], 1_000), &twenty, false), None);
    assert_eq!(due(&mut backlog(&[0, 10], 1_000), &twenty, false), Some(vec![0, 10]));
    assert_eq!(due(&mut backlog(&[0, 10, 20], 1_000), &twenty, false), Some(vec![0, 10]));
}

#[test]
fn what_a_shipment_has_is_left_to_it() {
    let mut all = backlog(&[0, 10, 20, 30], 61_000);
    assert_eq!(due_beside(&mut all, &roll(200), &[0, 10], false), Some(vec![20, 30]));
    assert_eq!(due_beside(&mut all, &roll(1_000), &[10], false), Some(vec![0]), "20 does not join");
    assert_eq!(due_beside(&mut all, &roll(1_000), &[0, 10, 20, 30], true), None);
}

#[test]
fn even_rolls_come_at_multiples_of_the_age_on_the_clock() {
    let hour = Duration::from_hours(1);
    assert_eq!(boundary_before(7_200_000, hour), 7_200_000);
    assert_eq!(boundary_before(7_199_999, hour), 3_600_000);
    let even = RollConfig { max_age: hour, even: true, ..roll(1_000) };
    let since_hour_ms = now_ms() - boundary_before(now_ms(), hour);
    // The first one ended before the hour, the second one after.
    let mut both = backlog(&[0, 10], since_hour_ms + 1);
    let second = both.segments.get_mut(&Lsn(10).into()).unwrap();
    second.content.as_mut().unwrap().last_timestamp_ms = now_ms() + 1;
    assert_eq!(due(&mut both, &even, false), Some(vec![0]));
    assert_eq!(due_beside(&mut both, &even, &[0], false), None, "it waits for the next hour");
    assert_eq!(due(&mut both, &even, true), Some(vec![0, 10]));
    let until = both.until_due(&even, &BTreeSet::new()).unwrap();
    assert!(until <= hour, "{until:?}");
    assert_eq!(
        due(&mut both, &RollConfig { max_bytes: ByteSize(200), ..even }, false),
        Some(vec![0, 10])
    );
}

#[test]
fn segments_of_two_wals_never_share_a_run_and_none_waits_for_the_other() {
    let named = |id, base| SegmentName { wal_id: Some(WalId(id)), base: Lsn(base) };
    // A young segment under load, and what an earlier identity left behind it.
    let mut both = backlog(&[0], 1_000);
    add(&mut both, named(7, 0), WalId(7), 61_000);
    add(&mut both, named(7, 10), WalId(7), 61_000);
    let run = both.due(&roll(1_000), &BTreeSet::new(), false).unwrap();
    let found: Vec<_> = run.segments.iter().map(|segment| segment.name).collect();
    assert_eq!(found, [named(7, 0), named(7, 10)]);
    let claimed = found.into_iter().collect();
    assert!(both.due(&roll(1_000), &claimed, false).is_none());
    let run = both.due(&roll(1_000), &claimed, true).unwrap();
    assert_eq!(run.segments[0].name, Lsn(0).into());
    assert_eq!(both.until_due(&roll(1_000), &BTreeSet::new()), Some(Duration::ZERO));
}

#[test]
fn names_with_and_without_the_id_join_by_their_lsns() {
    let mut backlog = backlog(&[10], 1_000);
    let first = SegmentName { wal_id: Some(WalId(1)), base: Lsn(0) };
    add(&mut backlog, first, WalId(1), 1_000);
    assert_eq!(due(&mut backlog, &roll(1_000), true), Some(vec![0, 10]));
}

#[test]
fn what_the_destination_has_makes_shipments_of_its_own() {
    let file = |first, last| FileName {
        wal_id: WalId(1),
        first: Lsn(first),
        last: Lsn(last),
        host: "a".into(),
    };
    let mut all = backlog(&[0, 10, 20, 30, 40], 1_000);
    all.know([file(10, 29)].into());
    let run = all.due(&roll(1_000), &BTreeSet::new(), true).unwrap();
    assert_eq!((run.segments.len(), run.known), (1, None), "up to where the file begins");
    let claimed = [Lsn(0).into()].into();
    let run = all.due(&roll(50), &claimed, false).unwrap();
    assert_eq!((run.segments.len(), run.known), (2, Some(file(10, 29))), "whatever the limits");
    let rest = due_beside(&mut all, &roll(1_000), &[0, 10, 20], true);
    assert_eq!(rest, Some(vec![30, 40]));
    // Where a file has other events as well, nothing tells whether it is of the same ones.
    for misfit in [file(10, 24), file(5, 19), file(10, 50)] {
        let mut all = backlog(&[0, 10, 20, 30, 40], 1_000);
        all.know([misfit.clone()].into());
        let claimed = BTreeSet::new();
        let run = all.due(&roll(1_000), &claimed, true);
        let first = run.and_then(|run| Some(run.segments.first()?.name.base.0));
        assert_ne!(first, Some(10), "{misfit}");
        assert!(all.problems().all(|problem| problem.contains(&misfit.to_string())));
        assert!(all.totals().set_aside >= 2, "{misfit}");
    }
}

#[test]
fn what_a_damaged_plan_is_for_waits_and_nothing_else_does() {
    let mut all = backlog(&[0, 10, 20, 30], 61_000);
    let path = format!("/s/{:020}-{:020}.json", 10, 19);
    all.hold(PlanName::of_path(std::path::Path::new(&path)).into_iter().collect());
    assert_eq!(due(&mut all, &roll(1_000), true), Some(vec![0]));
    assert_eq!(due_beside(&mut all, &roll(1_000), &[0], true), Some(vec![20, 30]));
    assert_eq!(due_beside(&mut all, &roll(1_000), &[0, 20, 30], true), None);
    assert_eq!(all.until_due(&roll(1_000), &[0, 20, 30].map(|b| Lsn(b).into()).into()), None);
    assert_eq!(all.totals().segments, 4, "it is not shipped yet");
}
