//! Records into the bytes of a file. The caller drains them and does the I/O.
//!
//! The bytes depend on the header and the records alone, not on when the caller drains: the same
//! calls make the same file again. Memory: one block, and what has not been drained.

use super::{Header, RECORD_BYTES_MAX, SYNC_ESCAPE, Sync};
use crate::hadoop::codec::Compressor;
use crate::hadoop::writable::put_length;
use thiserror::Error;

/// A block ends when its keys and values have this many bytes: `io.seqfile.compress.blocksize`.
const BLOCK_BYTES: usize = 1_000_000;
/// Between two marks of the uncompressed layout lie at least this many bytes: 100 marks.
const SYNC_INTERVAL_BYTES: u64 = 100 * (4 + 16);

/// A record that does not fit a file. It is left out; the writer can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a record of {bytes} bytes; a SequenceFile takes at most {RECORD_BYTES_MAX}")]
pub struct RecordTooLarge {
    /// What key and value have together.
    pub bytes: usize,
}

/// Encodes one file.
#[derive(Debug)]
pub struct Writer {
    sync: Sync,
    out: Vec<u8>,
    /// Bytes of the file so far, drained or not.
    encoded_bytes: u64,
    layout: Layout,
}

#[derive(Debug)]
enum Layout {
    Records {
        /// The end of the last mark in the file; 0 before the first, as Hadoop counts.
        last_mark: u64,
    },
    Blocks(Box<Block>),
}

/// The block to be written next.
#[derive(Debug)]
struct Block {
    compressor: Compressor,
    count: usize,
    key_lengths: Vec<u8>,
    keys: Vec<u8>,
    value_lengths: Vec<u8>,
    values: Vec<u8>,
    /// A compressed part, whose size comes before it; kept for its memory.
    packed: Vec<u8>,
}

impl Writer {
    /// Begins a file with its header.
    #[must_use]
    pub fn new(header: &Header) -> Self {
        let mut out = Vec::new();
        header.encode(&mut out);
        let layout = match header.compression.compressor() {
            None => Layout::Records { last_mark: 0 },
            Some(compressor) => Layout::Blocks(Box::new(Block::new(compressor))),
        };
        Self { sync: header.sync, encoded_bytes: out.len() as u64, out, layout }
    }

    /// Appends a record.
    ///
    /// # Errors
    /// [`RecordTooLarge`] beyond [`RECORD_BYTES_MAX`]; nothing is written then.
    pub fn append(&mut self, key: &[u8], value: &[u8]) -> Result<(), RecordTooLarge> {
        let bytes = key.len().saturating_add(value.len());
        if bytes > RECORD_BYTES_MAX {
            return Err(RecordTooLarge { bytes });
        }
        let before = self.out.len();
        match &mut self.layout {
            Layout::Records { last_mark } => {
                if self.encoded_bytes >= *last_mark + SYNC_INTERVAL_BYTES {
                    put_mark(&mut self.out, &self.sync);
                    *last_mark = self.encoded_bytes + (self.out.len() - before) as u64;
                }
                self.out.extend_from_slice(&be_i32(bytes));
                self.out.extend_from_slice(&be_i32(key.len()));
                self.out.extend_from_slice(key);
                self.out.extend_from_slice(value);
            }
            Layout::Blocks(block) => {
                block.append(key, value);
                if block.is_full() {
                    block.write(&self.sync, &mut self.out);
                }
            }
        }
        self.encoded_bytes += (self.out.len() - before) as u64;
        Ok(())
    }

    /// The bytes not yet drained. The caller may take any of them from the front, and adds none.
    pub const fn output(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Drains all bytes.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// The length of the file so far, drained or not, without the block not yet ended.
    #[must_use]
    pub const fn encoded_bytes(&self) -> u64 {
        self.encoded_bytes
    }

    /// Ends the last block. With the bytes that are drained then, the file is complete.
    pub fn finish(&mut self) {
        if let Layout::Blocks(block) = &mut self.layout
            && block.count > 0
        {
            let before = self.out.len();
            block.write(&self.sync, &mut self.out);
            self.encoded_bytes += (self.out.len() - before) as u64;
        }
    }
}

impl Block {
    const fn new(compressor: Compressor) -> Self {
        Self {
            compressor,
            count: 0,
            key_lengths: Vec::new(),
            keys: Vec::new(),
            value_lengths: Vec::new(),
            values: Vec::new(),
            packed: Vec::new(),
        }
    }

    fn append(&mut self, key: &[u8], value: &[u8]) {
        self.count += 1;
        put_length(&mut self.key_lengths, key.len());
        self.keys.extend_from_slice(key);
        put_length(&mut self.value_lengths, value.len());
        self.values.extend_from_slice(value);
    }

    /// The count only matters for records that are empty, which would never fill a block.
    const fn is_full(&self) -> bool {
        self.keys.len() + self.values.len() >= BLOCK_BYTES || self.count >= BLOCK_BYTES
    }

    /// Appends the block to `out` and begins the next one.
    fn write(&mut self, sync: &Sync, out: &mut Vec<u8>) {
        put_mark(out, sync);
        put_length(out, self.count);
        self.count = 0;
        let Self { key_lengths, keys, value_lengths, values, .. } = self;
        for part in [key_lengths, keys, value_lengths, values] {
            self.packed.clear();
            self.compressor.compress(part, &mut self.packed);
            part.clear();
            put_length(out, self.packed.len());
            out.extend_from_slice(&self.packed);
        }
    }
}

fn put_mark(out: &mut Vec<u8>, sync: &Sync) {
    out.extend_from_slice(&SYNC_ESCAPE.to_be_bytes());
    out.extend_from_slice(sync);
}

fn be_i32(length: usize) -> [u8; 4] {
    i32::try_from(length).expect("a record is below RECORD_BYTES_MAX").to_be_bytes()
}
