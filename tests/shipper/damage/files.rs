//! Segments that are missing, doubled or another WAL's, names that are wrong, and things in the
//! way: each is named in one message with what to do, left where it is, and holds nothing else
//! back.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sewer_shipper::plan::Losses;
use sewer_test_support::command::{self, without_own_variables};
use sewer_test_support::hadoop::skip;
use sewer_test_support::pixel::sewer_wal;
use sewer_wal::wal::seal_leftovers;
use sewer_wal::{Footer, Lsn, WalError};

use crate::node::{Node, Shipped, append};

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// The length of a footer of format 2.
const FOOTER_BYTES: usize = 88;

/// The bases of [`three_segments`].
const BASES: [u64; 3] = [0, 4, 8];

/// A node with LSN 0 to 11 in three segments.
fn three_segments() -> Node {
    let node = Node::with_segments(&[&[2, 2], &[4], &[1, 3]]);
    assert_eq!(node.bases(), BASES);
    node
}

/// All but the events of the segment in the middle.
fn without_the_middle() -> Vec<u64> {
    (0..4).chain(8..12).collect()
}

/// What `sewer-wal verify` says, which must be that something is wrong.
fn verify(node: &Node) -> String {
    let done = sewer_wal(BINARY, &["verify".as_ref(), node.layout.root().as_os_str()]);
    assert_eq!(done.code, Some(1), "{done:?}");
    done.stdout
}

/// The one thing set aside must be named with its path and with what to do.
fn assert_set_aside(shipped: &Shipped, path: &Path, advice: &str) {
    let [problem] = &shipped.set_aside[..] else { panic!("{shipped:?}") };
    assert!(problem.contains(&path.display().to_string()), "{problem}");
    assert!(problem.contains(advice), "{problem}");
    assert_eq!(shipped.counted.losses, Losses::default(), "{shipped:?}");
}

/// The pixel starts whatever is in `sealed/`, and its LSNs go on.
fn assert_pixel_starts(node: &Node) {
    assert_eq!(seal_leftovers(&node.layout).unwrap().next_lsn, Some(Lsn(12)));
}

#[test]
fn a_missing_segment_is_a_gap_that_holds_nothing_back() {
    let node = three_segments();
    fs::remove_file(node.sealed(4)).unwrap();
    let found = verify(&node);
    assert!(found.contains("4 events are missing before it, LSN 4..=7"), "{found}");
    assert_pixel_starts(&node);
    let shipped = node.ship();
    assert_eq!(shipped.lsns, without_the_middle(), "{shipped:?}");
}

#[test]
fn a_doubled_segment_is_not_shipped_twice() {
    for copy in [2, 100] {
        let node = three_segments();
        fs::copy(node.sealed(4), node.sealed(copy)).unwrap();
        let found = verify(&node);
        assert!(found.contains("file name is not its base"), "{found}");
        assert_pixel_starts(&node);
        let shipped = node.ship();
        assert_eq!(shipped.lsns, (0..12).collect::<Vec<_>>(), "{shipped:?}");
        assert_set_aside(&shipped, &node.sealed(copy), "if it is a copy, move it away");
        assert_eq!(node.bases(), [copy], "nothing is deleted");
    }
}

#[test]
fn a_segment_under_another_name_is_shipped_once_it_has_its_own_again() {
    let node = three_segments();
    let other = node.layout.sealed_dir().join("4.seg");
    fs::rename(node.sealed(4), &other).unwrap();
    fs::write(node.layout.sealed_dir().join("README"), "kept").unwrap();
    assert_pixel_starts(&node);
    let shipped = node.ship();
    assert_eq!(shipped.lsns, without_the_middle(), "{shipped:?}");
    assert_eq!(shipped.set_aside.len(), 2, "{shipped:?}");
    assert!(shipped.set_aside[0].contains("4.seg is left alone"), "{shipped:?}");
    assert!(shipped.set_aside[1].contains("README is left alone"), "{shipped:?}");
    fs::rename(&other, node.sealed(4)).unwrap();
    assert_eq!(node.ship().lsns, (0..12).collect::<Vec<_>>());
    assert!(node.layout.sealed_dir().join("README").exists());
}

#[test]
fn a_directory_in_place_of_a_segment_holds_nothing_back() {
    for base in [4, 100] {
        let node = three_segments();
        if base == 4 {
            fs::remove_file(node.sealed(4)).unwrap();
        }
        fs::create_dir(node.sealed(base)).unwrap();
        fs::write(node.sealed(base).join("inside"), "kept").unwrap();
        let found = verify(&node);
        assert!(found.contains("is not a file"), "{found}");
        assert_pixel_starts(&node);
        let shipped = node.ship();
        let expected = if base == 4 { without_the_middle() } else { (0..12).collect() };
        assert_eq!(shipped.lsns, expected, "{shipped:?}");
        assert_set_aside(
            &shipped,
            &node.sealed(base),
            "is not a file, as one of that name must be",
        );
        assert!(node.sealed(base).join("inside").exists());
    }
}

