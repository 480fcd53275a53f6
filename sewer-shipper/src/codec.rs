//! Compression as Hadoop's codecs frame it: one buffer in, one stream out, and back.
//!
//! ```text
//! DefaultCodec  stream = one zlib stream
//! SnappyCodec   stream = block*
//!               block  = length u32      of the block, uncompressed; 0 ends the stream
//!                        chunk*          until the block's length is reached
//!               chunk  = size u32, raw snappy of up to 218,422 bytes
//! ```
//! All integers are big-endian. A buffer is one block. An empty buffer, or one longer than a chunk,
//! is followed by a block of length 0: Hadoop's `BlockCompressorStream` writes exactly this, so a
//! reader meets nothing here that it does not know from Hadoop itself.
//!
//! No I/O, and no panic on any bytes: decompression is given a limit for its output and takes
//! memory only as the input proves to hold that much.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::Read as _;
use thiserror::Error;

/// Hadoop gives snappy a buffer of this size: `io.compression.codec.snappy.buffersize`.
const SNAPPY_BUFFER_BYTES: usize = 256 * 1024;
/// What fits that buffer even if it does not compress, by the rule of Hadoop's `SnappyCodec`.
const SNAPPY_CHUNK_BYTES_MAX: usize = SNAPPY_BUFFER_BYTES - (SNAPPY_BUFFER_BYTES / 6 + 32);
/// Snappy's densest element makes 64 bytes out of 3, so a chunk that claims more is damaged.
const SNAPPY_RATIO_MAX: usize = 22;

/// How the output is compressed.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Not at all.
    None,
    /// zlib, Hadoop's default codec.
    Deflate,
    /// Snappy: less dense, much faster.
    #[default]
    Snappy,
}

impl Compression {
    /// Every compression.
    pub const ALL: [Self; 3] = [Self::None, Self::Deflate, Self::Snappy];

    /// The name in configuration and plans.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Deflate => "deflate",
            Self::Snappy => "snappy",
        }
    }

    /// The class by which Hadoop finds the codec; `None` where nothing is compressed.
    #[must_use]
    pub const fn codec_class(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Deflate => Some("org.apache.hadoop.io.compress.DefaultCodec"),
            Self::Snappy => Some("org.apache.hadoop.io.compress.SnappyCodec"),
        }
    }

    /// The compression whose codec has this class.
    #[must_use]
    pub fn from_codec_class(class: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|compression| compression.codec_class() == Some(class))
    }

    /// What compresses; `None` where nothing is compressed.
    #[must_use]
    pub fn compressor(self) -> Option<Compressor> {
        match self {
            Self::None => None,
            Self::Deflate => {
                let level = flate2::Compression::default();
                Some(Compressor(Kind::Deflate(flate2::Compress::new(level, true))))
            }
            Self::Snappy => Some(Compressor(Kind::Snappy(Box::new(snap::raw::Encoder::new())))),
        }
    }

    /// Replaces `out` by what the stream `input` holds.
    ///
    /// # Errors
    /// [`CodecError`] if `input` is no whole stream or holds more than `bytes_max`.
    pub fn decompress(
        self,
        input: &[u8],
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        out.clear();
        match self {
            Self::None if input.len() > bytes_max => Err(CodecError::TooLong(bytes_max)),
            Self::None => {
                out.extend_from_slice(input);
                Ok(())
            }
            Self::Deflate => inflate(input, bytes_max, out),
            Self::Snappy => unsnappy(input, bytes_max, out),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// Why bytes are not a stream of the codec. No retry can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CodecError {
    /// The stream ends before what it announced.
    #[error("the compressed stream ends too early")]
    Short,
    /// The stream breaks the rules of its codec.
    #[error("the compressed stream is damaged")]
    Damaged,
    /// The stream holds more than it may.
    #[error("the compressed stream holds more than the {0} bytes due")]
    TooLong(usize),
    /// Bytes follow the end of the stream.
    #[error("{0} bytes follow the compressed stream")]
    Trailing(usize),
}

/// Compresses buffers, each to a stream of its own; it keeps its tables from one to the next.
#[derive(Debug)]
pub struct Compressor(Kind);

#[derive(Debug)]
enum Kind {
    Deflate(flate2::Compress),
    Snappy(Box<snap::raw::Encoder>),
}

impl Compressor {
    /// Appends the stream that holds `input` to `out`.
    pub fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) {
        match &mut self.0 {
            Kind::Deflate(state) => deflate(state, input, out),
            Kind::Snappy(encoder) => snappy(encoder, input, out),
        }
    }
}

