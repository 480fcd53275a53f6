//! Damage from the disk to the destination: whatever is flipped, missing, doubled or in the way,
//! what is intact arrives once, what is lost is named, nothing is deleted unread, and the rest goes
//! on.
//!
//! Bits that no CRC covers, and what that means:
//! - In a *sealed* segment there are none: the footer's CRC-32 is over every byte before it.
//! - In an *active* log, the marks and entry ids of a batch and its padding are under no CRC. A
//!   flipped mark or id costs the batch, a flipped bit of the padding nothing.
//! - The header of the *last* batch tells how many events it has. Where that is what is damaged,
//!   the batch is dropped, which is said, and its LSNs are given again.

mod files;

use std::collections::BTreeSet;
use std::fs;

use crate::node::{Node, append, append_of};
use bytesize::ByteSize;
use sewer_shipper::plan::Losses;
use sewer_wal::reader::Kind;
use sewer_wal::wal::seal_leftovers;
use sewer_wal::{Lsn, SegmentReader};

/// One bit of every byte, each time another one; all eight with `SEWERTEST_EVERY_BIT=1`, which
/// takes about a minute.
fn bits(bytes: std::ops::Range<usize>) -> Vec<usize> {
    let every = std::env::var_os("SEWERTEST_EVERY_BIT").is_some();
    let chosen = |bit: &usize| every || bit % 8 == bit / 8 % 8;
    (bytes.start * 8..bytes.end * 8).filter(chosen).collect()
}

/// The same of those bytes that say something, or stand near some that do, and of some of the rest.
fn telling_bits(content: &[u8]) -> Vec<usize> {
    let near = |at: usize| content[at.saturating_sub(9)..content.len().min(at + 10)].iter();
    let telling = |at: &usize| at.is_multiple_of(997) || near(*at).any(|byte| *byte != 0);
    (0..content.len()).filter(telling).flat_map(|at| bits(at..at + 1)).collect()
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

/// Flips each of the bits of the segment of LSN 0 to 4, which LSN 5 and 6 follow, and ships.
fn assert_only_its_batch_is_lost(mut node: Node, bits: &[usize], batch_events: usize) {
    let (first, second) = (fs::read(node.sealed(0)).unwrap(), fs::read(node.sealed(5)).unwrap());
    for &bit in bits {
        node.reset();
        let damaged = flipped(&first, bit);
        fs::write(node.sealed(0), &damaged).unwrap();
        fs::write(node.sealed(5), &second).unwrap();
        // Both segments in one shipment, or each in its own.
        node.config.roll.max_bytes = ByteSize(if bit / 8 % 2 == 0 { 1 << 20 } else { 1 });
        let shipped = node.ship();
        let what = format!("bit {} of byte {}: {shipped:?}", bit % 8, bit / 8);
        assert_eq!((&shipped.errors[..], &shipped.set_aside[..]), (&[][..], &[][..]), "{what}");
        assert!(node.is_quarantined(0) && !node.is_quarantined(5), "{what}");
        let kept = node.layout.quarantine_dir().join(node.sealed(0).file_name().unwrap());
        assert_eq!(fs::read(kept).unwrap(), damaged, "{what}");
        let lost = node.lost(0);
        assert!(lost.len() <= batch_events, "{what}: lost {lost:?}");
        let mut all: Vec<_> = shipped.lsns.iter().chain(&lost).copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..7).collect::<Vec<_>>(), "{what}: lost {lost:?}");
        let losses = Losses { events: lost.len() as u64, uncounted: 0 };
        assert_eq!(shipped.counted.losses, losses, "{what}");
        assert_eq!((shipped.counted.quarantined, node.left()), (1, 0), "{what}");
    }
}

#[test]
fn any_flipped_bit_of_a_sealed_segment_costs_its_batch_and_nothing_behind_it() {
    let node = Node::with_segments(&[&[1, 2, 2], &[2]]);
    let length = fs::metadata(node.sealed(0)).unwrap().len();
    let bits = bits(0..usize::try_from(length).unwrap());
    assert_only_its_batch_is_lost(node, &bits, 2);
    println!("{} bits of a compact segment", bits.len());
}

#[test]
fn any_flipped_bit_of_a_segment_sealed_as_it_was_written_costs_its_batch() {
    let node = Node::new();
    for (batches, bytes) in [(&[1; 5][..], 60_000), (&[2], 0)] {
        let mut wal = node.open_wal();
        append_of(&mut wal, batches, bytes);
        wal.close().unwrap();
    }
    let segment = fs::read(node.sealed(0)).unwrap();
    assert!(segment.len() > 8192 + 5 * 61_440, "it is not compact");
    // What an event has in the middle is as good as any.
    let filler = [b'x'; 20];
    let tells =
        |bit: &usize| !segment[bit / 8..].starts_with(&filler) || (bit / 8).is_multiple_of(501);
    let bits: Vec<_> = telling_bits(&segment).into_iter().filter(tells).collect();
    assert_only_its_batch_is_lost(node, &bits, 1);
    println!("{} bits of a segment as it was written", bits.len());
}

