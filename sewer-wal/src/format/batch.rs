//! A batch of format 2, written and read in memory; drawn in [`super`].
//!
//! Nothing here does I/O, or can panic on any bytes that are read.

use super::Slot;
use super::header::Form;
use super::{BLOCK, CHUNK, CHUNK_OVERHEAD, END, ENTRY, ENTRY_HEAD, Entry, NoEntry, Output, Salt};
use crate::event::EVENT_BYTES_MIN;
use crate::lsn::{Lsn, LsnRange};

/// The largest batch, framing included and padding not.
pub const BATCH_BYTES_MAX: usize = 4 << 20;

/// The data of a batch header before the lengths of the events.
const FIXED_BYTES: usize = 16 + 8 + 8 + 8 + 4 + 4 + 4;
/// The flag of a batch with an event that may fill a sector with zeros.
const HAS_ZEROS: u32 = 1;
/// Where the batch header's data begins.
const HEADER_AT: usize = ENTRY_HEAD + 5;
/// Where the salt stands in a batch, for those who search for one.
pub(crate) const SALT_AT: usize = HEADER_AT;

/// The bytes that a batch takes besides its events and their [`EVENT_OVERHEAD`].
pub(crate) const BATCH_OVERHEAD: usize = ENTRY_HEAD + CHUNK_OVERHEAD + FIXED_BYTES + 1;

/// The bytes that an event takes besides its own: a chunk's, and its length in the batch header.
pub(crate) const EVENT_OVERHEAD: usize = CHUNK_OVERHEAD + 4;

/// The bytes that a disk writes whole or not at all.
const SECTOR: usize = 512;

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
fn crc_of_zeros(length: usize) -> u32 {
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
    if sector.iter().all(|&byte| byte == 0) {
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

    const SALT: Salt = Salt([0x5a; 16]);

    fn event(text: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        crate::Event { cookies: Some(text), ..crate::Event::default() }.encode(&mut bytes).unwrap();
        bytes
    }

    fn batch(form: Form, events: &[Vec<u8>]) -> Vec<u8> {
        let data: usize = events.iter().map(Vec::len).sum();
        let unpadded = BATCH_OVERHEAD + events.len() * EVENT_OVERHEAD + data;
        let mut bytes = vec![0xee; length_in(form, unpadded)];
        let events = events.iter().map(Vec::as_slice);
        let (base, first) = (Lsn(3), Lsn(5));
        let place = BatchPlace { salt: SALT, offset: 9, base, first, id: 7, flags: 0 };
        assert_eq!(put_batch(&mut bytes, form, place, unpadded, events), bytes.len());
        bytes
    }

    #[test]
    fn the_bytes_are_those_of_the_drawing() {
        let (a, b) = (event(b"a"), event(b""));
        let bytes = batch(Form::Log, &[a.clone(), b.clone()]);
        assert_eq!(bytes.len(), BLOCK);
        let length = |data: &[u8]| u32::try_from(data.len()).unwrap().to_le_bytes();
        let header = [&[0x5a; 16][..], b"\x09\0\0\0\0\0\0\0"].concat();
        let header =
            [&header[..], b"\x03\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\x02\0\0\0"]
                .concat();
        let header = [&header[..], &length(&a), &length(&b)].concat();
        let mut golden = b"\x01\x07\0\0\0\0\0\0\0".to_vec();
        let used = 9 + 9 + header.len() + 9 + a.len() + 9 + b.len() + 1;
        let zeros = vec![0; BLOCK - used - 9];
        for data in [&header, &a, &b, &zeros] {
            golden.push(2);
            golden.extend_from_slice(&length(data));
            golden.extend_from_slice(data);
            golden.extend_from_slice(&crc32c::crc32c(data).to_le_bytes());
        }
        golden.push(3);
        assert!(bytes == golden);
        assert_eq!(used, BATCH_OVERHEAD + 2 * EVENT_OVERHEAD + a.len() + b.len());
        assert_eq!(batch(Form::Compact, &[a, b]).len(), used);
    }

    #[test]
    fn zeros_have_the_crc_that_is_kept_for_them() {
        for length in [0, 1, 7, 8, 4095, BLOCK, 2 * BLOCK - 1] {
            assert_eq!(crc_of_zeros(length), crc32c::crc32c(&vec![0; length]), "{length}");
        }
    }

    #[test]
    fn a_batch_ends_on_a_block_whatever_its_events_take() {
        for length in 3900..4200 {
            let bytes = batch(Form::Log, &[event(&vec![b'x'; length])]);
            assert_eq!(bytes.len() % BLOCK, 0, "{length}");
            let mut slots = Vec::new();
            let entry = parse_batch(9, &bytes, SALT, Form::Log, &mut slots).unwrap();
            assert_eq!((entry.id, entry.length), (7, bytes.len()));
            assert_eq!(slots[0].flaw, None);
        }
    }

    #[test]
    fn a_batch_is_read_whole_or_not_at_all() {
        let bytes = batch(Form::Compact, &[event(b"a"), event(b"")]);
        let mut slots = Vec::new();
        let entry = parse_batch(9, &bytes, SALT, Form::Compact, &mut slots).unwrap();
        assert_eq!((entry.id, entry.base), (7, Some(Lsn(3))));
        assert_eq!(entry.range, LsnRange::new(Lsn(5), 2));
        for cut in 0..bytes.len() {
            let cut = &bytes[..cut];
            assert_eq!(
                parse_batch(9, cut, SALT, Form::Compact, &mut slots),
                Err(NoEntry::Incomplete)
            );
        }
    }

    #[test]
    fn in_another_place_it_is_no_batch() {
        let bytes = batch(Form::Compact, &[event(b"a")]);
        for place in [0, 8, 10, 9 + BLOCK as u64] {
            let found = parse_batch(place, &bytes, SALT, Form::Compact, &mut Vec::new());
            assert_eq!(found, Err(NoEntry::Invalid("batch of another place")));
        }
    }

    #[test]
    fn without_the_salt_it_is_no_batch() {
        let bytes = batch(Form::Compact, &[event(b"a")]);
        for bit in 0..128 {
            let mut salt = SALT;
            salt.0[bit / 8] ^= 1 << (bit % 8);
            let found = parse_batch(9, &bytes, salt, Form::Compact, &mut Vec::new());
            assert_eq!(found, Err(NoEntry::Invalid("no batch of this log")));
        }
    }

    /// No flipped bit moves an event, or costs another than the one that it is in.
    #[test]
    fn a_flipped_bit_costs_its_event_or_the_batch() {
        let events = [event(b"a"), event(b"bc"), event(b"")];
        let bytes = batch(Form::Compact, &events);
        let mut slots = Vec::new();
        for bit in 9 * 8..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if parse_batch(9, &damaged, SALT, Form::Compact, &mut slots).is_err() {
                assert!(bit / 8 < HEADER_AT + header_bytes(3) + 4, "bit {bit}");
                continue;
            }
            let flawed = slots.iter().filter(|slot| slot.flaw.is_some()).count();
            assert!(flawed <= 1, "bit {bit}");
            for (slot, event) in slots.iter().zip(&events) {
                let data = &damaged[slot.start..slot.end];
                assert!(slot.flaw.is_some() || data == event, "bit {bit}");
            }
        }
    }
}
