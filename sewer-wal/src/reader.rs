//! The strict reader: every intact event of a segment or of an active log, in LSN order.
//!
//! It needs no lock and writes nothing, checks every CRC, and cannot panic, loop or allocate more
//! than about one batch on any bytes. Where an entry is damaged it looks for the next one, so that
//! the cost is that batch; where only an event's data is damaged, the cost is that event. What is
//! lost is reported as [`Damage`], by offset and by LSN.
//!
//! In an *active* log the end is the last complete batch, and what follows is the torn tail, or
//! what a running pixel is about to complete. In a *sealed* segment the footer says where the data
//! ends, and anything missing before that is damage.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::entry::{Entry, HeaderError, LOG_HEADER_BYTES, LogHeader, NoEntry, Slot, parse_entry};
use crate::error::{IoContext, WalError};
use crate::footer::Footer;
use crate::layout::{base_of, open_file};
use crate::lsn::{Lsn, LsnRange};
use crate::window::Window;

/// What kind of file is read.
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
    /// The LSNs lost with it; empty if none, or if nothing in this file tells how many.
    pub lost: LsnRange,
    /// What was found.
    pub reason: &'static str,
}

/// What the reader comes across.
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
    bytes: &'a [u8],
    slots: &'a [Slot],
}

impl<'a> BatchView<'a> {
    /// The intact events, still encoded, with their LSNs.
    pub fn events(self) -> impl Iterator<Item = (Lsn, &'a [u8])> {
        (0..).zip(self.slots).filter(|(_, slot)| slot.intact).map(move |(index, slot)| {
            (self.range.first.plus(index), &self.bytes[slot.start..slot.end])
        })
    }
}

/// Reads one file. See the module's documentation.
#[derive(Debug)]
pub struct SegmentReader {
    path: PathBuf,
    kind: Kind,
    window: Window,
    header: Option<LogHeader>,
    footer: Option<(Footer, u32)>,
    /// The base that the file's name tells.
    named: Option<Lsn>,
    /// The LSN that the next batch begins with; `None` until something tells.
    next_lsn: Option<Lsn>,
    next_entry_id: Option<u64>,
    slots: Vec<Slot>,
    found: VecDeque<Damage>,
    damaged: bool,
    is_as_sealed: bool,
    ended: bool,
    data_end: u64,
}

impl SegmentReader {
    /// Opens a file of the given kind and reads its header and, if sealed, its footer.
    ///
    /// # Errors
    /// [`WalError::Io`], [`WalError::NotAFile`], or [`WalError::Version`] for a newer format. Damage
    /// is no error: it comes as an [`Item`].
    pub fn open(path: &Path, kind: Kind) -> Result<Self, WalError> {
        let (file, file_bytes) = open_file(path)?;
        let footer = match kind {
            Kind::Active => None,
            Kind::Sealed => Footer::read_at_end(&file, path, file_bytes)?,
        };
        let limit = match (kind, &footer) {
            (Kind::Active, _) => u64::MAX,
            (Kind::Sealed, Some((footer, _))) => footer.data_bytes,
            (Kind::Sealed, None) => file_bytes,
        };
        let named = path.file_name().and_then(|name| name.to_str()).and_then(base_of);
        let base = match (footer.map(|(footer, _)| footer.base), named) {
            (Some(base), Some(named)) if base != named => None, // one is wrong; the first batch tells
            (base, named) => base.or(named),
        };
        let mut reader = Self {
            path: path.to_path_buf(),
            kind,
            window: Window::new(file, limit),
            header: None,
            footer,
            next_lsn: base,
            named,
            next_entry_id: Some(1),
            slots: Vec::new(),
            found: VecDeque::new(),
            damaged: false,
            is_as_sealed: false,
            ended: false,
            data_end: 0,
        };
        reader.read_header()?;
        if kind == Kind::Sealed && footer.is_none() {
            reader.note(file_bytes, LsnRange::new(Lsn(0), 0), "no intact footer");
        }
        Ok(reader)
    }