#[test]
fn any_flipped_bit_of_an_active_log_costs_its_batch_and_the_pixel_starts() {
    const BATCHES: [u64; 3] = [1, 2, 2];
    let node = Node::new();
    let mut wal = node.open_wal();
    let log = node.layout.log_file(wal.segment());
    append(&mut wal, &BATCHES);
    drop(wal); // as a crash leaves it
    let mut reader = SegmentReader::open(&log, Kind::Active).unwrap();
    let mut last_batch = 0;
    while reader.next_item().unwrap().is_some() {
        last_batch = std::mem::replace(&mut last_batch, reader.data_end()).min(reader.data_end());
    }
    let (sound, end) = (fs::read(&log).unwrap(), usize::try_from(reader.data_end()).unwrap());
    let last_batch = end - usize::try_from(reader.data_end() - last_batch).unwrap();
    // The bits of the data, and some of the zeros behind it.
    let behind = (end * 8..sound.len() * 8).step_by(8 * 4093);
    let bits: Vec<_> = telling_bits(&sound[..end]).into_iter().chain(behind).collect();
    let mut dropped = 0;
    for &bit in &bits {
        node.reset();
        fs::remove_dir_all(node.layout.active_dir()).unwrap();
        fs::create_dir_all(log.parent().unwrap()).unwrap();
        fs::write(&log, flipped(&sound, bit)).unwrap();
        let what = format!("bit {} of byte {}", bit % 8, bit / 8);
        let report = seal_leftovers(&node.layout).unwrap_or_else(|e| panic!("{what}: {e}"));
        let recovered = &report.logs[0];
        let shipped = node.ship();
        let what = format!("{what}: {recovered:?} {shipped:?}");
        let mut accounted: BTreeSet<_> = shipped.lsns.iter().copied().collect();
        assert_eq!(accounted.len(), shipped.lsns.len(), "{what}: twice");
        if node.is_quarantined(0) {
            accounted.extend(node.lost(0));
        }
        let is_whole = shipped.lsns.len() == 5;
        assert!(is_whole || !recovered.damage.is_empty(), "{what}: not noticed");
        if accounted.len() < 5 && bit / 8 >= last_batch && bit / 8 < end {
            assert!(recovered.damage[0].reason.contains("how many events"), "{what}");
            accounted.extend([3, 4]);
            dropped += 1;
        }
        assert_eq!(accounted, (0..5).collect(), "{what}");
        assert!(shipped.lsns.len() >= 3, "{what}");
        let last = shipped.lsns.last().copied().unwrap_or_default();
        let next = report.next_lsn.unwrap_or_else(|| panic!("{what}: no next LSN"));
        assert!(next.0 > last && next.0 <= 5, "{what}");
    }
    println!("{} bits of an active log, {dropped} of them in the last batch's header", bits.len());
}

/// Whatever is flipped in the log that a clean stop leaves, or in `ID`, the other one tells both
/// the identity and the next LSN.
#[test]
fn a_flipped_bit_where_the_next_lsn_is_kept_changes_neither_it_nor_the_identity() {
    let node = Node::with_segments(&[&[1, 2]]);
    let id = sewer_wal::look_up_identity(&node.layout).unwrap().unwrap().id;
    let number = node.layout.log_numbers().unwrap()[0];
    let files = [node.layout.log_file(number), node.layout.id_file()];
    let sound = files.clone().map(|file| fs::read(file).unwrap());
    let mut flips = 0;
    for damaged in 0..2 {
        for bit in telling_bits(&sound[damaged]) {
            fs::remove_dir_all(node.layout.active_dir()).unwrap();
            fs::create_dir_all(files[0].parent().unwrap()).unwrap();
            for (file, bytes) in files.iter().zip(&sound) {
                fs::write(file, bytes).unwrap();
            }
            fs::write(&files[damaged], flipped(&sound[damaged], bit)).unwrap();
            let report = seal_leftovers(&node.layout).unwrap();
            let what = format!("bit {bit} of {}", files[damaged].display());
            assert_eq!((report.wal_id, report.next_lsn), (id, Some(Lsn(3))), "{what}");
            flips += 1;
        }
    }
    println!("{flips} bits");
}

#[test]
fn a_flipped_bit_in_the_newest_footer_does_not_change_the_next_lsn() {
    let node = Node::with_segments(&[&[1, 2]]);
    let sound = fs::read(node.sealed(0)).unwrap();
    for bit in (sound.len() - 88) * 8..sound.len() * 8 {
        fs::write(node.sealed(0), flipped(&sound, bit)).unwrap();
        let report = seal_leftovers(&node.layout).unwrap();
        assert_eq!(report.next_lsn, Some(Lsn(3)), "bit {bit}");
    }
}