#[test]
fn what_is_foreign_among_the_logs_is_left_alone() {
    let node = Node::new();
    let mut wal = node.open_wal();
    let number = wal.segment();
    append(&mut wal, &[3]);
    drop(wal);
    fs::write(node.layout.active_dir().join("notes"), "kept").unwrap();
    fs::write(node.layout.log_dir(number).join("notes"), "kept").unwrap();
    fs::create_dir(node.layout.log_dir(77)).unwrap();
    fs::write(node.layout.log_dir(77).join("notes"), "kept").unwrap();
    node.open_wal().close().unwrap();
    let shipped = node.ship();
    assert_eq!(shipped.lsns, [0, 1, 2], "{shipped:?}");
    for dir in [node.layout.active_dir(), node.layout.log_dir(number), node.layout.log_dir(77)] {
        assert_eq!(fs::read(dir.join("notes")).unwrap(), b"kept", "{}", dir.display());
    }
}

#[test]
fn a_directory_in_place_of_a_log_stops_the_pixel_but_not_the_shipper() {
    let node = three_segments();
    let log = node.layout.log_file(99);
    fs::create_dir_all(log.join("inside")).unwrap();
    let error = seal_leftovers(&node.layout).unwrap_err();
    assert!(matches!(&error, WalError::NotAFile { path } if *path == log), "{error}");
    assert!(error.to_string().contains("move it away"), "{error}");
    assert_eq!(node.ship().lsns, (0..12).collect::<Vec<_>>());
    assert!(log.join("inside").exists());
}

#[test]
fn a_segment_of_another_wal_holds_nothing_back() {
    for base in [4, 100] {
        let (node, other) = (three_segments(), three_segments());
        fs::copy(other.sealed(4), node.sealed(base)).unwrap();
        assert_pixel_starts(&node);
        let shipped = node.ship();
        let expected = if base == 4 { without_the_middle() } else { (0..12).collect() };
        assert_eq!(shipped.lsns, expected, "{shipped:?}");
        assert_set_aside(&shipped, &node.sealed(base), "move it to a directory of its own");
        assert_eq!(fs::read(node.sealed(base)).unwrap(), fs::read(other.sealed(4)).unwrap());
    }
}

/// A newer format says so under right CRCs; damage could not.
#[test]
fn a_segment_of_a_newer_format_waits_for_a_newer_build() {
    for newer_log in [false, true] {
        let node = three_segments();
        let mut bytes = fs::read(node.sealed(8)).unwrap();
        if newer_log {
            bytes[14] = 3;
            let crc = crc32c::crc32c(&bytes[5..31]);
            bytes[31..35].copy_from_slice(&crc.to_le_bytes());
        } else {
            let footer = bytes.len() - FOOTER_BYTES;
            bytes[footer + 8] = 3;
        }
        let crc_at = bytes.len() - 4;
        let crc = crc32fast::hash(&bytes[..crc_at]);
        bytes[crc_at..].copy_from_slice(&crc.to_le_bytes());
        fs::write(node.sealed(8), &bytes).unwrap();
        let found = verify(&node);
        assert!(found.contains("format version 3; this build reads version 2"), "{found}");
        assert_pixel_starts(&node);
        let shipped = node.ship();
        assert_eq!(shipped.lsns, (0..8).collect::<Vec<_>>(), "{shipped:?}");
        assert_set_aside(&shipped, &node.sealed(8), "use the Sewer that wrote it, or a newer one");
        assert_eq!(fs::read(node.sealed(8)).unwrap(), bytes);
    }
}

/// Root may read everything, so a shipper of another user does the work.
#[test]
fn a_segment_that_may_not_be_read_holds_nothing_back() {
    const NOBODY: u32 = 65534;
    let node = three_segments();
    let root = node.dir.path();
    if let Err(why) = give(root, NOBODY) {
        return skip("a_segment_that_may_not_be_read", &format!("needs root: {why}"));
    }
    chown(node.sealed(4), Some(0), Some(0)).unwrap();
    fs::set_permissions(node.sealed(4), fs::Permissions::from_mode(0o600)).unwrap();
    let config = root.join("shipper.toml");
    fs::write(&config, toml::to_string(&node.config).unwrap()).unwrap();
    let mut command = Command::new(BINARY);
    command.args(["--replay", "--set", "retry.replay_patience=5s", "--config"]).arg(config);
    command.uid(NOBODY).gid(NOBODY);
    let done = match command::run(without_own_variables(&mut command), Duration::from_mins(1)) {
        Ok(done) => done,
        Err(why) => return skip("a_segment_that_may_not_be_read", &why),
    };
    assert_eq!(done.code, Some(1), "{done:?}");
    let said = format!("open {}: Permission denied", node.sealed(4).display());
    assert!(done.stderr.contains(&said), "{done:?}");
    assert!(done.stdout.contains("1 files in"), "{done:?}");
    assert_eq!(node.bases(), [4], "{done:?}");
    give(root, 0).unwrap();
    let shipped = node.ship();
    assert_eq!(shipped.lsns, (0..12).collect::<Vec<_>>(), "{shipped:?}");
}

/// Makes everything below `path` the property of a user.
fn give(path: &Path, user: u32) -> std::io::Result<()> {
    chown(path, Some(user), Some(user))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), user)?;
        }
    }
    Ok(())
}

#[test]
fn a_footer_with_another_count_than_was_written_is_none() {
    let node = three_segments();
    let sound = fs::read(node.sealed(0)).unwrap();
    let count_at = sound.len() - FOOTER_BYTES + 28;
    for bit in 0..64 {
        let mut bytes = sound.clone();
        bytes[count_at + bit / 8] ^= 1 << (bit % 8);
        fs::write(node.sealed(0), bytes).unwrap();
        assert_eq!(Footer::load(&node.sealed(0)).unwrap(), None, "bit {bit}");
    }
}
