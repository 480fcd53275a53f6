//! The content of a log: as it says of itself, or as the strict reader finds it on the disk.

use std::fs::File;
use std::path::Path;

use crate::error::{IoContext, WalError};
use crate::event::{Event, widen};
use crate::format::batch::{BATCH_BYTES_MAX, HEADER_BYTES_MAX};
use crate::format::footer::{FOOTER_BYTES, Footer};
use crate::format::header::{COMPACT_START, LogHeader};
use crate::format::torn::{events_in_damaged, is_damaged_header};
use crate::format::{BLOCK, LOG_START};
use crate::identity::WalId;
use crate::layout::Layout;
use crate::lsn::{Lsn, LsnRange};
use crate::reader::window::Window;
use crate::reader::{Damage, Item, Kind, SegmentReader};

/// The content of a log, as far as sealing needs to know it.
#[derive(Debug)]
pub(crate) struct LogSummary {
    /// The header, if it is intact.
    pub header: Option<LogHeader>,
    /// The LSNs of its events, from the first batch to the last; `None` if it holds no batch.
    pub range: Option<LsnRange>,
    pub damage: Vec<Damage>,
    /// The bytes behind the last complete batch up to the last that is not zero or not readable.
    pub torn_bytes: u64,
    /// The LSNs that a damaged batch behind the last one that can be read has taken, at most;
    /// `None` if there is no such batch, or one that was never complete.
    pub damaged_end: Option<u64>,
    pub timestamps: Option<(i64, i64)>,
    /// The end of the last complete batch, in bytes from the start of the file.
    pub data_end: u64,
    /// The same in a segment without padding.
    pub compact_end: u64,
    /// The CRC-32 of everything before `data_end`, if it is known.
    pub crc: Option<crc32fast::Hasher>,
}

impl LogSummary {
    /// The events that it holds, if there are any.
    pub(crate) fn events(&self) -> Option<LsnRange> {
        self.range.filter(|range| !range.is_empty())
    }

    /// The header, and the events, if there are any.
    pub(crate) fn header_of_events(&self) -> Option<(LogHeader, LsnRange)> {
        self.header.zip(self.events())
    }
}

/// A log as it was left in `active/`.
#[derive(Debug)]
pub(crate) struct LeftLog {
    pub number: u64,
    pub summary: LogSummary,
}

impl LeftLog {
    pub(crate) fn wal_id(&self) -> Option<WalId> {
        self.summary.header.map(|header| header.wal_id)
    }
}

/// Reads a whole log. It may be the log of a running pixel only if nothing is concluded from it.
/// `expected_first` is where the log before it ended.
pub(crate) fn summarise(
    layout: &Layout,
    number: u64,
    expected_first: Option<Lsn>,
) -> Result<LogSummary, WalError> {
    let path = layout.log_file(number);
    let mut reader = SegmentReader::open(&path, Kind::Active)?.expecting_first(expected_first);
    let (mut base, mut end) = (None, None);
    let (mut damage, mut compact_end) = (Vec::<Damage>::new(), COMPACT_START as u64);
    let mut timestamps = None;
    while let Some(item) = reader.next_item()? {
        match item {
            Item::Damage(found) => damage.push(found),
            Item::Batch(batch) => {
                // What is lost before the first batch belongs to this log as well.
                let lost = damage.iter().map(|damage| damage.lost).find(|lost| !lost.is_empty());
                base.get_or_insert(lost.map_or(batch.range.first, |lost| lost.first));
                end = Some(batch.range.end);
                compact_end += batch.compact_bytes as u64;
                for event in batch.events().filter_map(|(_, bytes)| Event::decode(bytes).ok()) {
                    widen(&mut timestamps, (event.timestamp_ms, event.timestamp_ms));
                }
            }
        }
    }
    let header = reader.header();
    // Without a header nothing may be read, and anything behind it may have been events.
    let has_data = header.is_some() || reader.data_end() > 0;
    let from = if has_data { reader.data_end() } else { COMPACT_START as u64 };
    let (torn_bytes, damaged_end) = what_follows(&path, from, reader.next_entry_id())?;
    let is_proven = header.is_some_and(|header| header.descriptor.is_some());
    Ok(LogSummary {
        header,
        range: base.zip(end).map(|(first, end)| LsnRange { first, end }),
        damage,
        torn_bytes,
        damaged_end: damaged_end.filter(|_| is_proven),
        timestamps,
        data_end: reader.data_end(),
        compact_end,
        crc: Some(reader.crc()),
    })
}

/// The bytes behind `data_end` up to the last that is neither zero, nor a footer's, nor the end of
/// a prepared log's header; and, if they begin with a damaged batch, which would have this id, how
/// many LSNs it has taken at most.
fn what_follows(path: &Path, data_end: u64, id: u64) -> Result<(u64, Option<u64>), WalError> {
    let file = File::open(path).context("open", path)?;
    let mut window = Window::new(file, u64::MAX).look_ahead(data_end);
    let (mut torn, mut damaged) = (0, None);
    while window.bytes().len() < HEADER_BYTES_MAX && window.fill().context("read", path)? {}
    let header_end = data_end + HEADER_BYTES_MAX as u64;
    if window.is_unreadable(&(data_end..header_end.min(data_end + BLOCK as u64)))
        || is_damaged_header(window.bytes(), id)
    {
        let first = window.bytes();
        let extent = first.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let extent = extent.clamp(BLOCK, BATCH_BYTES_MAX) as u64;
        damaged = Some(events_in_damaged(first, id, extent));
    }
    loop {
        let begin = window.offset() - data_end;
        let footer = window.bytes().get(..FOOTER_BYTES).filter(|_| begin == 0);
        let own = if footer.is_some_and(|bytes| Footer::decode(bytes).is_ok()) {
            FOOTER_BYTES
        } else {
            0
        };
        let end_of_header = LOG_START as u64 - 5..LOG_START as u64;
        let (from, bytes) = (window.offset(), window.bytes());
        let is_trace = |(index, byte): (usize, &u8)| {
            *byte != 0 && index >= own && !end_of_header.contains(&(from + index as u64))
        };
        if let Some(last) = bytes.iter().enumerate().rev().find(|found| is_trace(*found)) {
            torn = begin + last.0 as u64 + 1;
        }
        let all = from..from + bytes.len() as u64;
        if window.is_unreadable(&all) {
            torn = all.end - data_end;
        }
        window.consume(window.bytes().len());
        if !window.fill().context("read", path)? {
            return Ok((torn, damaged.filter(|_| torn > 0)));
        }
    }
}
