//! The lossy file system as programs meet it, through the kernel: it is a file system, it loses
//! exactly what was not synced, and it fails when told to.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FallocateFlags, Flock, FlockArg, RenameFlags, fallocate, renameat2};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use sewer_test_support::lossyfs::{
    Effect, Fault, Image, LossyFs, Op, Rules, Survival, available_or_skip,
};

fn mounted() -> Option<LossyFs> {
    available_or_skip("the lossy file system")
        .then(|| LossyFs::mount(&Image::default(), Rules::Strict).unwrap())
}

fn remounted(fs: &LossyFs, survival: Survival) -> LossyFs {
    LossyFs::mount(&fs.survivors(survival), Rules::Strict).unwrap()
}

fn sync_dir(dir: &Path) {
    File::open(dir).unwrap().sync_all().unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn programs_find_the_calls_that_they_need() {
    let Some(mount) = mounted() else { return };
    let dir = mount.path().join("dir");
    fs::create_dir(&dir).unwrap();
    assert_eq!(fs::create_dir(&dir).unwrap_err().kind(), ErrorKind::AlreadyExists);
    let (a, b) = (dir.join("a"), dir.join("b"));
    let mut file = File::create_new(&a).unwrap();
    file.write_all(b"hello").unwrap();
    file.write_all_at(b"J", 0).unwrap();
    fallocate(&file, FallocateFlags::empty(), 0, 8).unwrap();
    assert_eq!(fs::read(&a).unwrap(), b"Jello\0\0\0");
    file.set_len(2).unwrap();
    assert_eq!(fs::metadata(&a).unwrap().len(), 2);
    OpenOptions::new().append(true).open(&a).unwrap().write_all(b"!").unwrap();
    assert_eq!(fs::read(&a).unwrap(), b"Je!");

    fs::write(&b, b"other").unwrap();
    let flags = RenameFlags::RENAME_NOREPLACE;
    assert_eq!(renameat2(AT_FDCWD, &a, AT_FDCWD, &b, flags), Err(Errno::EEXIST));
    fs::rename(&a, &b).unwrap();
    fs::hard_link(&b, &a).unwrap();
    assert_eq!(names(&dir), ["a", "b"]);
    assert_eq!(fs::remove_dir(&dir).unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
    fs::remove_file(&a).unwrap();
    fs::remove_file(&b).unwrap();
    // An open file outlives its name.
    let mut byte = [0];
    file.read_exact_at(&mut byte, 0).unwrap();
    assert_eq!(&byte, b"J");
    fs::remove_dir(&dir).unwrap();
    assert_eq!(names(mount.path()), [""; 0]);
}

#[test]
fn locks_and_watches_work() {
    let Some(mount) = mounted() else { return };
    let path = mount.path().join("lock");
    let open = || File::create(&path).unwrap();
    let held = Flock::lock(open(), FlockArg::LockExclusiveNonblock).unwrap();
    let (_, errno) = Flock::lock(open(), FlockArg::LockExclusiveNonblock).unwrap_err();
    assert_eq!(errno, Errno::EWOULDBLOCK);
    drop(held);
    Flock::lock(open(), FlockArg::LockExclusiveNonblock).unwrap();

    let inotify = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
    inotify.add_watch(mount.path(), AddWatchFlags::IN_MOVED_TO).unwrap();
    fs::rename(&path, mount.path().join("moved")).unwrap();
    assert_eq!(inotify.read_events().unwrap().len(), 1);
}

#[test]
fn only_what_was_synced_survives_a_cut() {
    let Some(mount) = mounted() else { return };
    let dir = mount.path();
    for (name, synced) in [("with", true), ("without", false)] {
        let mut file = File::create(dir.join(name)).unwrap();
        file.write_all(b"data").unwrap();
        if synced {
            file.sync_data().unwrap();
        }
    }
    assert_eq!(names(remounted(&mount, Survival::Synced).path()), [""; 0]);
    sync_dir(dir);
    fs::rename(dir.join("with"), dir.join("renamed")).unwrap();

    let after = remounted(&mount, Survival::Synced);
    assert_eq!(names(after.path()), ["with", "without"]);
    assert_eq!(fs::read(after.path().join("with")).unwrap(), b"data");
    assert_eq!(fs::read(after.path().join("without")).unwrap(), b"");
    let after = remounted(&mount, Survival::Sizes);
    assert_eq!(names(after.path()), ["renamed", "without"]);
    assert_eq!(fs::read(after.path().join("without")).unwrap(), b"\0\0\0\0");
    let after = remounted(&mount, Survival::Killed);
    assert_eq!(fs::read(after.path().join("without")).unwrap(), b"data");
    assert_eq!(names(remounted(&after, Survival::Synced).path()), ["with", "without"]);
}

#[test]
fn the_power_is_cut_before_the_chosen_operation() {
    let Some(mount) = mounted() else { return };
    mount.keep_history();
    mount.cut_before(3);
    fs::write(mount.path().join("file"), b"data").unwrap();
    assert_eq!(mount.operations(), 2, "{}", mount.trace(9));
    assert!(!mount.is_cut() && !mount.wait_for_cut(Duration::from_millis(1)));
    let error = fs::remove_file(mount.path().join("file")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::EIO as i32));
    assert!(mount.is_cut() && mount.wait_for_cut(Duration::ZERO));
    assert!(fs::read_dir(mount.path()).is_err());
    let sizes: Vec<_> = mount
        .history()
        .iter()
        .map(|moment| {
            let then = LossyFs::mount(&moment.survivors(Survival::Killed), Rules::Strict).unwrap();
            fs::metadata(then.path().join("file")).map(|data| data.len()).ok()
        })
        .collect();
    assert_eq!(sizes, [None, Some(0), Some(4)]);
}

#[test]
fn faults_meet_the_calls_that_they_are_for() {
    let Some(mount) = mounted() else { return };
    let path = mount.path().join("file");
    let fault = |op, nth, effect| mount.add_fault(Fault { op, nth, times: 1, effect });
    fault(Op::Write, 2, Effect::Fails(Errno::ENOSPC));
    fault(Op::Write, 3, Effect::Short(1));
    fault(Op::Sync, 1, Effect::FailsAndForgets);
    fault(Op::Sync, 2, Effect::Slow(Duration::from_millis(50)));
    fault(Op::Read, 2, Effect::Flips(0));
    let mut file = File::create(&path).unwrap();
    assert_eq!(file.write(b"abc").unwrap(), 3);
    assert_eq!(file.write(b"d").unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.write(b"de").unwrap(), 1);
    sync_dir(mount.path());

    assert!(file.sync_all().is_err());
    let begun = Instant::now();
    file.sync_all().unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(50));
    let synced = remounted(&mount, Survival::Synced);
    assert_eq!(fs::read(synced.path().join("file")).unwrap(), b"", "brought back by a later sync");

    let read = || {
        let mut bytes = [0; 4];
        File::open(&path).unwrap().read_exact(&mut bytes).unwrap();
        bytes
    };
    assert_eq!((&read(), &read(), &read()), (b"abcd", b"`bcd", b"abcd"));
}

#[test]
fn a_full_disk_refuses_to_grow_and_lets_go_of_what_is_removed() {
    let Some(mount) = mounted() else { return };
    mount.limit_bytes(1000);
    let (a, b) = (mount.path().join("a"), mount.path().join("b"));
    fs::write(&a, [1; 900]).unwrap();
    assert_eq!(fs::write(&b, [1; 200]).unwrap_err().kind(), ErrorKind::StorageFull);
    let mut file = OpenOptions::new().write(true).open(&a).unwrap();
    file.write_all(&[2; 900]).unwrap();
    drop(file);
    fs::remove_file(&a).unwrap();
    fs::write(&b, [1; 1000]).unwrap();
    let mut bytes = Vec::new();
    File::open(&b).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, [1; 1000]);
}
