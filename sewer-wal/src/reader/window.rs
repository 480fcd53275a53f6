//! A moving view of a file: bytes are filled in at its end, consumed at its start, and hashed, if
//! that is wanted, as they are consumed. Reading is by offset, so that one view does not disturb
//! another.
//!
//! Blocks that the disk cannot read come as zeros, and are remembered.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use memchr::memmem;
use nix::errno::Errno;

use crate::format::BLOCK;

/// The bytes read at once, at most; a view that looks ahead begins with less.
const FILL_BYTES: usize = 256 << 10;
const FIRST_FILL_AHEAD_BYTES: usize = 16 << 10;

/// The bytes of a file from [`Self::offset`] as far as they have been read.
#[derive(Debug)]
pub(crate) struct Window {
    file: Arc<File>,
    /// Where reading stops although the file may go on.
    limit: u64,
    buffer: Vec<u8>,
    fill_bytes: usize,
    /// The start of the view within the buffer.
    start: usize,
    /// The offset in the file of the view's start.
    offset: u64,
    /// The CRC-32 of everything consumed; `None` if nobody will ask.
    crc: Option<crc32fast::Hasher>,
    /// The parts of the view that could not be read, by offset in the file, in order.
    unreadable: Vec<Range<u64>>,
}

impl Window {
    pub(crate) fn new(file: File, limit: u64) -> Self {
        Self {
            file: Arc::new(file),
            limit,
            buffer: Vec::new(),
            fill_bytes: FILL_BYTES,
            start: 0,
            offset: 0,
            crc: Some(crc32fast::Hasher::new()),
            unreadable: Vec::new(),
        }
    }

    /// A second view, for looking ahead, that begins at `offset` in the file.
    pub(crate) fn look_ahead(&self, offset: u64) -> Self {
        Self {
            file: Arc::clone(&self.file),
            limit: self.limit,
            buffer: Vec::new(),
            fill_bytes: FIRST_FILL_AHEAD_BYTES,
            start: 0,
            offset,
            crc: None,
            unreadable: Vec::new(),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// The offset in the file of the first byte of the view.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Gives up the CRC-32 of what is consumed.
    pub(crate) fn without_crc(&mut self) {
        self.crc = None;
    }

    /// The CRC-32 of everything consumed, for a view of which it was not given up.
    pub(crate) fn crc(&self) -> crc32fast::Hasher {
        self.crc.clone().expect("only views that look ahead or copy are not hashed")
    }

    /// Whether some of these bytes, by offset in the file, could not be read.
    pub(crate) fn is_unreadable(&self, bytes: &Range<u64>) -> bool {
        self.unreadable.iter().any(|bad| bad.start < bytes.end && bytes.start < bad.end)
    }

    /// Reads on; `false` at the end of the file or at the limit.
    ///
    /// Each call may double the view, so that a large batch is not parsed again for every piece.
    pub(crate) fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let held = self.buffer.len();
        let at = self.offset + held as u64;
        let ahead = usize::try_from(self.limit.saturating_sub(at)).unwrap_or(usize::MAX);
        self.buffer.resize(held + ahead.min(self.fill_bytes.max(held)), 0);
        self.fill_bytes = (2 * self.fill_bytes).min(FILL_BYTES);
        let result = match read_at(&self.file, &mut self.buffer[held..], at) {
            Err(e) if is_bad_sector(&e) => self.fill_by_blocks(held),
            result => result,
        };
        self.buffer.truncate(held + *result.as_ref().unwrap_or(&0));
        result.map(|read| read > 0)
    }

    /// Fills the buffer from `held` on block by block, with zeros for what cannot be read. The size
    /// of the file bounds it: behind its end a bad disk has nothing.
    fn fill_by_blocks(&mut self, held: usize) -> io::Result<usize> {
        let end = self.file.metadata()?.len().min(self.limit);
        let mut filled = 0;
        while held + filled < self.buffer.len() {
            let at = self.offset + (held + filled) as u64;
            if at >= end {
                break;
            }
            let block_end = (at + 1).next_multiple_of(BLOCK as u64).min(end);
            let room = self.buffer.len() - held - filled;
            let piece = usize::try_from(block_end - at).map_or(room, |piece| piece.min(room));
            let target = &mut self.buffer[held + filled..][..piece];
            match read_at(&self.file, target, at) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(e) if is_bad_sector(&e) => {
                    target.fill(0);
                    filled += piece;
                    self.unreadable.push(at..at + piece as u64);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }

    /// Moves the start of the view and returns the bytes passed over.
    ///
    /// `length` is at most that of [`Self::bytes`].
    pub(crate) fn consume(&mut self, length: usize) -> &[u8] {
        let passed = &self.buffer[self.start..self.start + length];
        if let Some(crc) = &mut self.crc {
            crc.update(passed);
        }
        self.start += length;
        self.offset += length as u64;
        let offset = self.offset;
        self.unreadable.retain(|bad| bad.end > offset);
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
        self.unreadable.clear();
        self.fill().map(drop)
    }

    /// Moves to the next place, this one included, behind which `pattern` stands after `before`
    /// other bytes; `false` if there is none up to the end.
    pub(crate) fn find(&mut self, pattern: &[u8], before: usize) -> io::Result<bool> {
        loop {
            let behind = self.bytes().get(before..).unwrap_or_default();
            if let Some(at) = memmem::find(behind, pattern) {
                self.consume(at);
                return Ok(true);
            }
            // The last bytes may be the first part of what is looked for.
            let kept = before + pattern.len() - 1;
            self.consume(self.bytes().len().saturating_sub(kept));
            if !self.fill()? {
                return Ok(false);
            }
        }
    }
}

fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, at) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Whether the disk could not read a sector, or the file system found its content wrong.
pub(crate) fn is_bad_sector(error: &io::Error) -> bool {
    const BAD: [Errno; 3] = [Errno::EIO, Errno::EUCLEAN, Errno::ENODATA];
    error.raw_os_error().is_some_and(|code| BAD.contains(&Errno::from_raw(code)))
}
