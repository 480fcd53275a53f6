//! The copy of a log without its padding, which under little traffic is most of a log.

use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::Path;

use crate::durable::{create_file, sync_dir};
use crate::error::{IoContext, WalError};
use crate::format::batch::{BATCH_BYTES_MAX, BatchPlace, put_chunks};
use crate::format::footer::Footer;
use crate::format::header::{COMPACT_START, Descriptor, Form, LogHeader};
use crate::layout::Layout;
use crate::log::summary::LogSummary;
use crate::reader::{Item, Kind, SegmentReader};
use crate::space::free_bytes;

/// A part of a segment that may be padding: a pixel at full speed has less, and does not copy.
const PADDING_PART: u64 = 4;

/// Whether a log is worth copying. A damaged one is kept as it is, for somebody may want to look at
/// it, and on a full disk there is better use for the room.
pub(super) fn is_worth_it(layout: &Layout, summary: &LogSummary) -> Result<bool, WalError> {
    let is_padded = summary.header.is_some_and(|header| {
        header.descriptor.is_some_and(|descriptor| descriptor.form == Form::Log)
    });
    let padding = summary.data_end.saturating_sub(summary.compact_end);
    if !is_padded || !summary.damage.is_empty() || padding <= summary.data_end / PADDING_PART {
        return Ok(false);
    }
    Ok(free_bytes(layout.root())? >= 2 * summary.compact_end)
}

/// Puts the copy in the place of the log and returns its footer; `None` if there is no room for it,
/// or if the log is not as its own `footer` says.
pub(super) fn copy(
    layout: &Layout,
    number: u64,
    header: LogHeader,
    footer: &Footer,
) -> Result<Option<Footer>, WalError> {
    let path = layout.log_copy(number);
    let log = layout.log_file(number);
    match write(&log, &path, header, footer) {
        Ok(Some(footer)) => {
            fs::rename(&path, &log).context("replace", &log)?;
            sync_dir(&layout.log_dir(number))?;
            return Ok(Some(footer));
        }
        Ok(None) => {}
        Err(e) if e.is_disk_full() => {}
        Err(e) => return Err(e),
    }
    match fs::remove_file(&path) {
        // On a full disk not even its name may have been made.
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        result => result.context("remove", &path).map(|()| None),
    }
}

fn write(
    log: &Path,
    path: &Path,
    header: LogHeader,
    footer: &Footer,
) -> Result<Option<Footer>, WalError> {
    let Some(descriptor) = header.descriptor else { return Ok(None) };
    let descriptor = Descriptor { form: Form::Compact, ..descriptor };
    let file = create_file(path).context("create", path)?;
    let file = BufWriter::with_capacity(256 << 10, file);
    let mut out = Hashed { file, crc: crc32fast::Hasher::new(), bytes: 0 };
    out.put(&header.encode(descriptor)).context("write", path)?;
    let mut reader = SegmentReader::open(log, Kind::Active)?.without_crc();
    let mut buffer = vec![0; BATCH_BYTES_MAX];
    let (mut id, mut next) = (header.first_entry_id(), footer.base);
    while let Some(item) = reader.next_item()? {
        let Item::Batch(batch) = item else { return Ok(None) };
        let Some((lengths, chunks)) = batch.chunks() else { return Ok(None) };
        if batch.range.first != next {
            return Ok(None);
        }
        next = batch.range.end;
        // An empty one only carries the next LSN.
        if !batch.range.is_empty() {
            let (salt, base) = (descriptor.salt, footer.base);
            let first = batch.range.first;
            let place = BatchPlace { salt, offset: out.bytes, base, first, id, flags: 0 };
            let length = put_chunks(&mut buffer, place, batch.compact_bytes, lengths, chunks);
            out.put(&buffer[..length]).context("write", path)?;
            id += 1;
        }
    }
    if next != footer.range().end {
        return Ok(None);
    }
    let secret = Some((descriptor.salt, Form::Compact));
    let footer = Footer { data_bytes: out.bytes, secret, ..*footer };
    debug_assert!(footer.data_bytes >= COMPACT_START as u64);
    let bytes = footer.encode(&out.crc);
    out.put(&bytes).context("write", path)?;
    let file = out.file.into_inner().map_err(std::io::IntoInnerError::into_error);
    file.and_then(|file| file.sync_all()).context("sync", path)?;
    Ok(Some(footer))
}

/// A file that is counted and hashed while it is written.
struct Hashed {
    file: BufWriter<File>,
    crc: crc32fast::Hasher,
    bytes: u64,
}

impl Hashed {
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.crc.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }
}