    fn read_header(&mut self) -> Result<(), WalError> {
        while self.window.bytes().len() < LOG_HEADER_BYTES {
            if !self.window.fill().context("read", &self.path)? {
                break;
            }
        }
        match LogHeader::decode(self.window.bytes()) {
            Ok(header) => {
                self.header = Some(header);
                self.window.consume(LOG_HEADER_BYTES);
            }
            Err(HeaderError::Version(version)) => {
                return Err(WalError::Version {
                    path: self.path.clone(),
                    version: version.into(),
                    supported: crate::entry::FORMAT_VERSION.into(),
                });
            }
            // A spare whose preparation was cut off is empty or all zeros: no damage, no entry.
            Err(HeaderError::NotALog) if self.kind == Kind::Active && self.window.all_zero() => {}
            Err(HeaderError::NotALog) => {
                self.note(0, LsnRange::new(Lsn(0), 0), "no intact log header");
            }
        }
        self.data_end = self.window.offset();
        Ok(())
    }

    /// The log's header, if it is intact.
    #[must_use]
    pub fn header(&self) -> Option<LogHeader> {
        self.header
    }

    /// The footer, if the file is sealed and has one; its CRC is checked when the end is reached.
    #[must_use]
    pub fn footer(&self) -> Option<Footer> {
        self.footer.map(|(footer, _)| footer)
    }

    /// Whether the whole file, read to its end, is as its footer says it was written.
    pub(crate) fn is_as_sealed(&self) -> bool {
        self.is_as_sealed
    }

    /// The file that is read.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The LSN after the last one read, if any batch was read (or the footer or the file name
    /// tells where the segment begins).
    #[must_use]
    pub fn next_lsn(&self) -> Option<Lsn> {
        self.next_lsn
    }

    /// The end of the last complete batch, in bytes from the start of the file.
    #[must_use]
    pub fn data_end(&self) -> u64 {
        self.data_end
    }

    /// The CRC-32 of everything up to [`Self::data_end`]; call it when the end is reached.
    pub(crate) fn crc(&self) -> crc32fast::Hasher {
        self.window.crc()
    }

    /// The next batch or the next damage; `None` at the end.
    ///
    /// # Errors
    /// [`WalError::Io`] if the file cannot be read.
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, WalError> {
        if let Some(damage) = self.found.pop_front() {
            return Ok(Some(Item::Damage(damage)));
        }
        if self.ended {
            return Ok(None);
        }
        let Some(entry) = self.find_entry()? else {
            self.ended = true;
            self.finish()?;
            return Ok(self.found.pop_front().map(Item::Damage));
        };
        let offset = self.window.offset();
        self.check_order(&entry, offset);
        self.note_damaged_events(&entry, offset);
        let bytes = self.window.consume(entry.length);
        self.data_end = offset + entry.length as u64;
        Ok(Some(Item::Batch(BatchView { offset, range: entry.range, bytes, slots: &self.slots })))
    }

    /// Brings the window to the next entry that belongs here; `None` if there is none.
    fn find_entry(&mut self) -> Result<Option<Entry>, WalError> {
        let reason = match self.parse()? {
            Ok(entry) if self.slots.iter().all(|slot| slot.intact) => return Ok(Some(entry)),
            Ok(entry) => {
                // A damaged event may be a damaged length, that reaches into the next batch.
                let end = self.window.offset() + entry.length as u64;
                if self.resynchronise()?.is_none_or(|(next, _)| next >= end) {
                    return Ok(Some(entry));
                }
                "length of an event"
            }
            Err(NoEntry::Invalid(reason)) => reason,
            Err(NoEntry::Incomplete) => "entry cut off",
        };
        let offset = self.window.offset();
        let Some((candidate, entry)) = self.resynchronise()? else {
            return Ok(None);
        };
        // A running pixel may have completed the batch since it was looked at: batches become
        // visible in order, so once a later one is there, this one is as it will ever be.
        self.window.reread().context("read", &self.path)?;
        if let Ok(entry) = self.parse()?
            && self.window.offset() + entry.length as u64 <= candidate
        {
            return Ok(Some(entry));
        }
        let first = self.next_lsn.unwrap_or(entry.range.first);
        let lost = LsnRange { first, end: entry.range.first.max(first) };
        self.note(offset, lost, reason);
        self.next_lsn = Some(entry.range.first);
        self.next_entry_id = None;
        self.window.skip_to(candidate).context("read", &self.path)?;
        self.parse().map(Result::ok)
    }

