//! Hadoop's block framing, around codecs whose streams do not say where they end.
//!
//! ```text
//! stream = block*
//! block  = length u32      of the block, uncompressed; 0 ends the stream
//!          chunk*          until the block's length is reached
//! chunk  = size u32, what the raw codec makes of up to CHUNK_BYTES_MAX
//! ```
//! All integers are big-endian. A buffer is one block. An empty buffer, or one longer than a chunk,
//! is followed by a block of length 0: Hadoop's `BlockCompressorStream` writes exactly this, so a
//! reader meets nothing here that it does not know from Hadoop itself.
//!
//! A chunk must fit the buffer that Hadoop's decompressor has for it, even one that does not
//! compress: 256 KiB less what the codec can add.

use super::{CodecError, expect_end};

/// Hadoop gives its codecs buffers of this size: `io.compression.codec.snappy.buffersize`, and the
/// same of lz4.
pub(super) const BUFFER_BYTES: usize = 256 * 1024;

/// A codec of chunks.
pub(super) trait Raw {
    /// The most that goes into a chunk, by the rule of Hadoop's codec.
    const CHUNK_BYTES_MAX: usize;

    /// The room that a chunk of that length may need when it does not compress.
    fn bound(length: usize) -> usize;

    /// Fills the front of `out`, which has that room, and returns how much of it.
    fn compress(&mut self, chunk: &[u8], out: &mut [u8]) -> usize;

    /// The most bytes that `chunk` can hold, by what it says or by what is possible.
    fn length_max(chunk: &[u8]) -> Result<usize, CodecError>;

    /// Fills the front of `out`, which has that room or less, and returns how much of it.
    fn decompress(chunk: &[u8], out: &mut [u8]) -> Result<usize, CodecError>;
}

/// Compresses buffers by a raw codec.
pub(super) struct Compressor<R>(pub(super) R);

impl<R: Raw + Send> super::Compress for Compressor<R> {
    fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&be_u32(input.len()));
        for chunk in input.chunks(R::CHUNK_BYTES_MAX) {
            let start = out.len();
            let body = start + size_of::<u32>();
            out.resize(body + R::bound(chunk.len()), 0);
            let size = self.0.compress(chunk, &mut out[body..]);
            out[start..body].copy_from_slice(&be_u32(size));
            out.truncate(body + size);
        }
        if input.len() > R::CHUNK_BYTES_MAX {
            out.extend_from_slice(&be_u32(0));
        }
    }
}

fn be_u32(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("a SequenceFile's buffers are shorter than 4 GiB").to_be_bytes()
}

/// Appends what the stream `input` holds to `out`, which is empty.
pub(super) fn decompress<R: Raw>(
    input: &[u8],
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let mut rest = input;
    while !rest.is_empty() {
        let length = take_u32(&mut rest)?;
        if length == 0 {
            return expect_end(rest);
        }
        if length > bytes_max - out.len() {
            return Err(CodecError::TooLong(bytes_max));
        }
        let end = out.len() + length;
        while out.len() < end {
            let size = take_u32(&mut rest)?;
            let (chunk, after) = rest.split_at_checked(size).ok_or(CodecError::Short)?;
            rest = after;
            let start = out.len();
            out.resize(end.min(start.saturating_add(R::length_max(chunk)?)), 0);
            let written = R::decompress(chunk, &mut out[start..])?;
            out.truncate(start + written);
        }
    }
    Ok(())
}

fn take_u32(rest: &mut &[u8]) -> Result<usize, CodecError> {
    let (bytes, after) = rest.split_first_chunk().ok_or(CodecError::Short)?;
    *rest = after;
    // A length beyond this machine's memory is beyond every limit too.
    Ok(usize::try_from(u32::from_be_bytes(*bytes)).unwrap_or(usize::MAX))
}
