//! Recovery of a log with hostile events.

use sewer_test_support::random::Random;
use sewer_test_support::sweep;
use sewer_wal::wal::seal_leftovers;
use sewer_wal::{Engine, Lsn};

use super::scene::{BLOCK, Found, SECTOR, Scene};
use crate::common::{wal_in_memory, wal_of_log};

/// Logs, and ways to spoil each of them, unless all are tried.
const LOGS: u64 = 4;
const WAYS: u64 = 40;

/// Recovers a log with these bytes; what was found, and the LSN that comes next.
fn recover(scene: &Scene, bytes: &[u8]) -> Result<(Found, Option<Lsn>, u64), String> {
    let (_dir, layout) = wal_in_memory();
    wal_of_log(&layout, &scene.id, bytes);
    let report = seal_leftovers(&layout).map_err(|e| e.to_string())?;
    let mut found = Found::sealed(&layout)?;
    let mut torn_bytes = 0;
    for log in &report.logs {
        torn_bytes += log.torn_bytes;
        let lost = |damage: &&sewer_wal::reader::Damage| !damage.lost.is_empty();
        let told: Vec<_> = log.damage.iter().filter(lost).map(|damage| damage.lost).collect();
        let read: Vec<_> = found.damage.iter().filter(lost).map(|damage| damage.lost).collect();
        if told != read {
            return Err(format!("recovery tells of {told:?}, the segment of {read:?}"));
        }
        found.damage.extend(log.damage.iter().filter(|damage| damage.lost.is_empty()).cloned());
    }
    Ok((found, report.next_lsn, torn_bytes))
}

/// Whether all these LSNs are said to be lost.
fn is_told(found: &Found, lsns: std::ops::Range<u64>) -> bool {
    let told = |lsn: u64| {
        let mut lost = found.damage.iter().map(|damage| damage.lost);
        lost.any(|lost| lost.first.0 <= lsn && lsn < lost.end.0)
    };
    lsns.into_iter().all(told)
}

/// Recovers what was damaged and holds it to the promises. `torn`: the last batch was never
/// acknowledged.
fn check(scene: &Scene, bytes: &[u8], is_torn: bool) -> Result<(), String> {
    let (found, next, torn_bytes) = recover(scene, bytes)?;
    let mut touched = scene.touched(bytes);
    if is_torn {
        touched.push(scene.batches.last().unwrap().lsns.clone());
    }
    let all = scene.lsns();
    let is_untouched = |batch: &&super::scene::Placed| {
        bytes[batch.bytes.clone()] == scene.bytes[batch.bytes.clone()]
    };
    let least = scene.batches.iter().rev().find(is_untouched);
    let least = least.map(|batch| batch.lsns.end);
    match (next, least) {
        (None, Some(_)) => return Err("there is a batch, and the next LSN is not known".into()),
        // Unless they are those of a damaged last batch, which are told as lost.
        (Some(next), _) if next.0 > all.end && !is_told(&found, all.end..next.0) => {
            return Err(format!("next LSN {next}, and only {} were written", all.end));
        }
        (Some(next), Some(least)) if next.0 < least => {
            return Err(format!("next LSN {next} goes back behind {least}"));
        }
        _ => {}
    }
    let next = next.map_or(all.start, |lsn| lsn.0);
    if found.events.last_key_value().is_some_and(|(last, _)| *last >= next) {
        return Err(format!("next LSN {next}, which is there already"));
    }
    let told = |why| format!("{why}; next LSN {next}, {torn_bytes} bytes torn, {:?}", found.damage);
    scene.check(&found, &touched, next).map_err(told)?;
    // What was acknowledged and can only be taken for torn must at least be told as that.
    let rest = scene.batches.iter().filter(|batch| batch.lsns.end > next);
    let is_trace = |byte: &u8| *byte != 0;
    for batch in rest {
        let has_traces = bytes[batch.bytes.clone()].iter().any(is_trace);
        if has_traces && torn_bytes == 0 && found.damage.is_empty() && !found.events.is_empty() {
            return Err(format!("{:?} are gone without a word", batch.lsns));
        }
    }
    Ok(())
}

