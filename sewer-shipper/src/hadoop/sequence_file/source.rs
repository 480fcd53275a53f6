//! A stream read with its offset in view: every error says where, and a length takes no memory
//! until as many bytes have arrived.

use super::Sync;
use crate::hadoop::codec::CodecError;
use crate::hadoop::writable::{Input, VLONG_BYTES_MAX, vlong_size};
use std::io::{self, BufRead as _, BufReader, Read};
use thiserror::Error;

/// Why a file cannot be read on. Only [`ReadError::Io`] may pass with a retry.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The stream itself failed.
    #[error("read at byte {offset}: {source}")]
    Io {
        /// How far the file had been read.
        offset: u64,
        /// What the stream said.
        source: io::Error,
    },
    /// Not a file of the kind that is read here.
    #[error("the file is {what} (byte {offset})")]
    Foreign {
        /// Where the file says so.
        offset: u64,
        /// What it is instead.
        what: String,
    },
    /// The file ends where more is due.
    #[error("the file ends at byte {offset}, inside its {part}")]
    Truncated {
        /// The length of the file.
        offset: u64,
        /// What is incomplete.
        part: &'static str,
    },
    /// The file breaks its format.
    #[error("the {part} at byte {offset} is damaged")]
    Damaged {
        /// Where the part begins.
        offset: u64,
        /// What is damaged.
        part: &'static str,
    },
    /// A length beyond what is read here; in most cases it is damage.
    #[error("the {part} at byte {offset} claims {bytes} bytes; at most {bytes_max} are read")]
    TooLarge {
        /// Where the part begins.
        offset: u64,
        /// What claims the length.
        part: &'static str,
        /// The length claimed.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A part does not decompress.
    #[error("the {part} at byte {offset}: {source}")]
    Codec {
        /// Where the part begins.
        offset: u64,
        /// What is compressed there.
        part: &'static str,
        /// The problem with it.
        source: CodecError,
    },
}

/// A buffered stream and the offset of its next byte.
pub(super) struct Source<R> {
    inner: BufReader<R>,
    offset: u64,
}

impl<R: Read> Source<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner: BufReader::with_capacity(64 * 1024, inner), offset: 0 }
    }

    /// The offset of the next byte.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the stream has ended.
    pub(super) fn at_end(&mut self) -> Result<bool, ReadError> {
        loop {
            match self.inner.fill_buf() {
                Ok(bytes) => return Ok(bytes.is_empty()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ReadError::Io { offset: self.offset, source }),
            }
        }
    }

    /// Fills `bytes`.
    fn exact(&mut self, bytes: &mut [u8], part: &'static str) -> Result<(), ReadError> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.inner.read(&mut bytes[filled..]) {
                Ok(0) => return Err(ReadError::Truncated { offset: self.offset, part }),
                Ok(count) => {
                    filled += count;
                    self.offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ReadError::Io { offset: self.offset, source }),
            }
        }
        Ok(())
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(
        &mut self,
        part: &'static str,
    ) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        self.exact(&mut bytes, part)?;
        Ok(bytes)
    }

    /// Replaces `out` by the next `length` bytes; `out` grows as they arrive.
    pub(super) fn fill(
        &mut self,
        length: usize,
        out: &mut Vec<u8>,
        part: &'static str,
    ) -> Result<(), ReadError> {
        out.clear();
        let read = (&mut self.inner).take(length as u64).read_to_end(out);
        self.offset += out.len() as u64;
        match read {
            Ok(count) if count == length => Ok(()),
            Ok(_) => Err(ReadError::Truncated { offset: self.offset, part }),
            Err(source) => Err(ReadError::Io { offset: self.offset, source }),
        }
    }

    /// The next `VInt`, as a length of at most `bytes_max`.
    pub(super) fn length(
        &mut self,
        bytes_max: usize,
        part: &'static str,
    ) -> Result<usize, ReadError> {
        let offset = self.offset;
        let mut bytes = [0; VLONG_BYTES_MAX];
        self.exact(&mut bytes[..1], part)?;
        let size = vlong_size(bytes[0]);
        self.exact(&mut bytes[1..size], part)?;
        let length =
            Input::new(&bytes[..size]).length().map_err(|_| ReadError::Damaged { offset, part })?;
        bounded(length, bytes_max, offset, part)
    }

    /// The next i32.
    pub(super) fn i32(&mut self, part: &'static str) -> Result<i32, ReadError> {
        Ok(i32::from_be_bytes(self.array(part)?))
    }

    /// The next 16 bytes, which must be `sync`.
    pub(super) fn expect_sync(&mut self, sync: &Sync) -> Result<(), ReadError> {
        const PART: &str = "sync marker";
        let offset = self.offset;
        if self.array::<16>(PART)? == *sync {
            Ok(())
        } else {
            Err(ReadError::Damaged { offset, part: PART })
        }
    }
}

/// A length that is within its limit.
pub(super) const fn bounded(
    bytes: usize,
    bytes_max: usize,
    offset: u64,
    part: &'static str,
) -> Result<usize, ReadError> {
    if bytes > bytes_max {
        return Err(ReadError::TooLarge { offset, part, bytes, bytes_max });
    }
    Ok(bytes)
}
