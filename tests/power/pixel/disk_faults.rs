//! A disk that fails under an unmodified pixel: calls that fail once or for good, syncs that fail
//! and then pretend, no space, short and slow calls, flipped bits. The pixel keeps its promise or
//! ends with an error, a request that is not on the disk is never answered with 204, and the next
//! pixel, on the mended disk, recovers what was acknowledged.

use std::time::Duration;

use crate::lossy_pixel::{ENGINES, Life, Scene};
use nix::errno::Errno;
use sewer_test_support::lossyfs::{Effect, Fault, Image, Op, Rules, Survival, available_or_skip};
use sewer_test_support::random::Random;
use sewer_test_support::sweep;

const WAVES: [u64; 3] = [8, 2, 1];

const FOR_GOOD: u64 = u64::MAX;

/// Of how many calls one is made to fail, with each engine, unless all are.
const NTH: u64 = 16;

/// How many calls of each kind an undisturbed run makes.
fn calls(engine: &'static str, ops: &[Op]) -> Vec<(Op, u64)> {
    let scene = Scene::new(engine, &Image::default(), Rules::Strict, 0);
    let life = scene.live(&WAVES);
    assert_eq!(life.code, Some(0), "{}", life.log);
    ops.iter().map(|op| (*op, scene.fs.calls(*op))).collect()
}

/// Runs a pixel with a fault, then another without, on what a power cut right after leaves.
fn meet(engine: &'static str, fault: Fault) -> Result<(), String> {
    let scene = Scene::new(engine, &Image::default(), Rules::Strict, 0);
    scene.fs.add_fault(fault);
    let life = scene.live(&WAVES);
    let context = |why: String| {
        format!(
            "{engine}, {fault:?}: {why}\n{:?}\n{}\n{}",
            life.record,
            scene.fs.trace(8),
            life.log
        )
    };
    ended_as_promised(&life).map_err(context)?;
    for way in [Survival::Synced, Survival::Killed] {
        let next = Scene::new(engine, &scene.fs.survivors(way), Rules::Strict, 1_000_000);
        next.go_on_and_check(&life.record).map_err(|why| context(format!("{way:?}: {why}")))?;
    }
    Ok(())
}

/// A pixel that did not end with an error has answered every request with 204; one that did has
/// refused with 503 what it had not written.
fn ended_as_promised(life: &Life) -> Result<(), String> {
    match life.code {
        Some(0) if !life.record.refused.is_empty() => {
            Err("requests were refused and the pixel ended as if all were well".into())
        }
        Some(0 | 1) => match life.record.refused.values().find(|status| **status != 503) {
            Some(status) => Err(format!("a request was answered with {status}")),
            None => Ok(()),
        },
        code => Err(format!("the pixel ended with {code:?}")),
    }
}

/// Tries an effect on a part of all calls of some kinds.
fn sweep_calls(test: &str, ops: &[Op], effects: &[(Effect, u64)]) {
    if !available_or_skip(test) {
        return;
    }
    let mut random = Random::announced(test);
    let mut faults = Vec::new();
    for engine in ENGINES {
        for (op, count) in calls(engine, ops) {
            for &(effect, times) in effects {
                let points = sweep::points(count, NTH.min(count.div_ceil(2)), &mut random);
                let fault = |nth| (engine, Fault { op, nth, times, effect });
                faults.extend(points.into_iter().map(fault));
            }
        }
    }
    let tried = faults.len();
    sweep::each(faults, |(engine, fault)| meet(engine, fault))
        .unwrap_or_else(|why| panic!("{why}"));
    println!("{test}: {tried} faults, no promise broken");
}

#[test]
fn a_call_that_fails_never_makes_a_false_204() {
    let ops = [Op::Open, Op::Create, Op::Mkdir, Op::Rename, Op::Write, Op::Sync, Op::SyncDir];
    sweep_calls("calls fail once", &ops, &[(Effect::Fails(Errno::EIO), 1)]);
}

#[test]
fn a_sync_that_fails_and_then_pretends_never_makes_a_false_204() {
    let ops = [Op::Sync, Op::SyncDir];
    sweep_calls("syncs fail and forget", &ops, &[(Effect::FailsAndForgets, 1)]);
}

#[test]
fn a_full_disk_never_makes_a_false_204() {
    let ops = [Op::Write, Op::Create, Op::Mkdir, Op::Rename, Op::Resize];
    let full = Effect::Fails(Errno::ENOSPC);
    sweep_calls("no space", &ops, &[(full, 1), (full, FOR_GOOD)]);
}

#[test]
fn short_and_slow_calls_cost_nothing_but_time() {
    if !available_or_skip("short and slow calls") {
        return;
    }
    let slow = Effect::Slow(Duration::from_secs(1));
    let faults = [
        Fault { op: Op::Write, nth: 1, times: FOR_GOOD, effect: Effect::Short(1000) },
        Fault { op: Op::Sync, nth: 8, times: 2, effect: slow },
        Fault { op: Op::SyncDir, nth: 10, times: 1, effect: slow },
    ];
    for (engine, fault) in
        ENGINES.into_iter().flat_map(|engine| faults.map(|fault| (engine, fault)))
    {
        let scene = Scene::new(engine, &Image::default(), Rules::Strict, 0);
        scene.fs.add_fault(fault);
        let life = scene.live(&WAVES);
        assert_eq!(life.code, Some(0), "{fault:?}\n{}", life.log);
        let (refused, unanswered) = (&life.record.refused, &life.record.unanswered);
        assert!(refused.is_empty() && unanswered.is_empty(), "{fault:?}: {:?}", life.record);
        let next =
            Scene::new(engine, &scene.fs.survivors(Survival::Synced), Rules::Strict, 1_000_000);
        next.go_on_and_check(&life.record).unwrap_or_else(|why| panic!("{fault:?}: {why}"));
    }
}

#[test]
fn a_recovery_that_cannot_read_ends_with_an_error_and_loses_nothing() {
    if !available_or_skip("reads fail in recovery") {
        return;
    }
    ENGINES.into_iter().for_each(reads_fail);
}

fn reads_fail(engine: &'static str) {
    let scene = Scene::new(engine, &Image::default(), Rules::Strict, 0);
    scene.fs.cut_before(120);
    let life = scene.live(&WAVES);
    assert!(!life.record.acknowledged.is_empty(), "{}", life.log);
    let left = scene.fs.survivors(Survival::Synced);
    let undisturbed = Scene::new(engine, &left, Rules::Strict, 1_000_000);
    assert_eq!(undisturbed.live(&[0]).code, Some(0));
    let reads = undisturbed.fs.calls(Op::Read);
    let mut random = Random::announced("reads fail in recovery");
    let points = sweep::points(reads, NTH.min(reads.div_ceil(4)), &mut random);
    let tried = points.len();
    sweep::each(points, |nth| {
        let again = Scene::new(engine, &left, Rules::Strict, 1_000_000);
        let effect = Effect::Fails(Errno::EIO);
        again.fs.add_fault(Fault { op: Op::Read, nth, times: 1, effect });
        let failed = again.live(&[0]);
        if !matches!(failed.code, Some(0 | 1)) {
            return Err(format!("read {nth}: ended with {:?}\n{}", failed.code, failed.log));
        }
        let next =
            Scene::new(engine, &again.fs.survivors(Survival::Synced), Rules::Strict, 2_000_000);
        next.go_on_and_check(&life.record).map_err(|why| format!("read {nth}: {why}"))
    })
    .unwrap_or_else(|why| panic!("{why}"));
    println!("{engine}: {tried} of {reads} reads failed, nothing lost");
}