/// Batches of one block each, without an enemy.
fn plain(count: u64) -> Scene {
    Scene::plain(Engine::Okaywal, &vec![300; usize::try_from(count).unwrap()])
}

/// As a disk does that writes to a wrong place, or keeps an old version: each block in each other
/// one's place, with its neighbours gone, too.
#[test]
fn a_block_in_the_place_of_another_costs_the_batch_that_was_there() {
    let scene = plain(9);
    let block = |index: usize| scene.batches[index].bytes.clone();
    let last = scene.batches.len() - 1;
    for to in 0..=last {
        for from in 0..=last {
            for zeroed in 0..=3.min(to) {
                let mut bytes = scene.bytes.clone();
                bytes[block(to - zeroed).start..block(to).start].fill(0);
                bytes.copy_within(block(from), block(to).start);
                check(&scene, &bytes, false)
                    .unwrap_or_else(|why| panic!("{from} at {to}, {zeroed} zeroed: {why}"));
            }
        }
    }
}

fn scenes(test: &str) -> (Vec<(Scene, u64)>, u64) {
    let mut random = Random::announced(test);
    let many = if sweep::is_complete() { 20 } else { 1 };
    let mut scenes = Vec::new();
    for number in 0..LOGS * many {
        let engine = if number % 2 == 0 { Engine::Direct } else { Engine::Okaywal };
        scenes.push((Scene::log(engine, 6, &mut random), random.next()));
    }
    (scenes, WAYS)
}

#[test]
fn hostile_events_are_only_events_whatever_happens_to_the_log() {
    let (scenes, ways) = scenes("adversary log");
    let tried = scenes.len() as u64 * ways;
    sweep::each(scenes, |(scene, seed)| {
        check(&scene, &scene.bytes, false).map_err(|why| format!("undamaged: {why}"))?;
        let mut random = Random::new(seed);
        for way in 0..ways {
            let mut bytes = scene.bytes.clone();
            let times = 1 + random.below(3);
            let done: Vec<_> = (0..times).map(|_| scene.spoil(&mut bytes, &mut random)).collect();
            let so = |why| format!("{why}\nseed {seed}, way {way}: {done:?}\n{:?}", scene.batches);
            check(&scene, &bytes, false).map_err(so)?;
        }
        Ok(())
    })
    .unwrap_or_else(|why| panic!("{why}"));
    println!("{tried} damaged logs of an enemy's events, no promise broken");
}

#[test]
fn a_torn_batch_of_hostile_events_is_read_whole_or_not_at_all() {
    let (scenes, _) = scenes("adversary torn");
    let cuts = std::sync::atomic::AtomicUsize::new(0);
    sweep::each(scenes, |(scene, seed)| {
        let mut random = Random::new(seed);
        let last = scene.batches.last().unwrap().bytes.clone();
        let sectors: Vec<usize> = last.clone().step_by(SECTOR).collect();
        for cut in 0..=2 * sectors.len() {
            let mut bytes = scene.bytes.clone();
            for (index, &sector) in sectors.iter().enumerate() {
                // In order up to some sector, then any of them.
                let is_lost =
                    if cut <= sectors.len() { index >= cut } else { random.below(2) == 0 };
                if is_lost {
                    bytes[sector..sector + SECTOR].fill(0);
                }
            }
            // What of the zeros behind it, is not the log's.
            if random.below(4) == 0 && last.end + BLOCK <= bytes.len() {
                bytes.truncate(last.end);
            }
            check(&scene, &bytes, true).map_err(|why| format!("{why}\nseed {seed}, cut {cut}"))?;
            cuts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(())
    })
    .unwrap_or_else(|why| panic!("{why}"));
    println!("{} torn logs of an enemy's events, no promise broken", cuts.into_inner());
}
