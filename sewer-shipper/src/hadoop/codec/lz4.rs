//! `Lz4Codec`: chunks of raw LZ4, which do not say how much they hold.

use super::CodecError;
use super::block::{BUFFER_BYTES, Raw};
use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};

/// A byte of a chunk lengthens a match by this much at most, so a chunk cannot hold more.
const RATIO_MAX: usize = 255;

/// Keeps nothing: the table is 16 KiB and made anew for each chunk.
pub(super) struct Lz4;

impl Raw for Lz4 {
    const CHUNK_BYTES_MAX: usize = BUFFER_BYTES - (BUFFER_BYTES / 255 + 16);

    fn bound(length: usize) -> usize {
        get_maximum_output_size(length)
    }

    fn compress(&mut self, chunk: &[u8], out: &mut [u8]) -> usize {
        compress_into(chunk, out).expect("the output has room for a chunk that does not compress")
    }

    fn length_max(chunk: &[u8]) -> Result<usize, CodecError> {
        Ok(chunk.len().saturating_mul(RATIO_MAX))
    }

    fn decompress(chunk: &[u8], out: &mut [u8]) -> Result<usize, CodecError> {
        decompress_into(chunk, out).map_err(|_| CodecError::Damaged)
    }
}
