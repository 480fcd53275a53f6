//! The footer: the last bytes of a sealed segment.
//!
//! ```text
//! footer = "SEWERSEG", version u32 = 2, WAL id u64, base LSN u64, event count u64,
//!          first timestamp i64, last timestamp i64, data length u64,
//!          salt [16], form u8, zeros [3], CRC-32C u32 of the footer so far, CRC-32 u32
//! ```
//! All integers are little-endian. *Event count* is the number of LSNs from the base to the end of
//! the segment; a reader that finds fewer events knows how many are lost. *First* and *last
//! timestamp* are the smallest and the largest of its events, in milliseconds. *Data length* is
//! where the footer begins. *Salt* and *form* are those of the header. The CRC-32 (IEEE, crc32fast)
//! is of all of the file before it. Version 1 ends with the data length and the CRC-32.

use serde::Serialize;

use super::header::{Form, LogHeader};
use super::{FORMAT_VERSION, Output, Salt};
use crate::identity::WalId;
use crate::lsn::{Lsn, LsnRange};

/// The length of a footer in bytes.
pub(crate) const FOOTER_BYTES: usize = 88;

/// The length of a footer of version 1.
pub(crate) const FOOTER_BYTES_V1: usize = 64;

/// The version that this build writes, and the newest that it reads.
pub(crate) const FOOTER_VERSION: u32 = FORMAT_VERSION as u32;

const MAGIC: &[u8; 8] = b"SEWERSEG";

/// The summary that a sealed segment ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Footer {
    /// The version of the footer, which is that of the segment's format.
    pub version: u32,
    /// The WAL that the segment belongs to.
    pub wal_id: WalId,
    /// The LSN of its first event.
    pub base: Lsn,
    /// The number of LSNs that it spans.
    pub count: u64,
    /// The smallest timestamp of its events, in milliseconds since the Unix epoch.
    pub first_timestamp_ms: i64,
    /// The largest timestamp of its events, in milliseconds since the Unix epoch.
    pub last_timestamp_ms: i64,
    /// The bytes before the footer.
    pub data_bytes: u64,
    /// The salt and the form of the header; `None` in version 1.
    #[serde(skip)]
    pub(crate) secret: Option<(Salt, Form)>,
    /// The CRC-32 of the file that it carries.
    #[serde(skip)]
    pub(crate) crc: u32,
}

/// Why bytes are not a footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FooterError {
    /// No footer, or a damaged one.
    NotAFooter,
    /// A footer of a newer version.
    Version(u32),
}

impl Footer {
    /// The LSNs of the segment.
    pub const fn range(&self) -> LsnRange {
        LsnRange::new(self.base, self.count)
    }

    /// Whether it is under a CRC of its own, so that no damage is taken for what it says.
    pub(crate) const fn has_own_crc(&self) -> bool {
        self.secret.is_some()
    }

    /// The segment's header, as far as the footer repeats it.
    pub(crate) fn header(&self) -> Option<LogHeader> {
        self.secret.map(|(salt, form)| LogHeader::of_footer(self.wal_id, salt, form))
    }

    /// Whether this segment has all that the other one has: it is of the same WAL and the same log.
    /// Of a log that was put back from a copy there may be less. (Format 1 does not tell its logs
    /// apart; there they must have the same events.)
    pub(crate) fn holds(&self, other: &Self) -> bool {
        let log = |footer: &Self| (footer.wal_id, footer.base, footer.secret.map(|(salt, _)| salt));
        let is_more = self.secret.is_some() && self.count > other.count;
        log(self) == log(other) && (is_more || self.count == other.count)
    }

    /// The footer's bytes; `crc` has seen the data before it.
    pub(crate) fn encode(&self, crc: &crc32fast::Hasher) -> Vec<u8> {
        let mut bytes = [0; FOOTER_BYTES];
        let mut out = Output { bytes: &mut bytes, at: 0 };
        out.put(MAGIC);
        out.put(&self.version.to_le_bytes());
        for number in [self.wal_id.0, self.base.0, self.count] {
            out.put(&number.to_le_bytes());
        }
        out.put(&self.first_timestamp_ms.to_le_bytes());
        out.put(&self.last_timestamp_ms.to_le_bytes());
        out.put(&self.data_bytes.to_le_bytes());
        if let Some((salt, form)) = self.secret {
            out.put(&salt.0);
            out.put(&[form.code(), 0, 0, 0]);
            out.put(&crc32c::crc32c(&out.bytes[..out.at]).to_le_bytes());
        }
        let mut crc = crc.clone();
        crc.update(&out.bytes[..out.at]);
        out.put(&crc.finalize().to_le_bytes());
        let length = out.at;
        bytes[..length].to_vec()
    }

