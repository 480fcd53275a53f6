//! Where the next batch begins, after something that is none.
//!
//! In format 2 the log's salt tells, which only the log itself has: each place where it stands is
//! one batch, and is looked at once. In format 1 anything may look like an entry, also what a
//! client has sent; there the chunks that follow a head are walked over once, however many heads
//! lead to them.

use std::collections::HashMap;
use std::io;

use super::decoder::{Decoder, Place};
use super::window::Window;
use crate::event::EVENT_BYTES_MAX;
use crate::format::batch::{BATCH_BYTES_MAX, SALT_AT};
use crate::format::header::Form;
use crate::format::v1::{ENTRY_OVERHEAD, HEADER_CHUNK_OFFSET, HEADER_CHUNK_START, parse_head};
use crate::format::{BLOCK, CHUNK, CHUNK_OVERHEAD, END, Entry, NoEntry, Slot};

/// The chunks of format 1 that are remembered before those that were passed are forgotten.
const KNOWN_MAX: usize = 1 << 20;

/// The offset of the next batch at or behind `from` that can belong behind `place`, and the batch.
pub(super) fn next_batch(
    window: &Window,
    decoder: Decoder,
    from: u64,
    place: &Place,
    chains: &mut Chains,
) -> io::Result<Option<(u64, Entry)>> {
    let mut ahead = window.look_ahead(from);
    let mut slots = Vec::new();
    while find_candidate(&mut ahead, decoder)? {
        if let Decoder::V1 = decoder
            && !chains.can_be_entry(&mut ahead, place)?
        {
            ahead.consume(1);
            continue;
        }
        let at = ahead.offset();
        if let Ok(entry) = parse_filling(&mut ahead, decoder, &mut slots)?
            && place.can_be(&entry, at)
        {
            return Ok(Some((at, entry)));
        }
        ahead.consume(1);
    }
    Ok(None)
}

/// Reads the batch where the window begins, filling the window as far as it takes.
pub(super) fn parse_filling(
    window: &mut Window,
    decoder: Decoder,
    slots: &mut Vec<Slot>,
) -> io::Result<Result<Entry, NoEntry>> {
    loop {
        match decoder.parse(window.offset(), window.bytes(), slots) {
            Err(NoEntry::Incomplete) if window.fill()? => {}
            found => return Ok(found),
        }
    }
}

fn find_candidate(ahead: &mut Window, decoder: Decoder) -> io::Result<bool> {
    match decoder {
        Decoder::Unknown => Ok(false),
        Decoder::V2 { salt, form } => loop {
            if !ahead.find(&salt.0, SALT_AT)? {
                return Ok(false);
            }
            if form == Form::Compact || ahead.offset().is_multiple_of(BLOCK as u64) {
                return Ok(true);
            }
            ahead.consume(1);
        },
        Decoder::V1 => loop {
            if !ahead.find(HEADER_CHUNK_START, HEADER_CHUNK_OFFSET)? {
                return Ok(false);
            }
            if ahead.bytes()[0] == 1 {
                return Ok(true);
            }
            ahead.consume(1);
        },
    }
}

/// The chains of chunks of format 1 that have been walked, by the offset where each begins: the
/// number of chunks that follow, and where they lead.
#[derive(Debug, Default)]
pub(super) struct Chains {
    known: HashMap<u64, (u32, End)>,
}

/// Where a chain of chunks leads.
#[derive(Clone, Copy, Debug)]
enum End {
    /// To the end of an entry.
    OfEntry,
    /// To something else.
    Nowhere,
    /// On from there; it was not followed further.
    Open(u64),
}

impl Chains {
    /// Whether an entry of format 1 that can belong behind `place` begins where the window does: by
    /// its head, and because as many chunks follow as that says, and then the end of an entry.
    pub(super) fn can_be_entry(&mut self, window: &mut Window, place: &Place) -> io::Result<bool> {
        while window.bytes().len() < ENTRY_OVERHEAD {
            if !window.fill()? {
                return Ok(false);
            }
        }
        let Ok(entry) = parse_head(window.bytes()) else { return Ok(false) };
        if !place.can_be(&entry, window.offset()) {
            return Ok(false);
        }
        let (chunks, end) = self.walk(window, entry.length)?;
        Ok(u64::from(chunks) == entry.range.count() && matches!(end, End::OfEntry))
    }

    /// Follows the chain that begins `at` bytes into the window, as far as an entry may be long.
    /// All that was passed leads there at once the next time.
    fn walk(&mut self, window: &mut Window, at: usize) -> io::Result<(u32, End)> {
        if self.known.len() > KNOWN_MAX {
            let passed = window.offset();
            self.known.retain(|offset, _| *offset >= passed);
        }
        let mut at = window.offset() + at as u64;
        let limit = window.offset() + BATCH_BYTES_MAX as u64;
        let (mut chunks, mut trail) = (0_u32, Vec::new());
        let end = loop {
            if at >= limit {
                break End::Open(at);
            }
            if let Some((more, end)) = self.known.get(&at).copied() {
                trail.push((at, chunks));
                chunks = chunks.saturating_add(more);
                match end {
                    End::Open(further) => at = further,
                    _ => break end,
                }
                continue;
            }
            match chunk_at(window, at)? {
                Ok(length) => {
                    trail.push((at, chunks));
                    chunks += 1;
                    at += (CHUNK_OVERHEAD + length) as u64;
                }
                Err(end) => break end,
            }
        };
        for (offset, before) in trail {
            self.known.insert(offset, (chunks - before, end));
        }
        Ok((chunks, end))
    }
}

/// The length of the chunk that begins at this offset, or what the chain ends with.
fn chunk_at(window: &mut Window, offset: u64) -> io::Result<Result<usize, End>> {
    let Ok(at) = usize::try_from(offset - window.offset()) else { return Ok(Err(End::Nowhere)) };
    while window.bytes().len() < at + 5 && window.fill()? {}
    let bytes = window.bytes().get(at..).unwrap_or_default();
    if bytes.first() == Some(&END) {
        return Ok(Err(End::OfEntry));
    }
    let Some([CHUNK, length @ ..]) = bytes.first_chunk::<5>() else {
        return Ok(Err(End::Nowhere));
    };
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    Ok(if length > EVENT_BYTES_MAX { Err(End::Nowhere) } else { Ok(length) })
}
