//! The format of a file that is read, and the place in its log that is read next.

use crate::format::batch::{BATCH_OVERHEAD, parse_batch};
use crate::format::header::{Form, LogHeader};
use crate::format::v1::{self, parse_entry};
use crate::format::{CHUNK_OVERHEAD, Entry, NoEntry, Salt, Slot};
use crate::lsn::Lsn;

/// The way in which the batches of a file are read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Decoder {
    V1,
    V2 {
        salt: Salt,
        form: Form,
    },
    /// Nothing tells the salt, so nothing proves a batch.
    Unknown,
}

impl Decoder {
    pub(super) fn of(header: LogHeader) -> Self {
        match header.descriptor {
            None => Self::V1,
            Some(descriptor) => Self::V2 { salt: descriptor.salt, form: descriptor.form },
        }
    }

    /// Whether a file without a header is of format 1: its first entry is where that has it, and
    /// where no client's bytes come to lie.
    pub(super) fn begins_as_v1(bytes: &[u8]) -> bool {
        let first = bytes.get(v1::LOG_HEADER_BYTES..).unwrap_or_default();
        let id_and_header = [&1_u64.to_le_bytes()[..], v1::HEADER_CHUNK_START].concat();
        first.strip_prefix(&[1]).is_some_and(|rest| rest.starts_with(&id_and_header))
    }

    /// Reads the batch at the start of `bytes`, which is at `offset` in the file.
    pub(super) fn parse(
        self,
        offset: u64,
        bytes: &[u8],
        slots: &mut Vec<Slot>,
    ) -> Result<Entry, NoEntry> {
        match self {
            Self::V1 => parse_entry(bytes, slots),
            Self::V2 { salt, form } => parse_batch(offset, bytes, salt, form, slots),
            Self::Unknown => Err(NoEntry::Invalid("no intact log header")),
        }
    }

    /// The smallest batch, in bytes.
    fn batch_bytes_min(self) -> usize {
        if let Self::V2 { .. } = self { BATCH_OVERHEAD } else { v1::ENTRY_OVERHEAD }
    }
}

/// The batch that comes next, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub decoder: Decoder,
    /// Its LSN; `None` until a batch has told.
    pub lsn: Option<Lsn>,
    /// Its entry's id.
    pub id: u64,
    /// Where it begins.
    pub offset: u64,
}

impl Place {
    /// Whether a batch found at `at` can be the next, or a later one, of the same log: what lies in
    /// between must have room for what is missing.
    pub(super) fn can_be(&self, entry: &Entry, at: u64) -> bool {
        let skipped = at.saturating_sub(self.offset);
        let batches = skipped / self.decoder.batch_bytes_min() as u64;
        let events = skipped / CHUNK_OVERHEAD as u64;
        // Of format 2 the header proves the place, and has a CRC, which the id has not: a flipped
        // bit of one, believed behind a gap, would shut out what follows.
        let is_proven = matches!(self.decoder, Decoder::V2 { .. });
        let id_fits =
            is_proven || entry.id.checked_sub(self.id).is_some_and(|missing| missing <= batches);
        let lsn_fits = self
            .lsn
            .is_none_or(|lsn| entry.range.first >= lsn && entry.range.first.since(lsn) <= events);
        id_fits && lsn_fits
    }

    /// The place behind a batch that ends at `end`.
    pub(super) fn after(&self, entry: &Entry, end: u64) -> Self {
        let id = entry.id.saturating_add(1);
        Self { lsn: Some(entry.range.end), id, offset: end, ..*self }
    }
}
