//! A batch of format 2, written and read in memory; drawn in [`super`].
//!
//! Nothing here does I/O, or can panic on any bytes that are read.

use super::Slot;
use super::header::Form;
use super::{BLOCK, CHUNK, CHUNK_OVERHEAD, END, ENTRY, ENTRY_HEAD, Entry, NoEntry, Output, Salt};
use crate::lsn::{Lsn, LsnRange};

/// The largest batch, framing included and padding not.
pub const BATCH_BYTES_MAX: usize = 4 << 20;

/// The data of a batch header before the lengths of the events.
pub(super) const FIXED_BYTES: usize = 16 + 8 + 8 + 8 + 4 + 4 + 4;
/// The flag of a batch with an event that may fill a sector with zeros.
const HAS_ZEROS: u32 = 1;
/// Where the batch header's data begins.
pub(super) const HEADER_AT: usize = ENTRY_HEAD + 5;
/// Where the salt stands in a batch, for those who search for one.
pub(crate) const SALT_AT: usize = HEADER_AT;

/// The bytes that a batch takes besides its events and their [`EVENT_OVERHEAD`].
pub(crate) const BATCH_OVERHEAD: usize = ENTRY_HEAD + CHUNK_OVERHEAD + FIXED_BYTES + 1;

/// The bytes that an event takes besides its own: a chunk's, and its length in the batch header.
pub(crate) const EVENT_OVERHEAD: usize = CHUNK_OVERHEAD + 4;

/// The bytes that a disk writes whole or not at all.
pub(super) const SECTOR: usize = 512;

/// The length of a batch in a file of the given form, if it takes `bytes` without padding.
pub(crate) fn length_in(form: Form, bytes: usize) -> usize {
    match form {
        Form::Compact => bytes,
        Form::Log => {
            let padded = bytes.next_multiple_of(BLOCK);
            // The padding is a chunk, or there is none.
            if padded == bytes || padded - bytes >= CHUNK_OVERHEAD {
                padded
            } else {
                padded + BLOCK
            }
        }
    }
}

/// The zeros in the padding's chunk; `None` if nothing is padded.
pub(crate) fn padding_in(form: Form, bytes: usize) -> Option<usize> {
    (length_in(form, bytes) - bytes).checked_sub(CHUNK_OVERHEAD)
}

/// The CRC-32C of so many zeros, fewer than two blocks.
pub(super) fn crc_of_zeros(length: usize) -> u32 {
    use std::sync::LazyLock;
    static CRCS: LazyLock<Vec<u32>> = LazyLock::new(|| {
        let next = |crc: &u32| Some(crc32c::crc32c_append(*crc, &[0]));
        std::iter::successors(Some(0), next).take(2 * BLOCK).collect()
    });
    CRCS[length]
}

/// The place of a batch in its file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchPlace {
    pub salt: Salt,
    /// Where it begins, in bytes from the start of the file.
    pub offset: u64,
    /// The first LSN of the log.
    pub base: Lsn,
    /// The first LSN of the batch.
    pub first: Lsn,
    /// The id of the batch's entry.
    pub id: u64,
    pub flags: u32,
}

/// The flags of a batch with these events.
pub(crate) fn flags_of<'a>(mut events: impl Iterator<Item = &'a [u8]>) -> u32 {
    if events.any(has_zeros) { HAS_ZEROS } else { 0 }
}

/// Whether an event has as many zeros in a row as a sector: each such run holds one of every 512th
/// byte.
fn has_zeros(event: &[u8]) -> bool {
    let zeros = |bytes: &mut dyn Iterator<Item = &u8>| bytes.take_while(|&&b| b == 0).count();
    (SECTOR - 1..event.len())
        .step_by(SECTOR)
        .filter(|&at| event[at] == 0)
        .any(|at| zeros(&mut event[..at].iter().rev()) + zeros(&mut event[at..].iter()) >= SECTOR)
}

/// Fills in the data of a batch header: `lengths` are those of the encoded events of a batch that
/// takes `length` bytes in its file. `data` has room for it and no more.
pub(crate) fn put_header(
    data: &mut [u8],
    place: BatchPlace,
    length: usize,
    lengths: impl ExactSizeIterator<Item = usize>,
) {
    let narrow = |number: usize| u32::try_from(number).expect("a batch is under 4 GiB");
    let mut out = Output { bytes: data, at: 0 };
    out.put(&place.salt.0);
    out.put(&place.offset.to_le_bytes());
    out.put(&place.base.0.to_le_bytes());
    out.put(&place.first.0.to_le_bytes());
    out.put(&place.flags.to_le_bytes());
    out.put(&narrow(length).to_le_bytes());
    out.put(&narrow(lengths.len()).to_le_bytes());
    for length in lengths {
        out.put(&narrow(length).to_le_bytes());
    }
    debug_assert_eq!(out.at, out.bytes.len());
}

/// The largest batch header, with what stands before it: a batch has room for so many events.
pub(crate) const HEADER_BYTES_MAX: usize =
    HEADER_AT + header_bytes(BATCH_BYTES_MAX / EVENT_OVERHEAD) + 4;

/// The length of a batch header's data.
pub(crate) const fn header_bytes(events: usize) -> usize {
    FIXED_BYTES + 4 * events
}

