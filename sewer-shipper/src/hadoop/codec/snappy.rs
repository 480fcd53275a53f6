//! `SnappyCodec`: chunks of raw Snappy.

use super::CodecError;
use super::block::{BUFFER_BYTES, Raw};
use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

/// Snappy's densest element makes 64 bytes out of 3, so a chunk that claims more is damaged.
const RATIO_MAX: usize = 22;

/// Keeps the encoder's table.
pub(super) struct Snappy(Box<Encoder>);

impl Snappy {
    pub(super) fn new() -> Self {
        Self(Box::new(Encoder::new()))
    }
}

impl Raw for Snappy {
    const CHUNK_BYTES_MAX: usize = BUFFER_BYTES - (BUFFER_BYTES / 6 + 32);

    fn bound(length: usize) -> usize {
        max_compress_len(length)
    }

    fn compress(&mut self, chunk: &[u8], out: &mut [u8]) -> usize {
        self.0.compress(chunk, out).expect("the output has room for a chunk that does not compress")
    }

    fn length_max(chunk: &[u8]) -> Result<usize, CodecError> {
        let length = decompress_len(chunk).map_err(|_| CodecError::Damaged)?;
        if length / RATIO_MAX > chunk.len() { Err(CodecError::Damaged) } else { Ok(length) }
    }

    fn decompress(chunk: &[u8], out: &mut [u8]) -> Result<usize, CodecError> {
        Decoder::new().decompress(chunk, out).map_err(|_| CodecError::Damaged)
    }
}
