//! The last 64 bytes of a sealed segment.
//!
//! ```text
//! footer = "SEWERSEG", version u32 = 1, WAL id u64, base LSN u64, event count u64,
//!          first timestamp i64, last timestamp i64, data length u64, CRC-32 u32
//! ```
//! All integers are little-endian. *Event count* is the number of LSNs from the base to the end of
//! the segment; a reader that finds fewer events knows how many are lost. *First* and *last
//! timestamp* are the smallest and the largest of its events, in milliseconds. *Data length* is
//! where the footer begins. The CRC-32 (IEEE, crc32fast) is of all of the file before it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::Serialize;

use crate::error::{IoContext, WalError};
use crate::identity::WalId;
use crate::layout::open_file;
use crate::lsn::{Lsn, LsnRange};
use crate::window::Window;

/// The length of a footer in bytes.
pub const FOOTER_BYTES: usize = 64;

/// The version that this build writes, and the newest that it reads.
pub const FOOTER_VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"SEWERSEG";

/// What a sealed segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Footer {
    /// The WAL that the segment belongs to.
    pub wal_id: WalId,
    /// The LSN of its first event.
    pub base: Lsn,
    /// How many LSNs it spans.
    pub count: u64,
    /// The smallest timestamp of its events, in milliseconds since the Unix epoch.
    pub first_timestamp_ms: i64,
    /// The largest timestamp of its events, in milliseconds since the Unix epoch.
    pub last_timestamp_ms: i64,
    /// The bytes before the footer.
    pub data_bytes: u64,
}

/// Why bytes are not a footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FooterError {
    /// No footer, or a damaged one.
    NotAFooter,
    /// A footer of a newer version.
    Version(u32),
}

impl Footer {
    /// The LSNs of the segment.
    #[must_use]
    pub const fn range(&self) -> LsnRange {
        LsnRange::new(self.base, self.count)
    }

    /// The footer's bytes; `crc` has seen the data before it.
    #[must_use]
    pub fn encode(&self, mut crc: crc32fast::Hasher) -> [u8; FOOTER_BYTES] {
        let mut bytes = [0; FOOTER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FOOTER_VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.wal_id.0.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.base.0.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.count.to_le_bytes());
        bytes[36..44].copy_from_slice(&self.first_timestamp_ms.to_le_bytes());
        bytes[44..52].copy_from_slice(&self.last_timestamp_ms.to_le_bytes());
        bytes[52..60].copy_from_slice(&self.data_bytes.to_le_bytes());
        crc.update(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.finalize().to_le_bytes());
        bytes
    }

    /// Reads a footer and the CRC that it carries. The CRC is not checked: that takes the data.
    pub fn decode(bytes: &[u8; FOOTER_BYTES]) -> Result<(Self, u32), FooterError> {
        let u64_at = |at: usize| {
            u64::from_le_bytes(*bytes[at..].first_chunk().expect("offsets lie within 64 bytes"))
        };
        let i64_at = |at: usize| u64_at(at).cast_signed();
        let u32_at = |at: usize| {
            u32::from_le_bytes(*bytes[at..].first_chunk().expect("offsets lie within 64 bytes"))
        };
        if !bytes.starts_with(MAGIC) {
            return Err(FooterError::NotAFooter);
        }
        if u32_at(8) != FOOTER_VERSION {
            return Err(FooterError::Version(u32_at(8)));
        }
        let footer = Self {
            wal_id: WalId(u64_at(12)),
            base: Lsn(u64_at(20)),
            count: u64_at(28),
            first_timestamp_ms: i64_at(36),
            last_timestamp_ms: i64_at(44),
            data_bytes: u64_at(52),
        };
        Ok((footer, u32_at(60)))
    }

    /// Reads the footer at the end of a file of `file_bytes` bytes.
    ///
    /// The inner result says whether there is one that fits the file; its CRC is not checked.
    ///
    /// # Errors
    /// [`WalError::Io`], or [`WalError::Version`] for a footer of a newer version.
    pub(crate) fn read_at_end(
        file: &File,
        path: &Path,
        file_bytes: u64,
    ) -> Result<Option<(Self, u32)>, WalError> {
        let Some(start) = file_bytes.checked_sub(FOOTER_BYTES as u64) else { return Ok(None) };
        let mut bytes = [0; FOOTER_BYTES];
        file.read_exact_at(&mut bytes, start).context("read footer of", path)?;
        match Self::decode(&bytes) {
            // More events than bytes: a damaged count must not number what was never written.
            Ok((footer, crc)) if footer.data_bytes == start && footer.count <= start => {
                Ok(Some((footer, crc)))
            }
            // A newer version keeps its CRC at the end; without it, this is a damaged footer.
            Err(FooterError::Version(version)) if ends_with_its_crc(file, path, file_bytes)? => {
                let path = path.to_path_buf();
                Err(WalError::Version { path, version, supported: FOOTER_VERSION })
            }
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// Reads the footer of the sealed segment at `path`; `None` if it has none. Cheap: it reads 64
    /// bytes and leaves every CRC to the reader.
    pub fn load(path: &Path) -> Result<Option<Self>, WalError> {
        let (file, bytes) = open_file(path)?;
        Ok(Self::read_at_end(&file, path, bytes)?.map(|(footer, _)| footer))
    }
}

/// Whether the last four bytes of a file are the CRC-32 of all before them.
fn ends_with_its_crc(file: &File, path: &Path, file_bytes: u64) -> Result<bool, WalError> {
    let crc_at = file_bytes.saturating_sub(4);
    let mut window = Window::new(file.try_clone().context("open", path)?, crc_at);
    window.skip_to(crc_at).context("read", path)?;
    let mut stored = [0; 4];
    file.read_exact_at(&mut stored, crc_at).context("read", path)?;
    Ok(window.crc().finalize().to_le_bytes() == stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_pinned_by_golden_bytes() {
        let footer = Footer {
            wal_id: WalId(0x0123_4567_89ab_cdef),
            base: Lsn(1),
            count: 2,
            first_timestamp_ms: 3,
            last_timestamp_ms: -1,
            data_bytes: 5,
        };
        let mut crc = crc32fast::Hasher::new();
        crc.update(b"12345");
        let bytes = footer.encode(crc);
        let golden = b"SEWERSEG\x01\0\0\0\xef\xcd\xab\x89\x67\x45\x23\x01\x01\0\0\0\0\0\0\0\
            \x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\
            \x05\0\0\0\0\0\0\0";
        assert_eq!(&bytes[..60], golden);
        let whole = [b"12345", &golden[..]].concat();
        let crc = crc32fast::hash(&whole);
        assert_eq!(bytes[60..], crc.to_le_bytes());
        assert_eq!(Footer::decode(&bytes), Ok((footer, crc)));
        let mut newer = bytes;
        newer[8] = 2;
        assert_eq!(Footer::decode(&newer), Err(FooterError::Version(2)));
    }
}