/// Writes a batch that takes `unpadded` bytes without padding, and returns its length, which is
/// [`length_in`] the form; `bytes` must have room for that.
pub(crate) fn put_batch<'a>(
    bytes: &mut [u8],
    form: Form,
    place: BatchPlace,
    unpadded: usize,
    events: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
) -> usize {
    let length = length_in(form, unpadded);
    let mut out = Output { bytes, at: 0 };
    begin(&mut out, place, length, events.clone().map(<[u8]>::len));
    for event in events {
        out.put_chunk(event);
    }
    if let Some(zeros) = padding_in(form, unpadded) {
        out.put(&[CHUNK]);
        out.put(&u32::try_from(zeros).expect("under two blocks").to_le_bytes());
        out.bytes[out.at..out.at + zeros].fill(0);
        out.at += zeros;
        out.put(&crc_of_zeros(zeros).to_le_bytes());
    }
    out.put(&[END]);
    debug_assert_eq!(out.at, length);
    out.at
}

/// Writes a batch without padding, of events whose lengths and chunks are given, and returns its
/// length.
pub(crate) fn put_chunks(
    bytes: &mut [u8],
    place: BatchPlace,
    length: usize,
    lengths: impl ExactSizeIterator<Item = usize>,
    chunks: &[u8],
) -> usize {
    let mut out = Output { bytes, at: 0 };
    begin(&mut out, place, length, lengths);
    out.put(chunks);
    out.put(&[END]);
    debug_assert_eq!(out.at, length);
    out.at
}

/// Writes everything before the first event of a batch that takes `length` bytes.
fn begin(
    out: &mut Output<'_>,
    place: BatchPlace,
    length: usize,
    lengths: impl ExactSizeIterator<Item = usize>,
) {
    out.put(&[ENTRY]);
    out.put(&place.id.to_le_bytes());
    let header = header_bytes(lengths.len());
    out.put(&[CHUNK]);
    out.put(&u32::try_from(header).expect("a batch is under 4 GiB").to_le_bytes());
    let data = &mut out.bytes[out.at..out.at + header];
    put_header(data, place, length, lengths);
    let crc = crc32c::crc32c(data);
    out.at += header;
    out.put(&crc.to_le_bytes());
}

/// Reads the batch of the log with this salt at the start of `bytes`, which is at `offset` in the
/// file, and puts its events' places into `slots`.
pub(crate) fn parse_batch(
    offset: u64,
    bytes: &[u8],
    salt: Salt,
    form: Form,
    slots: &mut Vec<Slot>,
) -> Result<Entry, NoEntry> {
    slots.clear();
    let header = parse_header(bytes, salt)?;
    let (fixed, lengths) = header.split_at(FIXED_BYTES);
    let u32_at = |at: usize| u32::from_le_bytes(*fixed[at..].first_chunk().expect("52 bytes"));
    let id = u64::from_le_bytes(*bytes[1..].first_chunk().expect("the header follows the id"));
    let lsn_at = |at: usize| {
        let number = u64::from_le_bytes(*fixed[at..].first_chunk().expect("52 bytes"));
        Lsn::checked(number).ok_or(NoEntry::Invalid("LSN out of range"))
    };
    if fixed[16..24] != offset.to_le_bytes() {
        return Err(NoEntry::Invalid("batch of another place"));
    }
    let (base, first) = (lsn_at(24)?, lsn_at(32)?);
    let (flags, length, count) = (u32_at(40), u32_at(44) as usize, u32_at(48) as usize);
    if lengths.len() != 4 * count {
        return Err(NoEntry::Invalid("count of a batch"));
    }
    let range = LsnRange::checked(first, count as u64)
        .filter(|range| base <= range.first)
        .ok_or(NoEntry::Invalid("LSN out of range"))?;
    let lengths = lengths.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four) as usize);
    let data: usize = lengths.clone().sum();
    let compact_bytes = BATCH_OVERHEAD + count * EVENT_OVERHEAD + data;
    if compact_bytes > BATCH_BYTES_MAX || length != length_in(form, compact_bytes) {
        return Err(NoEntry::Invalid("length of a batch"));
    }
    let bytes = bytes.get(..length).ok_or(NoEntry::Incomplete)?;
    let mut at = HEADER_AT + header.len() + 4;
    for length in lengths {
        let start = at + 5;
        let end = start + length;
        let crc = u32::from_le_bytes(*bytes[end..].first_chunk().expect("lengths add up"));
        slots.push(Slot::of(bytes, start..end, crc));
        at = end + 4;
    }
    let zeros_are_torn = form == Form::Log && flags & HAS_ZEROS == 0;
    Ok(Entry { id, base: Some(base), range, length, compact_bytes, zeros_are_torn })
}

/// The data of the batch header at the start of `bytes`, once it is sure to be one of this log.
fn parse_header(bytes: &[u8], salt: Salt) -> Result<&[u8], NoEntry> {
    let head: &[u8; HEADER_AT] = bytes.first_chunk().ok_or(NoEntry::Incomplete)?;
    if head[0] != ENTRY || head[ENTRY_HEAD] != CHUNK {
        return Err(NoEntry::Invalid("no batch begins here"));
    }
    let length = u32::from_le_bytes(*head.last_chunk().expect("the head ends with a length"));
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    // Before anything is believed of its length.
    match bytes[HEADER_AT..].first_chunk::<16>() {
        None => return Err(NoEntry::Incomplete),
        Some(found) if *found != salt.0 => return Err(NoEntry::Invalid("no batch of this log")),
        Some(_) => {}
    }
    if !(FIXED_BYTES..=BATCH_BYTES_MAX).contains(&length) {
        return Err(NoEntry::Invalid("length of a batch header"));
    }
    let data = bytes[HEADER_AT..].get(..length).ok_or(NoEntry::Incomplete)?;
    let crc: &[u8; 4] = bytes[HEADER_AT + length..].first_chunk().ok_or(NoEntry::Incomplete)?;
    if crc32c::crc32c(data) != u32::from_le_bytes(*crc) {
        return Err(NoEntry::Invalid("CRC of the batch header"));
    }
    Ok(data)
}