fn deflate(state: &mut flate2::Compress, input: &[u8], out: &mut Vec<u8>) {
    state.reset();
    let mut rest = input;
    loop {
        // Room for the usual ratio at first; the loop asks again for what turns out to be missing.
        out.reserve(rest.len() / 4 + 64);
        let before = state.total_in();
        let status = state
            .compress_vec(rest, out, flate2::FlushCompress::Finish)
            .expect("a reset state takes every input");
        if status == flate2::Status::StreamEnd {
            return;
        }
        let consumed = usize::try_from(state.total_in() - before).expect("a part of `rest`");
        rest = &rest[consumed..];
    }
}

fn inflate(input: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
    // One byte more than allowed shows that there is more, and makes the decoder reach its
    // checksum when there is not.
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let mut limited = flate2::bufread::ZlibDecoder::new(input).take(limit);
    limited.read_to_end(out).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => CodecError::Short,
        _ => CodecError::Damaged,
    })?;
    if out.len() > bytes_max {
        return Err(CodecError::TooLong(bytes_max));
    }
    match limited.into_inner().into_inner() {
        [] => Ok(()),
        rest => Err(CodecError::Trailing(rest.len())),
    }
}

fn snappy(encoder: &mut snap::raw::Encoder, input: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&be_u32(input.len()));
    for chunk in input.chunks(SNAPPY_CHUNK_BYTES_MAX) {
        let start = out.len();
        let body = start + size_of::<u32>();
        out.resize(body + snap::raw::max_compress_len(chunk.len()), 0);
        let size = encoder
            .compress(chunk, &mut out[body..])
            .expect("the output has room for a chunk that does not compress");
        out[start..body].copy_from_slice(&be_u32(size));
        out.truncate(body + size);
    }
    if input.len() > SNAPPY_CHUNK_BYTES_MAX {
        out.extend_from_slice(&be_u32(0));
    }
}

fn be_u32(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("a SequenceFile's buffers are shorter than 4 GiB").to_be_bytes()
}

fn unsnappy(input: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let mut rest = input;
    while !rest.is_empty() {
        let length = take_u32(&mut rest)?;
        if length == 0 {
            return if rest.is_empty() { Ok(()) } else { Err(CodecError::Trailing(rest.len())) };
        }
        if length > bytes_max - out.len() {
            return Err(CodecError::TooLong(bytes_max));
        }
        let end = out.len() + length;
        while out.len() < end {
            let size = take_u32(&mut rest)?;
            let (chunk, after) = rest.split_at_checked(size).ok_or(CodecError::Short)?;
            rest = after;
            unsnappy_chunk(chunk, end, out)?;
        }
    }
    Ok(())
}

fn unsnappy_chunk(chunk: &[u8], end: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let length = snap::raw::decompress_len(chunk).map_err(|_| CodecError::Damaged)?;
    let start = out.len();
    if length > end - start || length / SNAPPY_RATIO_MAX > chunk.len() {
        return Err(CodecError::Damaged);
    }
    out.resize(start + length, 0);
    let written = snap::raw::Decoder::new()
        .decompress(chunk, &mut out[start..])
        .map_err(|_| CodecError::Damaged)?;
    if written == length { Ok(()) } else { Err(CodecError::Damaged) }
}

