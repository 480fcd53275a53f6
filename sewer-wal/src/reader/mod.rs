//! The strict reader: every intact event of a segment or of an active log, in LSN order.
//!
//! It needs no lock and writes nothing, checks every CRC, and cannot panic, loop or allocate more
//! than about two batches on any bytes; its time is linear in them. Where a batch is damaged it
//! looks for the next one, so that the cost is that batch; where only an event's data is damaged,
//! cannot be decoded or cannot be placed in time, the cost is that event. A block that the disk
//! cannot read costs what lies in it. Losses are reported as [`Damage`], by offset and by LSN.
//!
//! In an *active* log the end is the last complete batch, and behind it is the torn tail, or what a
//! running pixel is about to complete. In a *sealed* segment the footer says where the data ends,
//! and anything missing before that is damage.

mod decoder;
mod end;
mod footer;
mod open;
mod resync;
pub(crate) mod window;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use self::decoder::{Decoder, Place};
use self::resync::{Chains, next_batch, parse_filling};
use self::window::Window;
use crate::error::{IoContext, WalError};
use crate::format::footer::Footer;
use crate::format::header::LogHeader;
use crate::format::torn::is_torn;
use crate::format::{Entry, NoEntry, Slot};
use crate::lsn::{Lsn, LsnRange};

/// How long a batch that seems damaged is given to be one that is just copied into the page cache.
const COMMIT_PATIENCE: Duration = Duration::from_millis(20);

/// The kind of a file that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A log that is, or was when its process ended, being written.
    Active,
    /// A sealed segment, with a footer.
    Sealed,
}

/// A stretch of a file that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Where it begins, in bytes from the start of the file.
    pub offset: u64,
    /// The LSNs lost with it; empty if none, or if nothing tells how many.
    pub lost: LsnRange,
    /// The finding.
    pub reason: &'static str,
}

/// One thing that the reader comes across.
#[derive(Debug)]
pub enum Item<'a> {
    /// A batch, perhaps without some damaged events.
    Batch(BatchView<'a>),
    /// Damage; reading goes on behind it.
    Damage(Damage),
}

/// The intact events of one batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchView<'a> {
    /// Where the batch begins, in bytes from the start of the file.
    pub offset: u64,
    /// Its LSNs.
    pub range: LsnRange,
    /// The bytes that it takes without padding.
    pub(crate) compact_bytes: usize,
    bytes: &'a [u8],
    slots: &'a [Slot],
}

impl<'a> BatchView<'a> {
    /// The intact events, still encoded, with their LSNs. Each can be decoded.
    pub fn events(self) -> impl Iterator<Item = (Lsn, &'a [u8])> {
        let intact = |(_, slot): &(u64, &Slot)| slot.flaw.is_none();
        (0..).zip(self.slots).filter(intact).map(move |(index, slot)| {
            (self.range.first.plus(index), &self.bytes[slot.start..slot.end])
        })
    }

    /// The lengths of its events and their chunks, one behind the other, if each is intact.
    pub(crate) fn chunks(
        self,
    ) -> Option<(impl ExactSizeIterator<Item = usize> + use<'a>, &'a [u8])> {
        let is_whole = self.slots.iter().all(|slot| slot.flaw.is_none());
        let chunks = match (self.slots.first(), self.slots.last()) {
            (Some(first), Some(last)) => &self.bytes[first.start - 5..last.end + 4],
            _ => &[],
        };
        is_whole.then(|| (self.slots.iter().map(|slot| slot.end - slot.start), chunks))
    }
}

/// Reads one file. See the module's documentation.
#[derive(Debug)]
pub struct SegmentReader {
    path: PathBuf,
    kind: Kind,
    window: Window,
    header: Option<LogHeader>,
    footer: Option<Footer>,
    /// The base that the file's name tells.
    named: Option<Lsn>,
    /// The LSN of the first event, as far as names, footers and neighbours tell.
    expected_first: Option<Lsn>,
    /// The LSN behind the last event, as the next segment tells.
    expected_end: Option<Lsn>,
    next: Place,
    chains: Chains,
    slots: Vec<Slot>,
    found: VecDeque<Damage>,
    is_damaged: bool,
    is_as_sealed: bool,
    has_ended: bool,
    /// The end of the last complete batch.
    data_end: u64,
}

impl SegmentReader {
    /// Tells the reader where the next segment of the same WAL begins, so that a lost end of this
    /// one is reported by its LSNs.
    #[must_use]
    pub fn expecting_end(mut self, end: Option<Lsn>) -> Self {
        self.expected_end = end;
        self
    }

