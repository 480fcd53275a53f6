//! `DefaultCodec`: a buffer is one zlib stream, of level 6 as Hadoop has it.

use super::{CodecError, expect_end, read_bounded};
use flate2::{Compress, Compression, FlushCompress, Status};

/// Keeps the tables of deflate.
pub(super) struct Compressor(Compress);

impl Compressor {
    pub(super) fn new() -> Self {
        Self(Compress::new(Compression::default(), true))
    }
}

impl super::Compress for Compressor {
    fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) {
        deflate(&mut self.0, input, out);
    }
}

/// Appends the whole stream, with or without a zlib header as `state` has it.
pub(super) fn deflate(state: &mut Compress, input: &[u8], out: &mut Vec<u8>) {
    state.reset();
    let mut rest = input;
    loop {
        // Room for the usual ratio at first; the loop asks again for what turns out to be missing.
        out.reserve(rest.len() / 4 + 64);
        let before = state.total_in();
        let status = state
            .compress_vec(rest, out, FlushCompress::Finish)
            .expect("a reset state takes every input");
        if status == Status::StreamEnd {
            return;
        }
        let consumed = usize::try_from(state.total_in() - before).expect("a part of `rest`");
        rest = &rest[consumed..];
    }
}

pub(super) fn decompress(
    input: &[u8],
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let mut decoder = flate2::bufread::ZlibDecoder::new(input);
    read_bounded(&mut decoder, bytes_max, out)?;
    expect_end(decoder.into_inner())
}