fn take_u32(rest: &mut &[u8]) -> Result<usize, CodecError> {
    let (bytes, after) = rest.split_first_chunk().ok_or(CodecError::Short)?;
    *rest = after;
    // A length beyond this machine's memory is beyond every limit too.
    Ok(usize::try_from(u32::from_be_bytes(*bytes)).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    const PACKED: [Compression; 2] = [Compression::Deflate, Compression::Snappy];

    fn compress(compression: Compression, input: &[u8]) -> Vec<u8> {
        let mut out = vec![0xee];
        compression.compressor().unwrap().compress(input, &mut out);
        assert_eq!(out.remove(0), 0xee, "what was there stays");
        out
    }

    #[test]
    fn names_are_those_of_the_configuration() {
        assert_eq!(Compression::default(), Compression::Snappy);
        for compression in Compression::ALL {
            let json = format!("\"{compression}\"");
            assert_eq!(serde_json::to_string(&compression).unwrap(), json);
            assert_eq!(serde_json::from_str::<Compression>(&json).unwrap(), compression);
            if let Some(class) = compression.codec_class() {
                assert_eq!(Compression::from_codec_class(class), Some(compression));
            }
        }
    }

    #[test]
    fn streams_are_pinned_by_golden_bytes() {
        assert_eq!(compress(Compression::Snappy, b""), b"\0\0\0\0");
        assert_eq!(compress(Compression::Snappy, b"abc"), b"\0\0\0\x03\0\0\0\x05\x03\x08abc");
        let long = compress(Compression::Snappy, &vec![0; SNAPPY_CHUNK_BYTES_MAX + 1]);
        assert_eq!(SNAPPY_CHUNK_BYTES_MAX, 218_422);
        assert_eq!(long[..4], [0, 3, 0x55, 0x37], "the length of the whole buffer");
        assert!(long.ends_with(b"\0\0\0\x03\x01\0\0\0\0\0\0"), "a chunk of one byte, then the end");
        assert_eq!(compress(Compression::Deflate, b"")[..2], [0x78, 0x9c]);
    }

    #[test]
    fn buffers_of_every_size_round_trip() {
        let mut random = Random::new(1);
        let noise = random.bytes(3 * SNAPPY_CHUNK_BYTES_MAX);
        for compression in PACKED {
            let mut compressor = compression.compressor().unwrap();
            for length in [0, 1, 100, 218_421, 218_422, 218_423, 500_000, noise.len()] {
                for input in [&noise[..length], &vec![b'a'; length][..]] {
                    let (mut packed, mut read) = (Vec::new(), vec![1, 2, 3]);
                    compressor.compress(input, &mut packed);
                    compression.decompress(&packed, length, &mut read).unwrap();
                    assert!(read == input, "{compression} {length}");
                }
            }
        }
    }

    #[test]
    fn output_is_bounded_and_every_cut_is_an_error() {
        let input = b"abcdefgh".repeat(1000);
        let mut out = Vec::new();
        for compression in PACKED {
            let packed = compress(compression, &input);
            assert_eq!(
                compression.decompress(&packed, input.len() - 1, &mut out),
                Err(CodecError::TooLong(input.len() - 1))
            );
            for length in 1..packed.len() {
                let cut = compression.decompress(&packed[..length], input.len(), &mut out);
                assert!(cut.is_err(), "{compression} cut at {length}");
            }
            let surplus = [&packed[..], &[0, 0, 0, 0, 0]].concat();
            assert!(compression.decompress(&surplus, input.len(), &mut out).is_err());
        }
    }

    #[test]
    fn a_false_length_takes_no_memory() {
        let mut out = Vec::new();
        let claim = b"\x7f\xff\xff\xff\0\0\0\x05\xff\xff\xff\xff\x07";
        let read = Compression::Snappy.decompress(claim, usize::MAX, &mut out);
        assert_eq!(read, Err(CodecError::Damaged));
        assert!(out.capacity() < 1024);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut random = Random::new(2);
        let mut out = Vec::new();
        for compression in PACKED {
            let packed = compress(compression, &b"some text, some more text".repeat(20));
            for _ in 0..5_000 {
                let mut damaged = packed.clone();
                random.flip(&mut damaged);
                let _ = compression.decompress(&damaged, 10_000, &mut out);
                let length = random.below(64);
                let _ = compression.decompress(&random.bytes(length), 10_000, &mut out);
            }
        }
    }
}
