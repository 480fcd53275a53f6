//! The bytes of a log: okaywal's format, version 0, as this WAL uses it.
//!
//! ```text
//! log      = "okw" 00, length u8 = 30, version info, entry*, zeros
//! info     = "sewer-wal", format u8 = 1, WAL id u64, segment number u64, CRC-32C u32 of info
//! entry    = 01, entry id u64 (1, 2, 3 …), header chunk, event chunk*, 03
//! chunk    = 02, length u32, data, CRC-32C of data u32
//! header   = first LSN u64, event count u32
//! ```
//! All integers are little-endian. One entry is one batch. The marker bytes, lengths and entry
//! ids are under no CRC of their own; the footer's CRC covers them once the segment is sealed.
//!
//! This module only looks at bytes in memory; it allocates nothing and cannot panic on any input.

use crate::batch::{Batch, EVENT_BYTES_MAX};
use crate::identity::WalId;
use crate::lsn::{Lsn, LsnRange};

/// The version of the log format, in the version info and in the footer.
pub const FORMAT_VERSION: u8 = 1;

const ENTRY: u8 = 1;
const CHUNK: u8 = 2;
const END: u8 = 3;
const MAGIC: &[u8; 4] = b"okw\0";
const INFO_MAGIC: &[u8; 9] = b"sewer-wal";
const INFO_BYTES: u8 = 30;
const HEADER_BYTES: usize = 12;

/// The bytes before the first entry.
pub const LOG_HEADER_BYTES: usize = 5 + INFO_BYTES as usize;

/// What a chunk takes besides its data.
pub const CHUNK_OVERHEAD: usize = 1 + 4 + 4;

/// What an entry takes besides its event chunks.
pub const ENTRY_OVERHEAD: usize = 1 + 8 + CHUNK_OVERHEAD + HEADER_BYTES + 1;

/// What stands nine bytes after the start of every entry: the header chunk's marker and length.
pub(crate) const HEADER_CHUNK_START: &[u8; 5] = b"\x02\x0c\0\0\0";
pub(crate) const HEADER_CHUNK_OFFSET: usize = 9;

/// Whose log a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogHeader {
    /// The WAL.
    pub wal_id: WalId,
    /// The segment's number.
    pub segment: u64,
}

/// Why the first bytes of a file are not a log header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Not a log of this WAL at all, or damaged.
    NotALog,
    /// A log of a newer format.
    Version(u8),
}

impl LogHeader {
    /// The first bytes of a log.
    #[must_use]
    pub fn encode(self) -> [u8; LOG_HEADER_BYTES] {
        let mut bytes = [0; LOG_HEADER_BYTES];
        let mut out = Output { bytes: &mut bytes, at: 0 };
        out.put(MAGIC);
        out.put(&[INFO_BYTES]);
        let info = out.at;
        out.put(INFO_MAGIC);
        out.put(&[FORMAT_VERSION]);
        out.put(&self.wal_id.0.to_le_bytes());
        out.put(&self.segment.to_le_bytes());
        // So that damage is not taken for another WAL or for a format yet to be invented.
        out.put(&crc32c::crc32c(&out.bytes[info..out.at]).to_le_bytes());
        bytes
    }

    /// Reads the first [`LOG_HEADER_BYTES`] of a log.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(HeaderError::NotALog)?;
        let rest = rest.strip_prefix(&[INFO_BYTES]).ok_or(HeaderError::NotALog)?;
        let info: &[u8; INFO_BYTES as usize] = rest.first_chunk().ok_or(HeaderError::NotALog)?;
        let (data, crc) = info.split_last_chunk().expect("30 bytes end with 4");
        if crc32c::crc32c(data) != u32::from_le_bytes(*crc) {
            return Err(HeaderError::NotALog);
        }
        let rest = data.strip_prefix(INFO_MAGIC).ok_or(HeaderError::NotALog)?;
        let (&version, rest) = rest.split_first().ok_or(HeaderError::NotALog)?;
        if version != FORMAT_VERSION {
            return Err(HeaderError::Version(version));
        }
        let (id, rest) = rest.split_first_chunk().ok_or(HeaderError::NotALog)?;
        let (segment, _) = rest.split_first_chunk().ok_or(HeaderError::NotALog)?;
        Ok(Self { wal_id: WalId(u64::from_le_bytes(*id)), segment: u64::from_le_bytes(*segment) })
    }
}

/// Writes a batch as the entry with this id, and returns its length, which is
/// [`Batch::framed_bytes`]; `bytes` must have room for that.
pub(crate) fn put_entry(bytes: &mut [u8], id: u64, first: Lsn, batch: &Batch) -> usize {
    let count = u32::try_from(batch.len()).expect("4 MiB hold fewer than 2^32 events");
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&first.0.to_le_bytes());
    header[8..].copy_from_slice(&count.to_le_bytes());
    let mut out = Output { bytes, at: 0 };
    out.put(&[ENTRY]);
    out.put(&id.to_le_bytes());
    out.put_chunk(&header);
    for event in batch.events() {
        out.put_chunk(event);
    }
    out.put(&[END]);
    debug_assert_eq!(out.at, batch.framed_bytes());
    out.at
}

