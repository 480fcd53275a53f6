//! The end of a log: whether its last batch was torn while it was written, and so never
//! acknowledged, or damaged since.
//!
//! Sectors reach the disk whole or not at all, and the ones that never did are the zeros of a new
//! log.

use super::batch::{EVENT_OVERHEAD, FIXED_BYTES, HEADER_AT, SECTOR, header_bytes};
use super::{BLOCK, CHUNK, ENTRY, ENTRY_HEAD, Entry, Slot};
use crate::event::EVENT_BYTES_MIN;

/// How many bytes other than zero the first sector of a batch has, at the very least: its salt is
/// 16 bytes of chance. A sector with fewer was never written, but for a flipped bit.
const HEAD_BYTES_MIN: usize = 8;

/// Whether the last batch of a log, with events that are not intact, was torn while it was written
/// and not damaged since: sectors that never reached the disk are the zeros of a new log. Where a
/// client's events have such sectors themselves that cannot be told, and it counts as damaged.
pub(crate) fn is_torn(batch: &[u8], entry: &Entry, slots: &[Slot]) -> bool {
    if !entry.zeros_are_torn {
        return false;
    }
    let is_zero = |sector: usize| {
        let start = sector * SECTOR;
        batch[start..(start + SECTOR).min(batch.len())].iter().all(|&byte| byte == 0)
    };
    slots.iter().filter(|slot| slot.flaw.is_some()).any(|slot| {
        (slot.start / SECTOR..=(slot.end + 3).min(batch.len() - 1) / SECTOR).any(is_zero)
    })
}

/// Whether what stands behind the last batch of a log is a batch whose header is damaged: sectors
/// reach the disk whole or not at all, so that a header without a sector of zeros is not torn.
/// `bytes` begins with it, and `id` is that of its entry.
pub(crate) fn is_damaged_header(bytes: &[u8], id: u64) -> bool {
    let Some(sector) = bytes.get(..SECTOR) else { return false };
    if sector.iter().filter(|&&byte| byte != 0).count() < HEAD_BYTES_MIN {
        return false;
    }
    let head = [&[ENTRY][..], &id.to_le_bytes(), &[CHUNK]].concat();
    let u32_at = |at: usize| u32::from_le_bytes(*sector[at..].first_chunk().expect("512 bytes"));
    let length = u32_at(ENTRY_HEAD + 1) as usize;
    let count = u32_at(HEADER_AT + FIXED_BYTES - 4) as usize;
    if !sector.starts_with(&head) || length != header_bytes(count) {
        return true;
    }
    let end = HEADER_AT + length + 4;
    let Some(header) = bytes.get(..end) else { return false };
    // No sector of a header is all zeros: the lengths of events are not.
    if header[..end - 4].chunks_exact(SECTOR).any(|sector| sector.iter().all(|&byte| byte == 0)) {
        return false;
    }
    let (data, crc) = header[HEADER_AT..].split_last_chunk().expect("a header ends with 4 bytes");
    crc32c::crc32c(data) != u32::from_le_bytes(*crc)
}

/// How many LSNs a damaged batch at the start of `bytes` may have taken: as many as its header says,
/// if that is consistent, else as many as there is room for in what is not zero.
pub(crate) fn events_in_damaged(bytes: &[u8], id: u64, bytes_max: u64) -> u64 {
    let head = [&[ENTRY][..], &id.to_le_bytes(), &[CHUNK]].concat();
    let u32_at = |at: usize| {
        let four = bytes.get(at..).and_then(|rest| rest.first_chunk());
        four.map_or(0, |four| u32::from_le_bytes(*four))
    };
    let count = u32_at(HEADER_AT + FIXED_BYTES - 4);
    let is_consistent = bytes.starts_with(&head)
        && u32_at(ENTRY_HEAD + 1) as usize == header_bytes(count as usize)
        && u64::from(count) * EVENT_OVERHEAD as u64 <= bytes_max.next_multiple_of(BLOCK as u64);
    if is_consistent { count.into() } else { bytes_max / (EVENT_OVERHEAD + EVENT_BYTES_MIN) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_in_what_was_never_written_is_no_batch() {
        for bit in 0..SECTOR * 8 {
            let mut sector = [0; BLOCK];
            sector[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_damaged_header(&sector, 7), "bit {bit}");
        }
        assert!(is_damaged_header(&[0x5a; BLOCK], 7));
    }
}
