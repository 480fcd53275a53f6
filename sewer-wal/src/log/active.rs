//! One log being written: the bytes of one segment until it is sealed.
//!
//! The file is made with its whole size zero-filled and synced. Each batch gets blocks of its own,
//! so that no commit writes to a block that holds what is acknowledged. A log is appended to by one
//! thread, and never reopened. After an error it is not touched again.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::fcntl::posix_fallocate;

use super::direct::is_refused;
use super::summary::LogSummary;
use super::{Engine, Writer};
use crate::batch::{BATCH_BYTES_MAX, Batch};
use crate::durable::{create_dir_durably, sync_dir};
use crate::error::{IoContext, WalError};
use crate::event::widen;
use crate::format::batch::{BatchPlace, flags_of, length_in};
use crate::format::footer::FOOTER_BYTES;
use crate::format::header::{COMPACT_START, Descriptor, Form, LogHeader};
use crate::format::{BLOCK, LOG_START, Salt};
use crate::identity::Identity;
use crate::layout::Layout;
use crate::lock;
use crate::lsn::{Lsn, LsnRange};

/// The zeros, in bytes, that the CRC of a log may be counted over before it is given up: such a log
/// is sealed as a copy without them, which has a CRC of its own.
const PADDING_COUNTED_MAX: u64 = 64 << 10;

/// A log that takes batches.
#[derive(Debug)]
pub(crate) struct ActiveLog {
    path: PathBuf,
    header: LogHeader,
    writer: Writer,
    /// Device and inode, to notice that the file is no longer where it was made.
    file: (u64, u64),
    /// The bytes written, the header included.
    bytes: u64,
    /// The bytes that the disk has for it.
    room: u64,
    /// The bytes that its batches take without padding.
    compact_bytes: u64,
    last_entry_id: u64,
    range: Option<LsnRange>,
    timestamps: Option<(i64, i64)>,
    /// The CRC-32 of what was written; `None` once it is not worth its time.
    crc: Option<crc32fast::Hasher>,
}

impl ActiveLog {
    /// Makes the log of segment `number` with room for `data_bytes`, ready and durable: what it
    /// takes from the disk it has when this returns.
    pub(crate) fn create(
        layout: &Layout,
        identity: &Identity,
        engine: Engine,
        number: u64,
        data_bytes: u64,
    ) -> Result<Self, WalError> {
        let dir = layout.log_dir(number);
        create_dir_durably(&dir)?;
        let path = layout.log_file(number);
        let salt = Salt::random();
        let descriptor = Descriptor { salt, form: Form::Log, own_names: identity.own_names };
        let header =
            LogHeader { wal_id: identity.id, segment: number, descriptor: Some(descriptor) };
        // The footer fits as well, so that sealing never needs a new block.
        let room = data_bytes.saturating_add((LOG_START + FOOTER_BYTES) as u64);
        let writer = Writer::create(engine, &path, &header, descriptor, room);
        if let Err(error) = &writer
            && engine == Engine::Direct
            && is_refused(error)
        {
            return Err(WalError::NoDirectIo { dir: layout.root().to_path_buf() });
        }
        let writer = writer.context("make", &path)?;
        sync_dir(&dir)?;
        let data = fs::metadata(&path).context("stat", &path)?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&header.encode(descriptor));
        Ok(Self {
            path,
            header,
            writer,
            file: (data.dev(), data.ino()),
            bytes: LOG_START as u64,
            room,
            compact_bytes: 0,
            last_entry_id: 1,
            range: None,
            timestamps: None,
            crc: Some(crc),
        })
    }

    /// Appends a batch, which may be empty, and returns once it is on stable storage.
    ///
    /// # Errors
    /// After any error the log must not be used again.
    pub(crate) fn append(&mut self, first: Lsn, batch: &Batch) -> Result<(), WalError> {
        let unpadded = batch.framed_bytes();
        debug_assert!(unpadded <= BATCH_BYTES_MAX, "the caller checks the size of a batch");
        let id = self.last_entry_id + 1;
        let base = self.range.map_or(first, |range| range.first);
        let flags = flags_of(batch.events());
        let descriptor = self.header.descriptor.expect("given when it was made");
        let offset = self.bytes;
        let place = BatchPlace { salt: descriptor.salt, offset, base, first, id, flags };
        let length = length_in(Form::Log, unpadded) as u64;
        self.grow(self.bytes + length + FOOTER_BYTES as u64)?;
        let written = self.writer.append(place, batch).context("append to", &self.path)?;
        self.last_entry_id = id;
        self.bytes += length;
        self.compact_bytes += unpadded as u64;
        let padding = self.bytes - LOG_START as u64 - self.compact_bytes;
        let is_counted = padding <= PADDING_COUNTED_MAX.max(self.bytes / 4);
        self.crc = self.crc.take().zip(written).filter(|_| is_counted).map(|(mut crc, bytes)| {
            crc.update(bytes);
            crc
        });
        let range = LsnRange::new(first, batch.len() as u64);
        self.range.get_or_insert(range).end = range.end;
        if let Some(timestamps) = batch.timestamps() {
            widen(&mut self.timestamps, timestamps);
        }
        Ok(())
    }

    /// Takes what it lacks of so many bytes from the disk: behind every batch there is a block for
    /// the footer already, so that a full disk keeps no log from being sealed.
    fn grow(&mut self, bytes: u64) -> Result<(), WalError> {
        if bytes > self.room {
            let bytes = bytes.next_multiple_of(BLOCK as u64);
            let file = OpenOptions::new().write(true).open(&self.path);
            let file = file.context("open", &self.path)?;
            let (from, more) = (self.room.cast_signed(), (bytes - self.room).cast_signed());
            let grown = posix_fallocate(&file, from, more).map_err(io::Error::from);
            grown.context("grow", &self.path)?;
            self.room = bytes;
        }
        Ok(())
    }

    /// The engine that writes it.
    pub(crate) fn engine(&self) -> Engine {
        self.writer.engine()
    }

    /// The segment's number.
    pub(crate) fn number(&self) -> u64 {
        self.header.segment
    }

    /// The bytes written so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the file that is written is still the one under its name.
    ///
    /// # Errors
    /// [`WalError::Removed`] if it is not, [`WalError::Io`] if that cannot be told.
    pub(crate) fn check_place(&self) -> Result<(), WalError> {
        lock::check_place(&self.path, self.file)
    }

    /// Ends it: what it holds, to be sealed. Nothing of that need be read again, for all of it has
    /// been written by this process, without an error.
    pub(crate) fn close(self) -> LogSummary {
        LogSummary {
            header: Some(self.header),
            range: self.range,
            damage: Vec::new(),
            torn_bytes: 0,
            damaged_end: None,
            timestamps: self.timestamps,
            data_end: self.bytes,
            compact_end: COMPACT_START as u64 + self.compact_bytes,
            crc: self.crc,
        }
    }
}
