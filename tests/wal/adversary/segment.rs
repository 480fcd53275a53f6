//! Sealed segments with hostile events: compact ones, and logs that were sealed as they were.

use std::fs;

use sewer_test_support::random::Random;
use sewer_test_support::sweep;
use sewer_wal::reader::Kind;
use sewer_wal::{Engine, Lsn, SegmentReader};

use super::scene::{Found, Scene};

const SEGMENTS: u64 = 8;
const WAYS: u64 = 40;

/// Reads a segment with these bytes; the next one begins where the scene's events end.
fn check(scene: &Scene, bytes: &[u8]) -> Result<(), String> {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let dir = dir.map_err(|e| e.to_string())?;
    let lsns = scene.lsns();
    let path = dir.path().join(format!("{:020}.seg", lsns.start));
    fs::write(&path, bytes).map_err(|e| e.to_string())?;
    let reader = SegmentReader::open(&path, Kind::Sealed).map_err(|e| e.to_string())?;
    let mut found = Found::default();
    found.read(reader.expecting_end(Some(Lsn(lsns.end))))?;
    if bytes != scene.bytes && found.damage.is_empty() {
        return Err("the damage is not noticed".into());
    }
    scene.check(&found, &scene.touched(bytes), lsns.end)
}

#[test]
fn hostile_events_are_only_events_whatever_happens_to_the_segment() {
    let mut random = Random::announced("adversary segment");
    let many = if sweep::is_complete() { 20 } else { 1 };
    let mut scenes = Vec::new();
    for number in 0..SEGMENTS * many {
        let engine = if number % 2 == 0 { Engine::Direct } else { Engine::Okaywal };
        scenes.push((Scene::segment(engine, number % 4 < 2, &mut random), random.next()));
    }
    let forms = scenes.iter().filter(|(scene, _)| scene.is_compact()).count();
    assert!(forms > 0 && forms < scenes.len(), "{forms} of {} are compact", scenes.len());
    let tried = scenes.len() as u64 * WAYS;
    sweep::each(scenes, |(scene, seed)| {
        check(&scene, &scene.bytes).map_err(|why| format!("undamaged: {why}"))?;
        let mut random = Random::new(seed);
        for way in 0..WAYS {
            let mut bytes = scene.bytes.clone();
            let times = 1 + random.below(3);
            let mut done: Vec<_> =
                (0..times).map(|_| scene.spoil(&mut bytes, &mut random)).collect();
            // The end is cut off, with the footer that knows how much there was.
            if random.below(6) == 0 {
                let length = random.below(bytes.len() as u64);
                bytes.truncate(usize::try_from(length).unwrap().max(100));
                done.push(format!("cut at {}", bytes.len()));
            }
            let so = |why| format!("{why}\nseed {seed}, way {way}: {done:?}\n{:?}", scene.batches);
            check(&scene, &bytes).map_err(so)?;
        }
        Ok(())
    })
    .unwrap_or_else(|why| panic!("{why}"));
    println!("{tried} damaged segments of an enemy's events, no promise broken");
}
