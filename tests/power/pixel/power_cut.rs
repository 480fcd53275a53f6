//! Power cuts under an unmodified pixel: at every operation of the file system that it makes, from
//! its first start through rolls and seals to its clean stop. The next pixel begins by itself on
//! what is left, and every acknowledged event reaches the destination exactly once.
//!
//! The threads of a pixel take turns differently in each run, so that an operation's number stands
//! for a slightly different place each time; each run is held to the answers that it gave itself.

use crate::lossy_pixel::{ENGINES, Scene};
use sewer_test_support::lossyfs::{Image, Op, Rules, Survival, available_or_skip};
use sewer_test_support::random::Random;
use sewer_test_support::sweep;

/// Requests per connection: enough for rolls by size, then two rolls by age.
const WAVES: [u64; 3] = [8, 2, 1];

/// Of how many cut points one is tried, with each engine, unless all are.
const NTH: u64 = 12;

fn count_operations(engine: &'static str) -> u64 {
    let scene = Scene::new(engine, &Image::default(), Rules::Strict, 0);
    let life = scene.live(&WAVES);
    assert_eq!(life.code, Some(0), "{}", life.log);
    assert!(life.record.refused.is_empty() && life.record.unanswered.is_empty(), "{life:?}");
    scene.fs.operations()
}

/// Cuts before operation `number` and goes on from what is left in each way.
fn cut(engine: &'static str, number: u64, rules: Rules, ways: &[Survival]) -> Result<(), String> {
    let scene = Scene::new(engine, &Image::default(), rules, 0);
    scene.fs.cut_before(number);
    let life = scene.live(&WAVES);
    for way in ways {
        let next = Scene::new(engine, &scene.fs.survivors(*way), rules, 1_000_000);
        next.go_on_and_check(&life.record).map_err(|why| {
            format!(
                "{engine}, {rules:?}, {way:?}, cut before operation {number}: {why}\nafter\n{}\n{}",
                scene.fs.trace(12),
                life.log
            )
        })?;
    }
    Ok(())
}

#[test]
fn acked_events_survive_a_power_cut_at_every_operation() {
    if !available_or_skip("power cuts under the pixel") {
        return;
    }
    let mut random = Random::announced("power_cut");
    for engine in ENGINES {
        let operations = count_operations(engine);
        // A few more than were counted: other runs are longer.
        let points = sweep::points(operations + 5, NTH, &mut random);
        let seed = random.next();
        let (tried, ways) = (points.len(), 2);
        sweep::each(points, |number| {
            let torn = Survival::Torn(seed.wrapping_add(number));
            cut(engine, number, Rules::Strict, &[Survival::Synced, torn])
        })
        .unwrap_or_else(|why| panic!("{why}"));
        let cuts = tried * ways;
        println!("{engine}: {operations} operations, {tried} cut points, {cuts} cuts, none lost");
    }
}

#[test]
fn acked_events_survive_where_names_outlive_their_data_and_where_ext4_orders_them() {
    if !available_or_skip("power cuts with names kept") {
        return;
    }
    let mut random = Random::announced("power_cut names");
    for engine in ENGINES {
        let points = sweep::points(count_operations(engine), 4 * NTH, &mut random);
        let seed = random.next();
        let tried = points.len();
        sweep::each(points, |number| {
            let strict = [Survival::Sizes, Survival::Names, Survival::Killed];
            cut(engine, number, Rules::Strict, &strict)?;
            let torn = Survival::Torn(seed.wrapping_add(number));
            cut(engine, number, Rules::Ext4, &[Survival::Synced, torn])
        })
        .unwrap_or_else(|why| panic!("{why}"));
        println!("{engine}: {tried} cut points, {} cuts, none lost", tried * 5);
    }
}

#[test]
fn a_pixel_that_did_not_sync_is_caught() {
    if !available_or_skip("missing syncs under the pixel") {
        return;
    }
    let kinds = ENGINES.map(|engine| [(engine, Op::Sync), (engine, Op::SyncDir)]);
    for (engine, op) in kinds.into_iter().flatten() {
        let scene = Scene::new(engine, &Image::default(), Rules::Strict, 0);
        scene.fs.drop_calls(op);
        // Late enough for events to have been acknowledged.
        scene.fs.cut_before(120);
        let life = scene.live(&WAVES);
        assert!(!life.record.acknowledged.is_empty(), "{}", life.log);
        let next =
            Scene::new(engine, &scene.fs.survivors(Survival::Synced), Rules::Strict, 1_000_000);
        let why = next.go_on_and_check(&life.record).expect_err("a missing sync went unnoticed");
        println!("{engine} without {op:?}: {}", why.lines().next().unwrap_or_default());
    }
}
