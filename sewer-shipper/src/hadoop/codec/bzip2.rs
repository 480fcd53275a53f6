//! `BZip2Codec`: a buffer is one bzip2 stream. Hadoop always takes the largest block size; here it
//! is the smallest that holds the buffer, which gives blocks of the same density and spares both
//! sides most of the memory.

use super::{CodecError, expect_end, read_bounded};
use ::bzip2::bufread::BzDecoder;
use ::bzip2::{Action, Compress, Compression, Status};

/// The step of block sizes is 100,000 bytes, and runs of four can make the input a quarter longer
/// before it is cut into blocks.
const LEVEL_BYTES: usize = 80_000;

const LEVEL_MAX: u32 = 9;

/// Keeps nothing: the library has no way to use its tables again.
pub(super) struct Compressor;

impl super::Compress for Compressor {
    fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) {
        let level = u32::try_from(input.len() / LEVEL_BYTES + 1).unwrap_or(LEVEL_MAX);
        let level = Compression::new(level.min(LEVEL_MAX));
        // 0 is the usual patience with repetitive input.
        let mut state = Compress::new(level, 0);
        let mut rest = input;
        loop {
            out.reserve(rest.len() / 4 + 64);
            let before = state.total_in();
            let status = state
                .compress_vec(rest, out, Action::Finish)
                .expect("a new state takes every input");
            if status == Status::StreamEnd {
                return;
            }
            let consumed = usize::try_from(state.total_in() - before).expect("a part of `rest`");
            rest = &rest[consumed..];
        }
    }
}

pub(super) fn decompress(
    input: &[u8],
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let mut decoder = BzDecoder::new(input);
    read_bounded(&mut decoder, bytes_max, out)?;
    expect_end(decoder.into_inner())
}
