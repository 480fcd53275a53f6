//! The bytes of logs and segments, drawn here; the files of this folder encode and decode them.
//!
//! ```text
//! log      = header, descriptor entry (to byte 8192), batch*, zeros
//! segment  = header, descriptor entry, batch*, footer       compact: nothing is padded
//!          | log up to its last batch, footer               as it was written
//!
//! header   = "okw" 00, length u8 = 30, info
//! info     = "sewer-wal", format u8 = 2, WAL id u64, segment number u64, CRC-32C u32 of info
//! entry    = 01, entry id u64 (1, 2, 3 …), chunk*, 03
//! chunk    = 02, length u32, data, CRC-32C of data u32
//!
//! descriptor entry = the entry with id 1, of one chunk: descriptor; in a log then zeros, and at
//!                    byte 4096 of the file info and descriptor once more, and zeros
//! descriptor       = salt [16], form u8 (1 log, 2 compact), codec u8 = 0, cipher u8 = 0,
//!                    names u8 (0 plain, 1 own), CRC-32C u32 of info and descriptor
//!
//! batch    = the entry with id 2, 3 …: batch header, event*, padding?
//! batch header = chunk: salt [16], offset of the batch in the file u64, first LSN of the log u64,
//!                       first LSN of the batch u64, flags u32 (1: an event has 512 zeros in a
//!                       row), batch bytes u32, event count u32, length u32 of each event
//! event    = chunk: the event, encoded
//! padding  = chunk of zeros, in a log only: there each batch begins and ends on a block of 4096
//! ```
//! All integers are little-endian. Entries and chunks are okaywal's framing, version 0.
//!
//! *The salt* is random and never leaves the node: bytes that do not repeat it are not read as a
//! batch, and nobody who only sends requests can know it. *The batch header* is under its own CRC
//! and tells where each event lies, so that nothing inside an event is ever taken for structure,
//! whatever is damaged around it. Its offset proves its place: a block that a disk has written in
//! the place of another is not read there. With the first LSN of the log, any batch that is left
//! tells what is lost before it. *Codec and cipher* are what batches are encoded and encrypted
//! with; both are outside of the framing.
//!
//! Format 1 ([`v1`]) has neither; it is read, and no longer written.

pub(crate) mod batch;
#[cfg(test)]
mod batch_tests;
pub(crate) mod footer;
pub(crate) mod header;
pub(crate) mod torn;
pub(crate) mod v1;

use std::ops::Range;

use crate::event::{self, EVENT_BYTES_MAX};
use crate::lsn::{Lsn, LsnRange};

/// The format that this build writes, and the newest that it reads.
pub(crate) const FORMAT_VERSION: u8 = 2;

/// The bytes of a block, on which each batch of a log begins and ends: no disk needs to write more.
pub(crate) const BLOCK: usize = 4096;

/// The bytes before the first batch of a log.
pub(crate) const LOG_START: usize = 2 * BLOCK;

pub(crate) const ENTRY: u8 = 1;
pub(crate) const CHUNK: u8 = 2;
pub(crate) const END: u8 = 3;

/// The bytes that a chunk takes besides its data.
pub(crate) const CHUNK_OVERHEAD: usize = 1 + 4 + 4;

/// The bytes of an entry before its first chunk: marker and id.
pub(crate) const ENTRY_HEAD: usize = 1 + 8;

/// Secret of one log, repeated in each of its batches.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Salt(pub(crate) [u8; 16]);

impl Salt {
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }
}

/// Never printed: whoever knows it can forge batches of the log.
impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt(..)")
    }
}

/// Where an event's bytes lie within its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub start: usize,
    pub end: usize,
    /// Why the event cannot be had, unless it is intact.
    pub flaw: Option<&'static str>,
}

impl Slot {
    /// The slot of the event that lies in this place of `bytes`, with the CRC stored for it.
    fn of(bytes: &[u8], Range { start, end }: Range<usize>, crc: u32) -> Self {
        let data = &bytes[start..end];
        let flaw = if crc32c::crc32c(data) != crc {
            Some("CRC of the event")
        } else if data.len() > EVENT_BYTES_MAX {
            Some("event over the limit")
        } else {
            event::check(data).err()
        };
        Self { start, end, flaw }
    }
}

/// A batch whose structure is sound; single events may still be damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub id: u64,
    /// The first LSN of its log, if it tells.
    pub base: Option<Lsn>,
    pub range: LsnRange,
    /// Its length in bytes.
    pub length: usize,
    /// Its length in bytes without padding.
    pub compact_bytes: usize,
    /// Whether a sector of zeros within its events never reached the disk.
    pub zeros_are_torn: bool,
}

/// Why no batch was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoEntry {
    /// The bytes end before the batch does.
    Incomplete,
    /// The bytes are not a batch.
    Invalid(&'static str),
}

/// Bytes that are being written.
pub(crate) struct Output<'a> {
    pub bytes: &'a mut [u8],
    pub at: usize,
}

impl Output<'_> {
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    pub(crate) fn put_chunk(&mut self, data: &[u8]) {
        let length = u32::try_from(data.len()).expect("a batch is smaller");
        self.put(&[CHUNK]);
        self.put(&length.to_le_bytes());
        self.put(data);
        self.put(&crc32c::crc32c(data).to_le_bytes());
    }
}
