//! Where the next batch begins, after something that is none.
//!
//! In format 2 the log's salt tells, which only the log itself has: each place where it stands is
//! one batch, and is looked at once. In format 1 anything may look like an entry, also what a client
//! has sent; there the bytes walked over are bounded.

use std::collections::HashMap;
use std::io;

use super::decoder::{Decoder, Place};
use super::window::Window;
use crate::batch::BATCH_BYTES_MAX;
use crate::format::batch::SALT_AT;
use crate::format::header::Form;
use crate::format::v1::{ENTRY_OVERHEAD, HEADER_CHUNK_OFFSET, HEADER_CHUNK_START};
use crate::format::{BLOCK, CHUNK, CHUNK_OVERHEAD, END, Entry, NoEntry, Slot};

/// How many chunks of format 1 are walked over in one search; 4 MiB hold fewer than half a million.
const STEPS_MAX: u32 = 64 << 20;

/// The offset of the next batch at or behind `from` that can belong behind `place`, and the batch.
pub(super) fn next_batch(
    window: &Window,
    decoder: Decoder,
    from: u64,
    place: &Place,
) -> io::Result<Option<(u64, Entry)>> {
    let mut ahead = window.look_ahead(from);
    let mut slots = Vec::new();
    let mut chains = Chains::default();
    while find_candidate(&mut ahead, decoder)? {
        if let Decoder::V1 = decoder
            && !chains.can_be_entry(&mut ahead)?
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

/// The chains of chunks that have been walked, by where they begin: how many chunks follow, and
/// whether an entry's end does then. So that many heads before one chain cost one walk.
#[derive(Debug, Default)]
struct Chains {
    known: HashMap<u64, (u32, bool)>,
    steps: u32,
}

impl Chains {
    /// Whether as many chunks follow the head of format 1 at the window's start as it says, and then
    /// the end of an entry.
    fn can_be_entry(&mut self, ahead: &mut Window) -> io::Result<bool> {
        while ahead.bytes().len() < ENTRY_OVERHEAD {
            if !ahead.fill()? {
                return Ok(false);
            }
        }
        let count_at = HEADER_CHUNK_OFFSET + HEADER_CHUNK_START.len() + 8;
        let count = ahead.bytes()[count_at..].first_chunk().expect("an entry's head is there");
        let count = u32::from_le_bytes(*count);
        let (mut at, mut walked) = (ENTRY_OVERHEAD - 1, Vec::new());
        let (mut chunks, ends) = loop {
            let offset = ahead.offset() + at as u64;
            if let Some(known) = self.known.get(&offset) {
                break *known;
            }
            while ahead.bytes().len() < at + 5 && ahead.fill()? {}
            let Some(head) = ahead.bytes().get(at..at + 5) else {
                break (0, ahead.bytes().get(at) == Some(&END));
            };
            if head[0] != CHUNK {
                break (0, head[0] == END);
            }
            let length = u32::from_le_bytes(*head.last_chunk().expect("5 bytes end with 4"));
            walked.push(offset);
            at = at.saturating_add(CHUNK_OVERHEAD).saturating_add(length as usize);
            self.steps += 1;
            if at > 2 * BATCH_BYTES_MAX || self.steps > STEPS_MAX {
                break (0, false);
            }
        };
        for offset in walked.into_iter().rev() {
            chunks += 1;
            self.known.insert(offset, (chunks, ends));
        }
        Ok(chunks == count && ends)
    }
}
