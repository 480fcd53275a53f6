//! From a log to an immutable segment: footer, truncate, sync, rename, sync directories.
//!
//! The log of a dead process is read again with the strict reader, so that the footer tells what
//! the disk gives back; a log that this process wrote says of itself what it holds. A log of which
//! more than a quarter is padding is replaced by a copy without it. Otherwise the footer is written
//! behind the last complete batch, before the file is cut, so that sealing needs no space. Cut
//! anywhere, it can be done again: a footer is no batch, so the reader still finds the same end.

mod compact;
pub(crate) mod sealer;

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::durable::{create_dir_durably, sync_dir};
use crate::error::{IoContext, WalError};
use crate::format::footer::{FOOTER_VERSION, Footer};
use crate::format::header::LogHeader;
use crate::identity::SegmentName;
use crate::layout::Layout;
use crate::log::summary::LogSummary;
use crate::reader::window::Window;

/// Seals the log of segment `number`, or removes it if it has no events: who calls it is sure that
/// it never had any. Nothing may append to it any more, and the next LSN must be durable elsewhere.
/// Returns the segment's name.
pub(crate) fn seal(
    layout: &Layout,
    number: u64,
    summary: &LogSummary,
) -> Result<Option<SegmentName>, WalError> {
    let Some((header, range)) = summary.header_of_events() else {
        remove_log(layout, number)?;
        return Ok(None);
    };
    let (first_timestamp_ms, last_timestamp_ms) = summary.timestamps.unwrap_or_default();
    let descriptor = header.descriptor;
    let footer = Footer {
        version: if descriptor.is_some() { FOOTER_VERSION } else { 1 },
        wal_id: header.wal_id,
        base: range.first,
        count: range.count(),
        first_timestamp_ms,
        last_timestamp_ms,
        data_bytes: summary.data_end,
        secret: descriptor.map(|descriptor| (descriptor.salt, descriptor.form)),
        crc: 0,
    };
    let copy = if compact::is_worth_it(layout, summary)? {
        compact::copy(layout, number, header, &footer)?
    } else {
        None
    };
    let footer = match copy {
        Some(footer) => footer,
        None => seal_in_place(layout, number, summary, footer)?,
    };
    let name = publish(layout, number, &header, &footer)?;
    sync_dir(&layout.log_dir(number))?;
    remove_log(layout, number)?;
    Ok(Some(name))
}

fn seal_in_place(
    layout: &Layout,
    number: u64,
    summary: &LogSummary,
    footer: Footer,
) -> Result<Footer, WalError> {
    let log = layout.log_file(number);
    let crc = match &summary.crc {
        Some(crc) => crc.clone(),
        None => crc_of(&log, summary.data_end)?,
    };
    let bytes = footer.encode(&crc);
    let file = OpenOptions::new().write(true).open(&log).context("open", &log)?;
    file.write_all_at(&bytes, summary.data_end).context("write footer of", &log)?;
    file.set_len(summary.data_end + bytes.len() as u64).context("truncate", &log)?;
    file.sync_all().context("sync", &log)?;
    Ok(footer)
}

fn crc_of(path: &Path, end: u64) -> Result<crc32fast::Hasher, WalError> {
    let mut window = Window::new(File::open(path).context("open", path)?, end);
    window.skip_to(end).context("read", path)?;
    Ok(window.crc())
}

/// Moves a log to its name in `sealed/`. It must not keep the one in `active/`: whoever ships it
/// may delete it at once, and nothing must be left to be sealed again. Where another segment has
/// the name, it gets the one that carries its WAL's id.
fn publish(
    layout: &Layout,
    number: u64,
    header: &LogHeader,
    footer: &Footer,
) -> Result<SegmentName, WalError> {
    let with_id = SegmentName { wal_id: Some(header.wal_id), base: footer.base };
    let own_names = header.has_own_names();
    let names = [with_id.plain(), with_id];
    for name in &names[usize::from(own_names)..] {
        let sealed = layout.sealed_file(*name);
        // A power cut can leave both names on some file systems; then they are one and the same.
        match Footer::load(&sealed) {
            Err(e) if e.is_not_found() => {
                fs::rename(layout.log_file(number), &sealed).context("publish", &sealed)?;
                sync_dir(&layout.sealed_dir())?;
                return Ok(*name);
            }
            Ok(Some(there)) if there.holds(footer) => return Ok(*name),
            Ok(_) => {}
            Err(e) => tracing::warn!(error = %e, "the name of a segment is taken"),
        }
    }
    Err(WalError::SegmentExists { path: layout.sealed_file(with_id) })
}

/// Removes a log's file and its copy, if they are still there, and its directory, unless it holds
/// foreign files.
pub(crate) fn remove_log(layout: &Layout, number: u64) -> Result<(), WalError> {
    for path in [layout.log_copy(number), layout.log_file(number)] {
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e).context("remove", &path),
            _ => {}
        }
    }
    let dir = layout.log_dir(number);
    match fs::remove_dir(&dir) {
        Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => {
            tracing::warn!(dir = %dir.display(), "foreign files among the logs are left alone");
            Ok(())
        }
        result => result.context("remove directory", &dir),
    }?;
    sync_dir(&layout.active_dir())
}

/// Moves a log that nothing can be read of to `quarantine/`, where a person may look at it.
pub(crate) fn quarantine_log(layout: &Layout, number: u64) -> Result<PathBuf, WalError> {
    create_dir_durably(&layout.quarantine_dir())?;
    let target = layout.new_quarantined_log(number);
    fs::rename(layout.log_file(number), &target).context("quarantine", &target)?;
    sync_dir(&layout.quarantine_dir())?;
    sync_dir(&layout.log_dir(number))?;
    remove_log(layout, number)?;
    Ok(target)
}