    /// Whether it is the footer of the data that `crc` has seen.
    pub(crate) fn is_of(&self, crc: &crc32fast::Hasher) -> bool {
        self.encode(crc).ends_with(&self.crc.to_le_bytes())
    }

    /// Reads a footer, which is all of `bytes`. The CRC of the file is not checked: that takes the
    /// data.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FooterError> {
        let u32_at = |at: usize| {
            let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
            bytes.map(|bytes| u32::from_le_bytes(*bytes)).ok_or(FooterError::NotAFooter)
        };
        let u64_at = |at: usize| {
            let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
            bytes.map(|bytes| u64::from_le_bytes(*bytes)).ok_or(FooterError::NotAFooter)
        };
        if !bytes.starts_with(MAGIC) {
            return Err(FooterError::NotAFooter);
        }
        let version = u32_at(8)?;
        let secret = match (version, bytes.len()) {
            (1, FOOTER_BYTES_V1) => None,
            (2, FOOTER_BYTES) => {
                let form = Form::of_code(bytes[76]).ok_or(FooterError::NotAFooter)?;
                if crc32c::crc32c(&bytes[..80]) != u32_at(80)? {
                    return Err(FooterError::NotAFooter);
                }
                let salt = bytes[60..].first_chunk().expect("88 bytes have 16 behind the 60th");
                Some((Salt(*salt), form))
            }
            (0..=FOOTER_VERSION, _) => return Err(FooterError::NotAFooter),
            (version, _) => return Err(FooterError::Version(version)),
        };
        let base = Lsn::checked(u64_at(20)?).ok_or(FooterError::NotAFooter)?;
        let range = LsnRange::checked(base, u64_at(28)?).ok_or(FooterError::NotAFooter)?;
        Ok(Self {
            version,
            wal_id: WalId(u64_at(12)?),
            base,
            count: range.count(),
            first_timestamp_ms: u64_at(36)?.cast_signed(),
            last_timestamp_ms: u64_at(44)?.cast_signed(),
            data_bytes: u64_at(52)?,
            secret,
            crc: u32_at(bytes.len() - 4)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footer() -> Footer {
        Footer {
            version: 2,
            wal_id: WalId(0x0123_4567_89ab_cdef),
            base: Lsn(1),
            count: 2,
            first_timestamp_ms: 3,
            last_timestamp_ms: -1,
            data_bytes: 5,
            secret: Some((Salt([7; 16]), Form::Compact)),
            crc: 0,
        }
    }

    #[test]
    fn the_format_is_pinned_by_golden_bytes() {
        let mut crc = crc32fast::Hasher::new();
        crc.update(b"12345");
        let bytes = footer().encode(&crc);
        let golden = b"SEWERSEG\x02\0\0\0\xef\xcd\xab\x89\x67\x45\x23\x01\x01\0\0\0\0\0\0\0\
            \x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\
            \x05\0\0\0\0\0\0\0\x07\x07\x07\x07\x07\x07\x07\x07\
            \x07\x07\x07\x07\x07\x07\x07\x07\x02\0\0\0";
        assert_eq!(&bytes[..80], golden);
        assert_eq!(bytes[80..84], crc32c::crc32c(golden).to_le_bytes());
        let crc = crc32fast::hash(&[b"12345", &bytes[..84]].concat());
        assert_eq!(bytes[84..], crc.to_le_bytes());
        assert_eq!(Footer::decode(&bytes), Ok(Footer { crc, ..footer() }));
        for bit in 0..84 * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Footer::decode(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn the_footer_of_format_1_is_read_and_a_newer_one_is_told() {
        let v1 = Footer { version: 1, secret: None, ..footer() };
        let bytes = v1.encode(&crc32fast::Hasher::new());
        assert_eq!(bytes.len(), FOOTER_BYTES_V1);
        let read = Footer::decode(&bytes).unwrap();
        assert_eq!(Footer { crc: 0, ..read }, v1);
        let mut newer = bytes;
        newer[8] = 3;
        assert_eq!(Footer::decode(&newer), Err(FooterError::Version(3)));
    }
}
