//! Records out of a stream, in both layouts.
//!
//! The reader holds one record or one block at a time. Lengths are only believed within limits, and
//! memory grows with the bytes that arrive, so a damaged length costs an error. Every sync marker
//! is verified. The format has no checksum: damage inside a value can go unnoticed where the codec
//! has none either.

use super::source::{ReadError, Source, bounded};
use super::{Header, PART_BYTES_MAX, SYNC_ESCAPE, Sync};
use crate::hadoop::codec::Compression;
use crate::hadoop::writable::Input;
use std::io::Read;

/// The most bytes that one length takes in a block.
const LENGTH_BYTES_MAX: usize = 5;

/// Reads the records of one file.
pub struct Reader<R> {
    source: Source<R>,
    header: Header,
    /// Where the current record or block begins.
    position: u64,
    layout: Layout,
}

/// A key and its value, as their Writables wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The key's bytes.
    pub key: &'a [u8],
    /// The value's bytes.
    pub value: &'a [u8],
}

enum Layout {
    /// The bytes of the current record.
    Records(Vec<u8>),
    Blocks(Box<Block>),
}

/// The current block, decompressed. Invariant: the lengths not yet read are `count` `VInts` each,
/// and their sums are what is left of keys and values.
#[derive(Default)]
struct Block {
    count: usize,
    keys: Part,
    values: Part,
    /// A part as it is in the file; kept for its memory.
    packed: Vec<u8>,
}

/// The keys of a block, or its values.
#[derive(Default)]
struct Part {
    lengths: Vec<u8>,
    lengths_read: usize,
    bytes: Vec<u8>,
    bytes_read: usize,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`ReadError::Foreign`] if this is no `SequenceFile` of the version and layouts read here;
    /// any other [`ReadError`] if the header is damaged or cannot be read.
    pub fn new(stream: R) -> Result<Self, ReadError> {
        let mut source = Source::new(stream);
        let header = Header::read(&mut source)?;
        let layout = match header.compression {
            Compression::None => Layout::Records(Vec::new()),
            _ => Layout::Blocks(Box::default()),
        };
        let position = source.offset();
        Ok(Self { source, header, position, layout })
    }

    /// What the file says about itself.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The offset at which the record read last begins, or the block that holds it.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// The next record, or `None` at the end of the file.
    ///
    /// # Errors
    /// [`ReadError`]; there is no reading on after it.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        let source = &mut self.source;
        match &mut self.layout {
            Layout::Records(bytes) => {
                self.position = source.offset();
                read_record(source, &self.header.sync, bytes)
            }
            Layout::Blocks(block) => {
                if block.count == 0 {
                    self.position = source.offset();
                    if source.at_end()? {
                        return Ok(None);
                    }
                    block.read(source, &self.header)?;
                }
                Ok(Some(block.next_record()))
            }
        }
    }
}

/// A record of the uncompressed layout. A mark at the very end of a file stands between two records
/// of which the second was not written, so it ends the file as Hadoop has it.
fn read_record<'a>(
    source: &mut Source<impl Read>,
    sync: &Sync,
    bytes: &'a mut Vec<u8>,
) -> Result<Option<Record<'a>>, ReadError> {
    const PART: &str = "record length";
    if source.at_end()? {
        return Ok(None);
    }
    let mut offset = source.offset();
    let mut length = source.i32(PART)?;
    if length == SYNC_ESCAPE {
        source.expect_sync(sync)?;
        if source.at_end()? {
            return Ok(None);
        }
        offset = source.offset();
        length = source.i32(PART)?;
    }
    let length = checked_length(length, PART_BYTES_MAX, offset, PART)?;
    let offset = source.offset();
    let key_length = source.i32("key length")?;
    let key_length = checked_length(key_length, length, offset, "key length")?;
    source.fill(length, bytes, "record")?;
    let (key, value) = bytes.split_at(key_length);
    Ok(Some(Record { key, value }))
}

fn checked_length(
    length: i32,
    bytes_max: usize,
    offset: u64,
    part: &'static str,
) -> Result<usize, ReadError> {
    let length = usize::try_from(length).map_err(|_| ReadError::Damaged { offset, part })?;
    bounded(length, bytes_max, offset, part)
}

impl Block {
    /// Reads and checks the block that begins here.
    fn read(&mut self, source: &mut Source<impl Read>, header: &Header) -> Result<(), ReadError> {
        let offset = source.offset();
        if source.i32("block")? != SYNC_ESCAPE {
            return Err(ReadError::Damaged { offset, part: "block" });
        }
        source.expect_sync(&header.sync)?;
        let offset = source.offset();
        let count = source.length(PART_BYTES_MAX / LENGTH_BYTES_MAX, "record count")?;
        if count == 0 {
            return Err(ReadError::Damaged { offset, part: "record count" });
        }
        let codec = header.compression;
        let packed = &mut self.packed;
        self.keys.read(source, codec, count, packed, ["key lengths", "keys"])?;
        self.values.read(source, codec, count, packed, ["value lengths", "values"])?;
        self.count = count;
        Ok(())
    }

    fn next_record(&mut self) -> Record<'_> {
        self.count -= 1;
        Record { key: self.keys.next_slice(), value: self.values.next_slice() }
    }
}

impl Part {
    fn read(
        &mut self,
        source: &mut Source<impl Read>,
        codec: Compression,
        count: usize,
        packed: &mut Vec<u8>,
        [lengths, bytes]: [&'static str; 2],
    ) -> Result<(), ReadError> {
        (self.lengths_read, self.bytes_read) = (0, 0);
        let offset = source.offset();
        unpack(source, codec, count * LENGTH_BYTES_MAX, packed, lengths, &mut self.lengths)?;
        let total =
            sum(&self.lengths, count).ok_or(ReadError::Damaged { offset, part: lengths })?;
        let total = bounded(total, PART_BYTES_MAX, offset, lengths)?;
        let offset = source.offset();
        unpack(source, codec, total, packed, bytes, &mut self.bytes)?;
        if self.bytes.len() != total {
            return Err(ReadError::Damaged { offset, part: bytes });
        }
        Ok(())
    }

    fn next_slice(&mut self) -> &[u8] {
        let rest = &self.lengths[self.lengths_read..];
        let mut input = Input::new(rest);
        let length = input.length().expect("the lengths were checked with their block");
        self.lengths_read += rest.len() - input.remaining();
        let start = self.bytes_read;
        self.bytes_read += length;
        &self.bytes[start..self.bytes_read]
    }
}

/// Reads one of a block's four parts.
fn unpack(
    source: &mut Source<impl Read>,
    codec: Compression,
    bytes_max: usize,
    packed: &mut Vec<u8>,
    part: &'static str,
    out: &mut Vec<u8>,
) -> Result<(), ReadError> {
    let offset = source.offset();
    let size = source.length(PART_BYTES_MAX, part)?;
    source.fill(size, packed, part)?;
    codec.decompress(packed, bytes_max, out).map_err(|source| ReadError::Codec {
        offset,
        part,
        source,
    })
}

/// The sum of exactly `count` lengths; `None` if `lengths` is anything else.
fn sum(lengths: &[u8], count: usize) -> Option<usize> {
    let mut input = Input::new(lengths);
    let mut total = 0_usize;
    for _ in 0..count {
        total = total.checked_add(input.length().ok()?)?;
    }
    input.end().ok()?;
    Some(total)
}
