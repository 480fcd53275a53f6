//! Compression as Hadoop's codecs frame it: one buffer in, one stream out, and back.
//!
//! | name | Hadoop's class | stream |
//! |---|---|---|
//! | `none` | | the buffer itself |
//! | `deflate` | `DefaultCodec` | one zlib stream |
//! | `gzip` | `GzipCodec` | one gzip member |
//! | `bzip2` | `BZip2Codec` | one bzip2 stream |
//! | `snappy` | `SnappyCodec` | raw Snappy in Hadoop's blocks |
//! | `lz4` | `Lz4Codec` | raw LZ4 in Hadoop's blocks |
//! | `zstd` | `ZStandardCodec` | one Zstandard frame |
//!
//! The same buffer gives the same stream in every process of the same build: levels are fixed, no
//! header has a time, nothing depends on the processor or on threads.
//!
//! No I/O, and no panic on any bytes: decompression is given a limit for its output and takes
//! memory only as the input proves to hold that much.

mod block;
mod bzip2;
mod deflate;
mod gzip;
mod lz4;
mod snappy;
mod zstd;

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{self, Read};
use thiserror::Error;

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
    /// gzip: as dense as zlib, known to every tool.
    Gzip,
    /// bzip2: dense, and very slow.
    Bzip2,
    /// Snappy: less dense, much faster.
    #[default]
    Snappy,
    /// LZ4: like Snappy.
    Lz4,
    /// Zstandard: denser than zlib, and faster.
    Zstd,
}

impl Compression {
    /// Every compression.
    pub const ALL: [Self; 7] =
        [Self::None, Self::Deflate, Self::Gzip, Self::Bzip2, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The name in configuration and plans.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Deflate => "deflate",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The class by which Hadoop finds the codec; `None` where nothing is compressed.
    #[must_use]
    pub const fn codec_class(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Deflate => Some("org.apache.hadoop.io.compress.DefaultCodec"),
            Self::Gzip => Some("org.apache.hadoop.io.compress.GzipCodec"),
            Self::Bzip2 => Some("org.apache.hadoop.io.compress.BZip2Codec"),
            Self::Snappy => Some("org.apache.hadoop.io.compress.SnappyCodec"),
            Self::Lz4 => Some("org.apache.hadoop.io.compress.Lz4Codec"),
            Self::Zstd => Some("org.apache.hadoop.io.compress.ZStandardCodec"),
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
        let compress: Box<dyn Compress> = match self {
            Self::None => return None,
            Self::Deflate => Box::new(deflate::Compressor::new()),
            Self::Gzip => Box::new(gzip::Compressor::new()),
            Self::Bzip2 => Box::new(bzip2::Compressor),
            Self::Snappy => Box::new(block::Compressor(snappy::Snappy::new())),
            Self::Lz4 => Box::new(block::Compressor(lz4::Lz4)),
            Self::Zstd => Box::new(zstd::Compressor::new()),
        };
        Some(Compressor { compression: self, compress })
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
            Self::Deflate => deflate::decompress(input, bytes_max, out),
            Self::Gzip => gzip::decompress(input, bytes_max, out),
            Self::Bzip2 => bzip2::decompress(input, bytes_max, out),
            Self::Snappy => block::decompress::<snappy::Snappy>(input, bytes_max, out),
            Self::Lz4 => block::decompress::<lz4::Lz4>(input, bytes_max, out),
            Self::Zstd => zstd::decompress(input, bytes_max, out),
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
pub struct Compressor {
    compression: Compression,
    compress: Box<dyn Compress>,
}

impl Compressor {
    /// Appends the stream that holds `input` to `out`.
    pub fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) {
        self.compress.compress(input, out);
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Compressor").field(&self.compression).finish()
    }
}

/// The compressing half of one codec.
trait Compress: Send {
    /// Appends the stream that holds `input` to `out`.
    fn compress(&mut self, input: &[u8], out: &mut Vec<u8>);
}

/// Appends what `decoder` gives, up to its end, to `out`, which is empty.
fn read_bounded(
    decoder: &mut impl Read,
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    // One byte more than allowed shows that there is more, and makes the decoder reach its
    // checksum when there is not.
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(limit).read_to_end(out).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => CodecError::Short,
        _ => CodecError::Damaged,
    })?;
    if out.len() > bytes_max { Err(CodecError::TooLong(bytes_max)) } else { Ok(()) }
}

/// What is left behind a stream must be nothing.
const fn expect_end(rest: &[u8]) -> Result<(), CodecError> {
    if rest.is_empty() { Ok(()) } else { Err(CodecError::Trailing(rest.len())) }
}

#[cfg(test)]
mod tests;
