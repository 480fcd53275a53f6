//! Damage from the disk to the destination: whatever is flipped, missing, doubled or in the way,
//! what is intact arrives once, what is lost is named, nothing is deleted unread, and the rest goes
//! on.
//!
//! Bits that no CRC covers, and what that means:
//! - In a *sealed* segment there are none: the footer's CRC-32 is over every byte before it.
//! - In an *active* log, the marks, lengths and entry ids of a batch are under no CRC. A flipped
//!   one breaks the structure, which is noticed, and costs at most the batch. In the *last* batch
//!   that cannot be told from a write that a crash cut off and nobody acknowledged: it is dropped
//!   as a torn tail, its bytes are counted, and its LSNs are given again.
//! - A log that holds nothing but the next LSN (all else is shipped and deleted) has no second
//!   place for it. Damaged there, the pixel refuses to start and says what to do, since going on
//!   with a guess could give an LSN twice.

mod files;

use std::collections::BTreeSet;
use std::fs;

use crate::node::{Node, append};
use bytesize::ByteSize;
use sewer_wal::reader::Kind;
use sewer_wal::wal::seal_leftovers;
use sewer_wal::{SegmentReader, WalError};

/// One bit of every byte, each time another one; all eight with `SEWERTEST_EVERY_BIT=1`, which
/// takes about a minute.
fn bits(bytes: std::ops::Range<usize>) -> Vec<usize> {
    let every = std::env::var_os("SEWERTEST_EVERY_BIT").is_some();
    let chosen = |bit: &usize| every || bit % 8 == bit / 8 % 8;
    (bytes.start * 8..bytes.end * 8).filter(chosen).collect()
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

#[test]
fn any_flipped_bit_of_a_sealed_segment_costs_its_batch_and_nothing_behind_it() {
    let mut node = Node::with_segments(&[&[1, 2, 2], &[2]]);
    let (first, second) = (fs::read(node.sealed(0)).unwrap(), fs::read(node.sealed(5)).unwrap());
    let bits = bits(0..first.len());
    for &bit in &bits {
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
        assert!(lost.len() <= 2, "{what}: lost {lost:?}");
        let mut all: Vec<_> = shipped.lsns.iter().chain(&lost).copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..7).collect::<Vec<_>>(), "{what}: lost {lost:?}");
        assert_eq!(shipped.counted.lost, lost.len() as u64, "{what}");
        assert_eq!((shipped.counted.quarantined, node.left()), (1, 0), "{what}");
    }
    println!("{} bits of a sealed segment", bits.len());
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
    let behind = (end * 8..sound.len() * 8).step_by(37);
    let bits: Vec<_> = bits(0..end).into_iter().chain(behind).collect();
    for &bit in &bits {
        node.reset();
        fs::remove_dir_all(node.layout.active_dir()).unwrap();
        fs::create_dir_all(log.parent().unwrap()).unwrap();
        fs::write(&log, flipped(&sound, bit)).unwrap();
        let what = format!("bit {} of byte {}", bit % 8, bit / 8);
        let report = seal_leftovers(&node.layout).unwrap_or_else(|e| panic!("{what}: {e}"));
        let recovered = &report.logs[0];
        assert!(recovered.torn_bytes > 0 || !recovered.damage.is_empty(), "{what}: not noticed");
        let shipped = node.ship();
        let what = format!("{what}: {recovered:?} {shipped:?}");
        let mut accounted: BTreeSet<_> = shipped.lsns.iter().copied().collect();
        assert_eq!(accounted.len(), shipped.lsns.len(), "{what}: twice");
        if node.is_quarantined(0) {
            accounted.extend(node.lost(0));
        }
        if bit / 8 >= last_batch && bit / 8 < end {
            accounted.extend([3, 4]); // the torn tail
        }
        assert_eq!(accounted, (0..5).collect(), "{what}");
        assert!(shipped.lsns.len() >= 3, "{what}");
        assert!(report.next_lsn.0 > shipped.lsns.last().copied().unwrap_or_default(), "{what}");
        assert!(report.next_lsn.0 <= 5, "{what}");
    }
    println!("{} bits of an active log", bits.len());
}

#[test]
fn a_damaged_log_that_is_all_there_is_of_the_next_lsn_stops_the_pixel_with_advice() {
    let node = Node::new();
    node.open_wal().close().unwrap();
    let number = node.layout.log_numbers().unwrap()[0];
    let log = node.layout.log_file(number);
    let mut bytes = fs::read(&log).unwrap();
    bytes[50] ^= 1; // in the LSN of the first, empty batch
    fs::write(&log, &bytes).unwrap();
    let error = seal_leftovers(&node.layout).unwrap_err();
    assert!(matches!(error, WalError::NextLsnUnknown { .. }), "{error}");
    assert!(error.to_string().contains("to begin a new WAL here"), "{error}");
    assert_eq!(fs::read(&log).unwrap(), bytes, "it is left as it was");
}

#[test]
fn a_flipped_bit_in_the_newest_footer_does_not_change_the_next_lsn() {
    let node = Node::with_segments(&[&[1, 2]]);
    let sound = fs::read(node.sealed(0)).unwrap();
    for bit in (sound.len() - 64) * 8..sound.len() * 8 {
        fs::write(node.sealed(0), flipped(&sound, bit)).unwrap();
        let report = seal_leftovers(&node.layout).unwrap();
        assert_eq!(report.next_lsn.0, 3, "bit {bit}");
    }
}
