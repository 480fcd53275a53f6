//! Format 1, as earlier builds wrote it. It is only read.
//!
//! ```text
//! log      = "okw" 00, length u8 = 30, info, entry*, zeros
//! info     = as in format 2, with format u8 = 1
//! entry    = 01, entry id u64 (1, 2, 3 …), header chunk, event chunk*, 03
//! chunk    = 02, length u32, data, CRC-32C of data u32
//! header   = first LSN u64, event count u32
//! ```
//! Nothing binds an entry to its log, and the lengths of events are under no CRC. What follows
//! damage is therefore believed only as far as the bytes in between can hold it, which is for the
//! reader to check.
//!
//! This module only looks at bytes in memory and cannot panic on any input.

use super::{CHUNK, CHUNK_OVERHEAD, END, ENTRY, ENTRY_HEAD, Entry, NoEntry, Slot};
use crate::event::EVENT_BYTES_MAX;
use crate::lsn::{Lsn, LsnRange};

const HEADER_BYTES: usize = 12;

/// The bytes before the first entry.
pub(crate) const LOG_HEADER_BYTES: usize = 35;

/// The bytes that an entry takes besides its event chunks.
pub(crate) const ENTRY_OVERHEAD: usize = ENTRY_HEAD + CHUNK_OVERHEAD + HEADER_BYTES + 1;

/// Stands nine bytes after the start of every entry: the header chunk's marker and length.
pub(crate) const HEADER_CHUNK_START: &[u8; 5] = b"\x02\x0c\0\0\0";
pub(crate) const HEADER_CHUNK_OFFSET: usize = ENTRY_HEAD;

/// Reads the entry at the start of `bytes` and puts its events' places into `slots`.
pub(crate) fn parse_entry(bytes: &[u8], slots: &mut Vec<Slot>) -> Result<Entry, NoEntry> {
    slots.clear();
    let head = parse_head(bytes)?;
    let mut cursor = Cursor { bytes, at: head.length };
    for _ in 0..head.range.count() {
        let (start, end, crc) = cursor.chunk(EVENT_BYTES_MAX)?;
        slots.push(Slot::of(bytes, start..end, crc));
    }
    if cursor.byte()? != END {
        return Err(NoEntry::Invalid("no end marker"));
    }
    Ok(Entry { length: cursor.at, compact_bytes: cursor.at, ..head })
}

/// Reads what stands before the events of an entry; the length is that of the head alone.
pub(crate) fn parse_head(bytes: &[u8]) -> Result<Entry, NoEntry> {
    let mut cursor = Cursor { bytes, at: 0 };
    if cursor.byte()? != ENTRY {
        return Err(NoEntry::Invalid("no entry marker"));
    }
    let id = u64::from_le_bytes(cursor.array()?);
    let (start, end, crc) = cursor.chunk(HEADER_BYTES)?;
    let header = &bytes[start..end];
    let range = decode_header(header, crc32c::crc32c(header) == crc)?;
    Ok(Entry {
        id,
        base: None,
        range,
        length: cursor.at,
        compact_bytes: cursor.at,
        zeros_are_torn: false,
    })
}

fn decode_header(data: &[u8], intact: bool) -> Result<LsnRange, NoEntry> {
    let data: &[u8; HEADER_BYTES] =
        data.try_into().map_err(|_| NoEntry::Invalid("batch header of a wrong length"))?;
    if !intact {
        return Err(NoEntry::Invalid("CRC of the batch header"));
    }
    let (first, count) = data.split_first_chunk().expect("12 bytes begin with 8");
    let count = count.first_chunk().expect("12 bytes end with 4");
    Lsn::checked(u64::from_le_bytes(*first))
        .and_then(|first| LsnRange::checked(first, u32::from_le_bytes(*count).into()))
        .ok_or(NoEntry::Invalid("LSN out of range"))
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], NoEntry> {
        let array = *self.bytes[self.at..].first_chunk().ok_or(NoEntry::Incomplete)?;
        self.at += N;
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8, NoEntry> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Where a chunk's data begins and ends, and the CRC that is stored for it.
    fn chunk(&mut self, length_max: usize) -> Result<(usize, usize, u32), NoEntry> {
        if self.byte()? != CHUNK {
            return Err(NoEntry::Invalid("no chunk marker"));
        }
        let length = u32::from_le_bytes(self.array()?);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > length_max {
            return Err(NoEntry::Invalid("chunk over the limit"));
        }
        let start = self.at;
        let end = start + length;
        if end > self.bytes.len() {
            return Err(NoEntry::Incomplete);
        }
        self.at = end;
        Ok((start, end, u32::from_le_bytes(self.array()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        crate::Event { cookies: Some(text), ..crate::Event::default() }.encode(&mut bytes).unwrap();
        bytes
    }

    /// Two events from LSN 5, written by hand from the drawing above.
    fn golden() -> Vec<u8> {
        let mut bytes = b"\x01\x07\0\0\0\0\0\0\0".to_vec();
        for data in [&b"\x05\0\0\0\0\0\0\0\x02\0\0\0"[..], &event(b"a"), &event(b"")] {
            bytes.push(2);
            bytes.extend_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(data);
            bytes.extend_from_slice(&crc32c::crc32c(data).to_le_bytes());
        }
        bytes.push(3);
        bytes
    }

    #[test]
    fn an_entry_is_read_whole_or_not_at_all() {
        let bytes = golden();
        let mut slots = Vec::new();
        let entry = parse_entry(&bytes, &mut slots).unwrap();
        assert_eq!((entry.id, entry.range), (7, LsnRange::new(Lsn(5), 2)));
        assert_eq!(entry.length, bytes.len());
        assert!(slots.iter().all(|slot| slot.flaw.is_none()));
        assert_eq!(bytes[slots[0].start..slots[0].end], event(b"a"));
        for cut in 0..bytes.len() {
            assert_eq!(parse_entry(&bytes[..cut], &mut slots), Err(NoEntry::Incomplete), "{cut}");
        }
    }

    #[test]
    fn every_flipped_bit_but_those_of_the_id_is_noticed() {
        let bytes = golden();
        let mut slots = Vec::new();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let noticed = match parse_entry(&damaged, &mut slots) {
                Ok(entry) => entry.id != 7 || slots.iter().any(|slot| slot.flaw.is_some()),
                Err(_) => true,
            };
            assert!(noticed, "bit {bit}");
        }
    }
}
