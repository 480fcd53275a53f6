//! `ZStandardCodec`: a buffer is one Zstandard frame, of level 3 as Hadoop has it.
//!
//! The frame says the buffer's length and has a checksum; a reader needs neither.

use super::{CodecError, expect_end, read_bounded};
use ::zstd::bulk;
use ::zstd::stream::read::Decoder;
use ::zstd::zstd_safe::{CParameter, compress_bound};

const LEVEL: i32 = 3;

/// The most memory, as a power of two, that a frame may ask for to be read: 8 MiB. Frames of level
/// 3 ask for 2 MiB at most, those of level 19 for 8 MiB.
const WINDOW_LOG_MAX: u32 = 23;

/// Keeps the tables of the library.
pub(super) struct Compressor(bulk::Compressor<'static>);

impl Compressor {
    pub(super) fn new() -> Self {
        let mut compressor = bulk::Compressor::new(LEVEL).expect("the level exists");
        compressor
            .set_parameter(CParameter::ChecksumFlag(true))
            .expect("it may be set before the first frame");
        Self(compressor)
    }
}

impl super::Compress for Compressor {
    fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + compress_bound(input.len()), 0);
        let size = self
            .0
            .compress_to_buffer(input, &mut out[start..])
            .expect("the output has room for a frame that does not compress");
        out.truncate(start + size);
    }
}

pub(super) fn decompress(
    input: &[u8],
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let mut decoder = Decoder::with_buffer(input).map_err(|_| CodecError::Damaged)?.single_frame();
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(|_| CodecError::Damaged)?;
    read_bounded(&mut decoder, bytes_max, out)?;
    expect_end(decoder.finish())
}
