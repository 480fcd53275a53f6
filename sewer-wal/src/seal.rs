//! From a log to an immutable segment: footer, truncate, sync, rename, sync directories.
//!
//! What a dead process left is read again with the strict reader, so that what is sealed is what the
//! disk gives back; a log that this process wrote says of itself what it holds. The footer is written
//! over the zeros behind the last complete batch, before the file is cut, so that sealing needs no
//! space. Cut anywhere, it can be done again: a footer is no entry, so the reader still finds the
//! same end.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

use crate::error::{IoContext, WalError};
use crate::event::Event;
use crate::footer::{FOOTER_BYTES, Footer};
use crate::identity::WalId;
use crate::layout::{Layout, sync_dir};
use crate::lsn::{Lsn, LsnRange};
use crate::reader::{Damage, Item, Kind, SegmentReader};

/// What a log holds.
#[derive(Debug)]
pub(crate) struct LogSummary {
    /// The LSNs of its events, from the first batch to the last; `None` if it holds no batch.
    pub range: Option<LsnRange>,
    pub damage: Vec<Damage>,
    /// The bytes behind the last complete batch that are not zero, up to the last such.
    pub torn_bytes: u64,
    /// The WAL that its header names, if the header is intact.
    pub wal_id: Option<WalId>,
    pub timestamps: Option<(i64, i64)>,
    /// The end of the last complete batch, in bytes from the start of the file.
    pub data_end: u64,
    pub crc: crc32fast::Hasher,
}

/// Reads a whole log. It may be the log of a running pixel only if nothing is concluded from it.
pub(crate) fn summarise(layout: &Layout, number: u64) -> Result<LogSummary, WalError> {
    let path = layout.log_file(number);
    let mut reader = SegmentReader::open(&path, Kind::Active)?;
    let mut base = None;
    let mut damage = Vec::new();
    let mut timestamps = None;
    while let Some(item) = reader.next_item()? {
        match item {
            Item::Damage(found) => damage.push(found),
            Item::Batch(batch) => {
                base.get_or_insert(batch.range.first);
                for (lsn, bytes) in batch.events() {
                    let event = Event::decode(bytes).map_err(|source| WalError::Event {
                        path: path.clone(),
                        lsn,
                        source,
                    })?;
                    let (first, last) =
                        timestamps.get_or_insert((event.timestamp_ms, event.timestamp_ms));
                    *first = event.timestamp_ms.min(*first);
                    *last = event.timestamp_ms.max(*last);
                }
            }
        }
    }
    let end = reader.next_lsn();
    Ok(LogSummary {
        range: base.zip(end).map(|(first, end)| LsnRange { first, end }),
        damage,
        torn_bytes: torn_bytes(&path, reader.data_end())?,
        wal_id: reader.header().map(|header| header.wal_id),
        timestamps,
        data_end: reader.data_end(),
        crc: reader.crc(),
    })
}

/// How far behind `data_end` something else than zeros and than our own footer is found.
fn torn_bytes(path: &std::path::Path, data_end: u64) -> Result<u64, WalError> {
    let file = File::open(path).context("open", path)?;
    let mut buffer = vec![0; 64 << 10];
    let (mut at, mut torn) = (data_end, 0);
    loop {
        let read = file.read_at(&mut buffer, at).context("read", path)?;
        if read == 0 {
            break;
        }
        if let Some(last) = buffer[..read].iter().rposition(|&byte| byte != 0) {
            torn = at - data_end + last as u64 + 1;
        }
        at += read as u64;
    }
    let mut footer = [0; FOOTER_BYTES];
    if torn <= FOOTER_BYTES as u64
        && file.read_exact_at(&mut footer, data_end).is_ok()
        && Footer::decode(&footer).is_ok()
    {
        torn = 0;
    }
    Ok(torn)
}

/// Seals the log of segment `number`, or removes it if it holds no event. Nothing may append to it
/// any more, and the next LSN must be durable elsewhere. Returns the segment's base.
pub(crate) fn seal(
    layout: &Layout,
    wal_id: WalId,
    number: u64,
    summary: &LogSummary,
) -> Result<Option<Lsn>, WalError> {
    let log = layout.log_file(number);
    let range = summary.range.filter(|range| !range.is_empty());
    let Some(range) = range else {
        remove_log(layout, number)?;
        return Ok(None);
    };
    let (first_timestamp_ms, last_timestamp_ms) = summary.timestamps.unwrap_or_default();
    let footer = Footer {
        wal_id,
        base: range.first,
        count: range.count(),
        first_timestamp_ms,
        last_timestamp_ms,
        data_bytes: summary.data_end,
    };
    let file = OpenOptions::new().write(true).open(&log).context("open", &log)?;
    let bytes = footer.encode(summary.crc.clone());
    file.write_all_at(&bytes, summary.data_end).context("write footer of", &log)?;
    file.set_len(summary.data_end + FOOTER_BYTES as u64).context("truncate", &log)?;
    file.sync_all().context("sync", &log)?;
    drop(file);
    publish(layout, number, &footer)?;
    Ok(Some(range.first))
}

fn publish(layout: &Layout, number: u64, footer: &Footer) -> Result<(), WalError> {
    let (log, sealed) = (layout.log_file(number), layout.sealed_file(footer.base));
    // A power cut can leave both names on some file systems; then they are one and the same.
    match Footer::load(&sealed) {
        Err(e) if e.is_not_found() => {
            fs::rename(&log, &sealed).context("publish", &sealed)?;
            sync_dir(&layout.sealed_dir())?;
            sync_dir(&layout.log_dir(number))?;
        }
        Ok(Some(there)) if there == *footer => {}
        Ok(_) => return Err(WalError::SegmentExists { path: sealed }),
        Err(e) => return Err(e),
    }
    remove_log(layout, number)
}

/// Removes a log's file, if it is still there, and its directory, unless it holds foreign files.
pub(crate) fn remove_log(layout: &Layout, number: u64) -> Result<(), WalError> {
    let (dir, log) = (layout.log_dir(number), layout.log_file(number));
    match fs::remove_file(&log) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e).context("remove", &log),
        _ => {}
    }
    match fs::remove_dir(&dir) {
        Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => {
            tracing::warn!(dir = %dir.display(), "foreign files among the logs are left alone");
            Ok(())
        }
        result => result.context("remove directory", &dir),
    }?;
    sync_dir(&layout.active_dir())
}