    /// Tells the reader where the segment before this log ended, so that a lost beginning of this
    /// one is reported by its LSNs.
    #[must_use]
    pub(crate) fn expecting_first(mut self, first: Option<Lsn>) -> Self {
        self.expected_first = self.expected_first.or(first);
        self
    }

    /// The file's header, if it is intact.
    pub fn header(&self) -> Option<LogHeader> {
        self.header
    }

    /// The footer, if the file is sealed and has one that is intact.
    pub fn footer(&self) -> Option<Footer> {
        self.footer
    }

    /// Whether the whole file, read to its end, is as its footer says it was written.
    pub(crate) fn is_as_sealed(&self) -> bool {
        self.is_as_sealed
    }

    /// The file that is read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The LSN after the last one read, or, before any batch was read, the first one as far as the
    /// footer or the file's name tells.
    pub fn next_lsn(&self) -> Option<Lsn> {
        self.next.lsn.or(self.expected_first)
    }

    /// The end of the last complete batch, in bytes from the start of the file.
    pub fn data_end(&self) -> u64 {
        self.data_end
    }

    /// Does without the CRC of the file, for one that is only copied.
    pub(crate) fn without_crc(mut self) -> Self {
        self.window.without_crc();
        self
    }

    /// The id of the entry that would come next.
    pub(crate) fn next_entry_id(&self) -> u64 {
        self.next.id
    }

    /// The CRC-32 of everything up to [`Self::data_end`]; call it when the end is reached.
    pub(crate) fn crc(&self) -> crc32fast::Hasher {
        self.window.crc()
    }

    /// The next batch or the next damage; `None` at the end.
    ///
    /// # Errors
    /// [`WalError::Io`] if the file cannot be read, for another reason than a bad sector.
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, WalError> {
        if let Some(damage) = self.found.pop_front() {
            return Ok(Some(Item::Damage(damage)));
        }
        if self.has_ended {
            return Ok(None);
        }
        let Some(entry) = self.find_entry()? else {
            self.has_ended = true;
            self.finish()?;
            return Ok(self.found.pop_front().map(Item::Damage));
        };
        let offset = self.window.offset();
        self.check_beginning(&entry, offset);
        self.note_damaged_events(&entry, offset);
        let bytes = self.window.consume(entry.length);
        self.data_end = offset + entry.length as u64;
        self.next = self.next.after(&entry, self.data_end);
        let Entry { range, compact_bytes, .. } = entry;
        let slots = &self.slots;
        Ok(Some(Item::Batch(BatchView { offset, range, compact_bytes, bytes, slots })))
    }

    /// Brings the window to the next batch that belongs here; `None` if there is none.
    fn find_entry(&mut self) -> Result<Option<Entry>, WalError> {
        let reason = match self.parse()? {
            Ok(entry) if self.is_intact() => return Ok(Some(entry)),
            Ok(entry) => match self.settle(entry)? {
                Some(entry) => return Ok(Some(entry)),
                None => "length of an event",
            },
            Err(NoEntry::Invalid(reason)) => reason,
            Err(NoEntry::Incomplete) => "batch cut off",
        };
        let offset = self.window.offset();
        let (decoder, chains) = (self.next.decoder, &mut self.chains);
        let found = next_batch(&self.window, decoder, offset + 1, &self.next, chains);
        let Some((candidate, entry)) = found.context("read", &self.path)? else {
            return Ok(None);
        };
        // A running pixel may have completed the batch since it was looked at: batches become
        // visible in order, so once a later one is there, this one is as it will ever be.
        // (Logs of format 1 are no longer written.)
        if self.kind == Kind::Active && !matches!(decoder, Decoder::V1) {
            self.window.reread().context("read", &self.path)?;
            if let Ok(entry) = self.parse()?
                && self.window.offset() + entry.length as u64 <= candidate
            {
                return Ok(Some(entry));
            }
        }
        let lost = self.lost_before(&entry, candidate);
        let unreadable = self.window.is_unreadable(&(offset..candidate));
        self.note(offset, lost, if unreadable { "unreadable block" } else { reason });
        self.expected_first = None;
        self.window.skip_to(candidate).context("read", &self.path)?;
        self.parse().map(Result::ok)
    }

    /// The LSNs between what was read and a batch found at `at`. Before the first batch that was
    /// read the batch itself tells; in format 1 only names and neighbours do, which may be wrong.
    fn lost_before(&self, entry: &Entry, at: u64) -> LsnRange {
        let first = self.next.lsn.or(entry.base).or(self.expected_first);
        let expected = Place { lsn: first, ..self.next };
        let first = first.filter(|_| expected.can_be(entry, at));
        LsnRange { first: first.unwrap_or(entry.range.first), end: entry.range.first }
    }