/// Bytes that are being written.
struct Output<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Output<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    fn put_chunk(&mut self, data: &[u8]) {
        let length = u32::try_from(data.len()).expect("a batch is smaller");
        self.put(&[CHUNK]);
        self.put(&length.to_le_bytes());
        self.put(data);
        self.put(&crc32c::crc32c(data).to_le_bytes());
    }
}

/// Where an event's bytes lie within its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub start: usize,
    pub end: usize,
    /// Whether the CRC holds.
    pub intact: bool,
}

/// An entry whose structure and header are sound; single events may still be damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub id: u64,
    pub range: LsnRange,
    /// Its length in bytes.
    pub length: usize,
}

/// Why no entry was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoEntry {
    /// The bytes end before the entry does.
    Incomplete,
    /// The bytes are not an entry.
    Invalid(&'static str),
}

/// Reads the entry at the start of `bytes` and puts its events' places into `slots`.
pub(crate) fn parse_entry(bytes: &[u8], slots: &mut Vec<Slot>) -> Result<Entry, NoEntry> {
    slots.clear();
    let mut cursor = Cursor { bytes, at: 0 };
    if cursor.byte()? != ENTRY {
        return Err(NoEntry::Invalid("no entry marker"));
    }
    let id = u64::from_le_bytes(cursor.array()?);
    let header = cursor.chunk(HEADER_BYTES)?;
    let range = decode_header(&bytes[header.start..header.end], header.intact)?;
    for _ in 0..range.count() {
        slots.push(cursor.chunk(EVENT_BYTES_MAX)?);
    }
    if cursor.byte()? != END {
        return Err(NoEntry::Invalid("no end marker"));
    }
    Ok(Entry { id, range, length: cursor.at })
}

fn decode_header(data: &[u8], intact: bool) -> Result<LsnRange, NoEntry> {
    let data: &[u8; HEADER_BYTES] =
        data.try_into().map_err(|_| NoEntry::Invalid("batch header of a wrong length"))?;
    if !intact {
        return Err(NoEntry::Invalid("CRC of the batch header"));
    }
    let (first, count) = data.split_first_chunk().expect("12 bytes begin with 8");
    let count = count.first_chunk().expect("12 bytes end with 4");
    Ok(LsnRange::new(Lsn(u64::from_le_bytes(*first)), u32::from_le_bytes(*count).into()))
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

    fn chunk(&mut self, length_max: usize) -> Result<Slot, NoEntry> {
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
        let data = self.bytes.get(start..end).ok_or(NoEntry::Incomplete)?;
        self.at = end;
        let crc = u32::from_le_bytes(self.array()?);
        Ok(Slot { start, end, intact: crc32c::crc32c(data) == crc })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two events, "a" and "", from LSN 5, written by hand from the drawing above.
    fn golden() -> Vec<u8> {
        let mut bytes = b"\x01\x07\0\0\0\0\0\0\0".to_vec();
        for data in [&b"\x05\0\0\0\0\0\0\0\x02\0\0\0"[..], b"a", b""] {
            bytes.push(2);
            bytes.extend_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(data);
            bytes.extend_from_slice(&crc32c::crc32c(data).to_le_bytes());
        }
        bytes.push(3);
        bytes
    }

    #[test]
    fn the_overheads_are_those_of_the_drawing() {
        assert_eq!(golden().len(), ENTRY_OVERHEAD + 2 * CHUNK_OVERHEAD + 1);
    }

    #[test]
    fn an_entry_is_read_whole_or_not_at_all() {
        let bytes = golden();
        let mut slots = Vec::new();
        let entry = parse_entry(&bytes, &mut slots).unwrap();
        assert_eq!((entry.id, entry.range, entry.length), (7, LsnRange::new(Lsn(5), 2), 50));
        assert!(slots.iter().all(|slot| slot.intact));
        assert_eq!(&bytes[slots[0].start..slots[0].end], b"a");
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
                Ok(entry) => entry.id != 7 || slots.iter().any(|slot| !slot.intact),
                Err(_) => true,
            };
            assert!(noticed, "bit {bit}");
        }
    }

    #[test]
    fn a_header_names_the_wal_and_the_segment() {
        let header = LogHeader { wal_id: WalId(0x0123_4567_89ab_cdef), segment: 9 };
        let mut bytes = header.encode();
        assert!(bytes.starts_with(b"okw\0\x1esewer-wal\x01"));
        assert_eq!(LogHeader::decode(&bytes), Ok(header));
        bytes[14] = 2;
        assert_eq!(LogHeader::decode(&bytes), Err(HeaderError::NotALog));
        let crc = crc32c::crc32c(&bytes[5..31]);
        bytes[31..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(LogHeader::decode(&bytes), Err(HeaderError::Version(2)));
        assert_eq!(LogHeader::decode(b"okw\0"), Err(HeaderError::NotALog));
    }
}
