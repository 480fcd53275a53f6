//! A moving view of a file: bytes are filled in at its end, consumed at its start, and hashed as
//! they are consumed. Reading is by offset, so that one view does not disturb another.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use memchr::memmem;

use crate::entry::{HEADER_CHUNK_OFFSET, HEADER_CHUNK_START};

const FILL_BYTES: usize = 256 << 10;

/// The bytes of a file from [`Self::offset`] as far as they have been read.
#[derive(Debug)]
pub(crate) struct Window {
    file: Arc<File>,
    /// Where reading stops although the file may go on.
    limit: u64,
    buffer: Vec<u8>,
    /// The start of the view within the buffer.
    start: usize,
    /// The offset in the file of the view's start.
    offset: u64,
    crc: crc32fast::Hasher,
}

impl Window {
    pub(crate) fn new(file: File, limit: u64) -> Self {
        Self::starting_at(Arc::new(file), limit, 0)
    }

    fn starting_at(file: Arc<File>, limit: u64, offset: u64) -> Self {
        let crc = crc32fast::Hasher::new();
        Self { file, limit, buffer: Vec::new(), start: 0, offset, crc }
    }

    /// A second view, for looking ahead, that begins one byte behind this one's start.
    pub(crate) fn look_ahead(&self) -> Self {
        Self::starting_at(Arc::clone(&self.file), self.limit, self.offset + 1)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// The offset in the file of the first byte of the view.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The CRC-32 of everything consumed.
    pub(crate) fn crc(&self) -> crc32fast::Hasher {
        self.crc.clone()
    }

    /// Whether nothing but zeros has been read.
    pub(crate) fn all_zero(&self) -> bool {
        self.bytes().iter().all(|&byte| byte == 0)
    }

    /// Reads on; `false` at the end of the file or at the limit.
    ///
    /// Each call may double the view, so that a large entry is not parsed again for every piece.
    pub(crate) fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let held = self.buffer.len();
        let at = self.offset + held as u64;
        let ahead = usize::try_from(self.limit.saturating_sub(at)).unwrap_or(usize::MAX);
        self.buffer.resize(held + ahead.min(FILL_BYTES.max(held)), 0);
        let result = loop {
            match self.file.read_at(&mut self.buffer[held..], at) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        self.buffer.truncate(held + *result.as_ref().unwrap_or(&0));
        result.map(|read| read > 0)
    }

    /// Moves the start of the view and returns the bytes passed over.
    ///
    /// `length` is at most that of [`Self::bytes`].
    pub(crate) fn consume(&mut self, length: usize) -> &[u8] {
        let passed = &self.buffer[self.start..self.start + length];
        self.crc.update(passed);
        self.start += length;
        self.offset += length as u64;
        passed
    }

    /// Consumes up to the given offset, which lies ahead, or up to the end.
    pub(crate) fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        while self.offset < offset {
            if self.bytes().is_empty() && !self.fill()? {
                break;
            }
            let ahead = usize::try_from(offset - self.offset).unwrap_or(usize::MAX);
            self.consume(ahead.min(self.bytes().len()));
        }
        Ok(())
    }

    /// Forgets what was read and not consumed, and reads it again.
    pub(crate) fn reread(&mut self) -> io::Result<()> {
        self.buffer.truncate(self.start);
        self.fill().map(drop)
    }

    /// Moves to the next place, this one included, that looks like the start of an entry; `false`
    /// if there is none up to the end.
    pub(crate) fn find_candidate(&mut self) -> io::Result<bool> {
        loop {
            let after_id = self.bytes().get(HEADER_CHUNK_OFFSET..).unwrap_or_default();
            if let Some(at) = memmem::find(after_id, HEADER_CHUNK_START) {
                self.consume(at);
                if self.bytes()[0] == 1 {
                    return Ok(true);
                }
                self.consume(1);
                continue;
            }
            // The last bytes may be the first part of a candidate.
            let kept = HEADER_CHUNK_OFFSET + HEADER_CHUNK_START.len() - 1;
            self.consume(self.bytes().len().saturating_sub(kept));
            if !self.fill()? {
                return Ok(false);
            }
        }
    }
}
