//! Files that are written in whole blocks, past the page cache.
//!
//! What a log is given it never reads again, so the page cache would only cost it a copy, and pages
//! to be found and to be given back. Where a file system refuses such files, they are written
//! through the page cache; nothing else changes.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Instant;

use nix::fcntl::OFlag;

/// What offsets, lengths and addresses of direct writes are multiples of; every disk takes that.
pub(crate) const BLOCK: usize = 4096;

/// What a new file is filled with at once. After each piece the disk is left for as long as the piece
/// took, so that the commits of another log get their turn.
const FILL_BYTES: usize = 256 << 10;

/// Memory that begins where a block may.
#[derive(Debug)]
pub(crate) struct Blocks {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Blocks {
    /// Zeros. What is never touched takes no memory.
    pub(crate) fn zeroed(length: usize) -> Self {
        let memory = vec![0; length + BLOCK];
        let start = memory.as_ptr().addr().wrapping_neg() % BLOCK;
        Self { memory, start, length }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..][..self.length]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..self.length]
    }
}

/// Makes a file of at least `length` zeros, in whole blocks that the disk has, and with all that an
/// fdatasync needs. It is not synced yet.
pub(crate) fn create_zeroed(path: &Path, length: u64) -> io::Result<File> {
    match create(path, length, OFlag::O_DIRECT) {
        Err(e) if e.kind() == ErrorKind::InvalidInput => create(path, length, OFlag::empty()),
        result => result,
    }
}

fn create(path: &Path, length: u64, flag: OFlag) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true);
    let file = options.custom_flags(flag.bits()).open(path)?;
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
            create_zeroed(&path, wanted as u64).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(bytes.len(), got);
            assert!(bytes.iter().all(|&byte| byte == 0));
        }
    }
}
