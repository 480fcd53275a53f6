//! The disk with the WAL as it is between any two operations of a shipper: moved to another node,
//! put back while the destination is ahead, cloned under another host, or with its plans damaged.
//! The shipper that goes on is another process, plans otherwise, and works on plain directories;
//! each event is exactly once among the final names.

use std::fs;
use std::path::Path;

use sewer_test_support::lossyfs::{Image, Survival, available_or_skip};
use sewer_test_support::random::Random;
use sewer_test_support::sweep;

use super::{FIRST_ROLL, NEXT_ROLL, NTH, check_in, describe, files, image, recorded, replay_in};

/// Tries `go_on` at every operation, or at a part of them, with what there is then: in `now`, and,
/// as the same shipper leaves it in the end, in `end`.
fn sweep_over(what: &str, go_on: impl Fn(&Path, &Path, &mut Random) -> Result<(), String> + Sync) {
    if !available_or_skip(what) {
        return;
    }
    let mut random = Random::announced(what);
    let (history, trace) = recorded(&image(), FIRST_ROLL, None).unwrap();
    let end = history.last().unwrap().survivors(Survival::Killed);
    let points = sweep::points(history.len() as u64, NTH, &mut random);
    let (seed, tried) = (random.next(), points.len());
    sweep::each(points, |number| {
        let at = usize::try_from(number).unwrap() - 1;
        let now = written(&history[at].survivors(Survival::Killed));
        let end = written(&end);
        go_on(now.path(), end.path(), &mut Random::new(seed ^ number))
            .map_err(|why| format!("{what}: {}{why}", describe(&trace, at)))
    })
    .unwrap_or_else(|why| panic!("{why}"));
    println!("{what}: {} operations, {tried} tried, none lost or doubled", history.len());
}

/// In memory where that can be: nothing is cut here.
fn written(image: &Image) -> tempfile::TempDir {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    image.write(dir.path()).unwrap();
    dir
}

/// A replay that must end with an empty backlog.
fn drain(dir: &Path, sets: &[&str], args: &[&str]) -> Result<(), String> {
    let ended = replay_in(dir, sets, args)?;
    match ended.code {
        Some(0) => Ok(()),
        code => Err(format!("ended with {code:?}\n{}{}", ended.stdout, ended.stderr)),
    }
}

fn no_file_of(host: &str, dir: &Path) -> Result<(), String> {
    let found = files(&dir.join("out"))
        .into_iter()
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with(&format!("{host}-")));
    found.map_or(Ok(()), |path| Err(format!("{} is under another name", path.display())))
}

#[test]
fn a_disk_moved_to_another_node_at_every_operation() {
    sweep_over("a disk is moved", |now, _, _| {
        fs::rename(now.join("wal"), now.join("moved")).unwrap();
        // The first thing that a shipper writes down.
        let is_host_noted = now.join("moved/shipments/host.json").exists();
        drain(now, &[NEXT_ROLL, "shipper.host=another"], &["--wal", "moved"])?;
        check_in(now, "moved", true)?;
        if is_host_noted { no_file_of("another", now) } else { Ok(()) }
    });
}

#[test]
fn a_snapshot_put_back_at_every_operation_with_the_destination_ahead() {
    sweep_over("a snapshot is put back", |now, end, _| {
        fs::rename(now.join("wal"), end.join("restored")).unwrap();
        drain(end, &[NEXT_ROLL, "wal.dir=restored"], &[])?;
        check_in(end, "restored", true)
    });
}

#[test]
fn a_clone_under_another_host_at_every_operation() {
    sweep_over("a clone", |now, end, _| {
        fs::rename(now.join("wal"), end.join("clone")).unwrap();
        drain(end, &[NEXT_ROLL, "wal.dir=clone", "shipper.host=another"], &[])?;
        check_in(end, "clone", true)?;
        no_file_of("another", end)
    });
}

#[test]
fn a_plan_damaged_at_every_operation() {
    sweep_over("a plan is damaged", |now, _, random| {
        let plans = || {
            files(&now.join("wal/shipments")).into_iter().filter(|path| {
                path.extension().is_some_and(|extension| extension == "json")
                    && path.file_name().is_some_and(|name| name != "host.json")
            })
        };
        for plan in plans() {
            let mut bytes = fs::read(&plan).unwrap();
            random.flip(&mut bytes);
            fs::write(&plan, bytes).unwrap();
        }
        let damaged: Vec<_> = plans().collect();
        let ended = replay_in(now, &[NEXT_ROLL], &[])?;
        let is_told = damaged.iter().all(|plan| {
            let name = plan.file_name().unwrap().to_string_lossy().into_owned();
            ended.stderr.contains(&name) && ended.stderr.contains("ERROR")
        });
        let is_left = damaged.iter().all(|plan| plan.exists());
        if !is_told || !is_left {
            return Err(format!("{damaged:?} are not told of, or gone: {ended:?}"));
        }
        // A person removes them, as the error says.
        for plan in damaged {
            fs::remove_file(plan).unwrap();
        }
        drain(now, &[NEXT_ROLL], &[])?;
        check_in(now, "wal", false)
    });
}