    /// Reads the entry where the window begins, filling the window as far as it takes.
    fn parse(&mut self) -> Result<Result<Entry, NoEntry>, WalError> {
        loop {
            match parse_entry(self.window.bytes(), &mut self.slots) {
                Ok(entry) if self.belongs(&entry) => return Ok(Ok(entry)),
                Ok(_) => return Ok(Err(NoEntry::Invalid("batch with LSNs of another place"))),
                Err(NoEntry::Incomplete) if self.window.fill().context("read", &self.path)? => {}
                Err(no_entry) => return Ok(Err(no_entry)),
            }
        }
    }

    fn belongs(&self, entry: &Entry) -> bool {
        self.next_lsn.is_none_or(|next| entry.range.first >= next)
    }

    /// The offset of the next sound entry behind the window's start, and the entry. Leaves the
    /// window where it is.
    fn resynchronise(&mut self) -> Result<Option<(u64, Entry)>, WalError> {
        let mut ahead = self.window.look_ahead();
        let mut slots = Vec::new();
        while ahead.find_candidate().context("read", &self.path)? {
            loop {
                match parse_entry(ahead.bytes(), &mut slots) {
                    Ok(entry) if self.belongs(&entry) => return Ok(Some((ahead.offset(), entry))),
                    Err(NoEntry::Incomplete) if ahead.fill().context("read", &self.path)? => {}
                    _ => break,
                }
            }
            ahead.consume(1);
        }
        Ok(None)
    }

    fn check_order(&mut self, entry: &Entry, offset: u64) {
        let expected = self.next_lsn.unwrap_or(entry.range.first);
        if entry.range.first > expected {
            let lost = LsnRange { first: expected, end: entry.range.first };
            self.note(offset, lost, "batches are missing before this one");
        } else if self.next_entry_id.is_some_and(|id| id != entry.id) {
            self.note(offset, LsnRange::new(expected, 0), "entry id out of order");
        }
        self.next_lsn = Some(entry.range.end);
        self.next_entry_id = Some(entry.id.wrapping_add(1));
    }

    fn note_damaged_events(&mut self, entry: &Entry, offset: u64) {
        for (index, slot) in (0..).zip(&self.slots) {
            if !slot.intact {
                let lost = LsnRange::new(entry.range.first.plus(index), 1);
                let offset = offset + slot.start as u64;
                self.found.push_back(Damage { offset, lost, reason: "CRC of the event" });
                self.damaged = true;
            }
        }
    }

    /// What only the end of a sealed segment can tell. Until the CRC of the whole file has been
    /// found right, the footer may itself be what is damaged.
    fn finish(&mut self) -> Result<(), WalError> {
        let Some((footer, stored_crc)) = self.footer else { return Ok(()) };
        let (stopped_at, end) = (self.window.offset(), footer.range().end);
        self.window.skip_to(footer.data_bytes).context("read", &self.path)?;
        let none = LsnRange::new(end, 0);
        if footer.encode(self.window.crc())[60..] == stored_crc.to_le_bytes() {
            self.is_as_sealed = true;
            if self.named.is_some_and(|named| named != footer.base) {
                self.note(footer.data_bytes, none, "file name is not its base");
            }
            return Ok(());
        }
        let next = self.next_lsn.unwrap_or(footer.base);
        let unread = stopped_at < footer.data_bytes;
        if next < end && (unread || self.damaged) {
            let lost = LsnRange { first: next, end };
            self.note(stopped_at, lost, "data ends before the footer says");
        } else if unread {
            self.note(stopped_at, none, "bytes between the last batch and the footer");
        } else if !self.damaged {
            self.note(footer.data_bytes, none, "CRC of the file");
        }
        Ok(())
    }

    fn note(&mut self, offset: u64, lost: LsnRange, reason: &'static str) {
        self.damaged = true;
        self.found.push_back(Damage { offset, lost, reason });
    }
}