    fn is_intact(&self) -> bool {
        self.slots.iter().all(|slot| slot.flaw.is_none())
    }

    /// The batch with damaged events where the window begins, if it is one for sure: the last batch
    /// of a log may never have been complete, or may just be written.
    fn settle(&mut self, entry: Entry) -> Result<Option<Entry>, WalError> {
        if let Decoder::V1 = self.next.decoder {
            return Ok(self.is_entry_of_v1(&entry)?.then_some(entry));
        }
        if self.kind == Kind::Sealed {
            return Ok(Some(entry));
        }
        let has_follower = self.follower(&entry)?.is_some();
        if !has_follower {
            std::thread::sleep(COMMIT_PATIENCE);
        }
        // As it is now: batches become visible in order, so that with a follower it is complete.
        self.window.reread().context("read", &self.path)?;
        let Ok(entry) = self.parse()? else { return Ok(None) };
        let begin = self.window.offset();
        let is_complete = has_follower
            || self.is_intact()
            || !is_torn(&self.window.bytes()[..entry.length], &entry, &self.slots)
            || self.window.is_unreadable(&(begin..begin + entry.length as u64));
        Ok(is_complete.then_some(entry))
    }

    /// Whether an entry of format 1 with damaged events is one for sure: a damaged length may reach
    /// into the next one, or into what a client has sent.
    fn is_entry_of_v1(&mut self, entry: &Entry) -> Result<bool, WalError> {
        let (begin, end) = (self.window.offset(), self.window.offset() + entry.length as u64);
        if self.follower(entry)?.is_some_and(|at| at == end) {
            return Ok(true);
        }
        let (decoder, chains) = (self.next.decoder, &mut self.chains);
        let other = next_batch(&self.window, decoder, begin + 1, &self.next, chains);
        Ok(other.context("read", &self.path)?.is_none_or(|(at, _)| at >= end))
    }

    /// Where the next batch behind the one at the window's start begins.
    fn follower(&mut self, entry: &Entry) -> Result<Option<u64>, WalError> {
        let end = self.window.offset() + entry.length as u64;
        let after = self.next.after(entry, end);
        let (decoder, chains) = (self.next.decoder, &mut self.chains);
        let found = next_batch(&self.window, decoder, end, &after, chains);
        Ok(found.context("read", &self.path)?.map(|(at, _)| at))
    }

    /// Reads the batch where the window begins, if it belongs there.
    fn parse(&mut self) -> Result<Result<Entry, NoEntry>, WalError> {
        let decoder = self.next.decoder;
        if let Decoder::V1 = decoder {
            let can_be = self.chains.can_be_entry(&mut self.window, &self.next);
            if !can_be.context("read", &self.path)? {
                return Ok(Err(NoEntry::Invalid("no intact batch")));
            }
        }
        let found = parse_filling(&mut self.window, decoder, &mut self.slots);
        Ok(match found.context("read", &self.path)? {
            Ok(entry) if !self.next.can_be(&entry, self.window.offset()) => {
                Err(NoEntry::Invalid("batch of another place"))
            }
            found => found,
        })
    }

    /// Holds the first batch to what names and neighbours tell. A log that begins behind the end of
    /// the one before it is sound: that one has lost its end.
    fn check_beginning(&mut self, entry: &Entry, offset: u64) {
        let Some(expected) = self.expected_first.take() else { return };
        let is_later_log = self.kind == Kind::Active && entry.range.first > expected;
        if self.next.lsn.is_some() || entry.range.first == expected || is_later_log {
            return;
        }
        let none = LsnRange::new(entry.range.first, 0);
        self.note(offset, none, "another first LSN than the name or the log before it tells");
    }

    fn note_damaged_events(&mut self, entry: &Entry, offset: u64) {
        for (index, slot) in (0..).zip(&self.slots) {
            let Some(flaw) = slot.flaw else { continue };
            let place = offset + slot.start as u64..offset + slot.end as u64 + 4;
            let unreadable = self.window.is_unreadable(&place);
            let reason = if unreadable { "unreadable block" } else { flaw };
            let lost = LsnRange::new(entry.range.first.plus(index), 1);
            self.found.push_back(Damage { offset: place.start, lost, reason });
            self.is_damaged = true;
        }
    }

    fn note(&mut self, offset: u64, lost: LsnRange, reason: &'static str) {
        self.is_damaged = true;
        self.found.push_back(Damage { offset, lost, reason });
    }
}
