//! The direct engine: whole blocks, past the page cache.
//!
//! A log never reads what it has written, so the page cache would only cost it a copy, and the
//! search for free pages. The file is zero-filled ahead, so that a commit is one write into blocks
//! that the disk has already, and one fdatasync that has nothing else to write.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::batch::{BATCH_BYTES_MAX, Batch};
use crate::durable::create_file_with;
use crate::format::batch::{BatchPlace, put_batch};
use crate::format::header::{Descriptor, Form, LogHeader};
use crate::format::{BLOCK, LOG_START};

/// The piece in which a new file is filled with zeros. After each, the disk is left alone for as
/// long as the piece took, so that the commits of another log get their turn.
const FILL_BYTES: usize = 256 << 10;

/// A log that is written past the page cache.
#[derive(Debug)]
pub(super) struct DirectLog {
    file: File,
    /// Room for a batch.
    buffer: Blocks,
    /// The bytes written, whole blocks.
    bytes: u64,
}

impl DirectLog {
    pub(super) fn create(
        path: &Path,
        header: &LogHeader,
        descriptor: Descriptor,
        bytes: u64,
    ) -> io::Result<Self> {
        let file = create_zeroed(path, bytes)?;
        let mut buffer = Blocks::zeroed(BATCH_BYTES_MAX.next_multiple_of(BLOCK) + BLOCK);
        let start = header.encode(descriptor);
        buffer.bytes_mut()[..LOG_START].copy_from_slice(&start);
        file.write_all_at(&buffer.bytes()[..LOG_START], 0)?;
        file.sync_all()?;
        Ok(Self { file, buffer, bytes: LOG_START as u64 })
    }

    pub(super) fn append(&mut self, place: BatchPlace, batch: &Batch) -> io::Result<&[u8]> {
        let (buffer, unpadded) = (self.buffer.bytes_mut(), batch.framed_bytes());
        let length = put_batch(buffer, Form::Log, place, unpadded, batch.events());
        let blocks = &self.buffer.bytes()[..length];
        self.file.write_all_at(blocks, self.bytes)?;
        self.file.sync_data()?;
        self.bytes += length as u64;
        Ok(blocks)
    }
}

/// Whether a file system answers so that does not write past its page cache.
pub(super) fn is_refused(error: &io::Error) -> bool {
    const REFUSED: [Errno; 2] = [Errno::EINVAL, Errno::EOPNOTSUPP];
    error.raw_os_error().is_some_and(|code| REFUSED.contains(&Errno::from_raw(code)))
}

/// Memory that begins where a block may.
#[derive(Debug)]
struct Blocks {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Blocks {
    /// Zeroed. Pages that are never written are never backed by memory.
    fn zeroed(length: usize) -> Self {
        let memory = vec![0; length + BLOCK];
        let start = memory.as_ptr().addr().wrapping_neg() % BLOCK;
        Self { memory, start, length }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..][..self.length]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..self.length]
    }
}

/// Makes a file of at least `length` zeros, in whole blocks that the disk has, and with all that an
/// fdatasync needs. It is not synced yet.
fn create_zeroed(path: &Path, length: u64) -> io::Result<File> {
    let file = create_file_with(path, OFlag::O_DIRECT.bits())?;
    let zeros = Blocks::zeroed(FILL_BYTES);
    let mut at = 0;
    while at < length {
        let left = (length - at).next_multiple_of(BLOCK as u64);
        let piece = usize::try_from(left).map_or(FILL_BYTES, |left| left.min(FILL_BYTES));
        let begun = Instant::now();
        file.write_all_at(&zeros.bytes()[..piece], at)?;
        at += piece as u64;
        if at < length {
            std::thread::sleep(begun.elapsed());
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_begins_at_a_block_and_is_as_long_as_asked_for() {
        for length in [BLOCK, 3 * BLOCK, FILL_BYTES] {
            let blocks = Blocks::zeroed(length);
            assert_eq!(blocks.bytes().len(), length);
            assert_eq!(blocks.bytes().as_ptr().addr() % BLOCK, 0);
        }
    }

    #[test]
    fn a_new_file_is_zeros_in_whole_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for (wanted, got) in [(1, BLOCK), (BLOCK, BLOCK), (FILL_BYTES + 1, FILL_BYTES + BLOCK)] {
            std::fs::write(&path, "what was there before").unwrap();
            match create_zeroed(&path, wanted as u64) {
                Err(e) if is_refused(&e) => return, // no direct I/O in this directory
                made => drop(made.unwrap()),
            }
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(bytes.len(), got);
            assert!(bytes.iter().all(|&byte| byte == 0));
        }
    }
}
