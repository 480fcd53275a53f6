//! `GzipCodec`: a buffer is one gzip member.
//!
//! ```text
//! member = 1f 8b, 08 (deflate), flags u8 = 0, time u32 = 0, extra flags u8 = 0, system u8 = 255
//!          raw deflate, of level 6 as Hadoop has it
//!          CRC-32 u32 LE, length u32 LE       of the buffer
//! ```
//! No name and no time: they would not be the same twice.

use super::deflate::deflate;
use super::{CodecError, expect_end, read_bounded};
use flate2::{Compress, Compression, Crc};

const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Keeps the tables of deflate.
pub(super) struct Compressor(Compress);

impl Compressor {
    pub(super) fn new() -> Self {
        Self(Compress::new(Compression::default(), false))
    }
}

impl super::Compress for Compressor {
    fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&HEADER);
        deflate(&mut self.0, input, out);
        let mut crc = Crc::new();
        crc.update(input);
        out.extend_from_slice(&crc.sum().to_le_bytes());
        out.extend_from_slice(&crc.amount().to_le_bytes());
    }
}

pub(super) fn decompress(
    input: &[u8],
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let mut decoder = flate2::bufread::GzDecoder::new(input);
    read_bounded(&mut decoder, bytes_max, out)?;
    expect_end(decoder.into_inner())
}
