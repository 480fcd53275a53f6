//! The first bytes of a log or segment: whose it is, its form and its salt.
//!
//! A log has them twice, in two blocks, so that a bad sector costs neither its identity nor what
//! proves its batches; a compact segment has the salt again in its footer.

use super::{
    BLOCK, CHUNK_OVERHEAD, END, ENTRY, ENTRY_HEAD, FORMAT_VERSION, LOG_START, Output, Salt, v1,
};
use crate::identity::WalId;

const MAGIC: &[u8; 4] = b"okw\0";
const INFO_MAGIC: &[u8; 9] = b"sewer-wal";
const INFO_BYTES: usize = 30;
const DESCRIPTOR_BYTES: usize = 24;

/// Where info stands in a file.
const INFO_AT: usize = 5;
/// Where the descriptor's entry begins.
const ENTRY_AT: usize = INFO_AT + INFO_BYTES;
/// Where the descriptor stands.
const DESCRIPTOR_AT: usize = ENTRY_AT + ENTRY_HEAD + 5;
/// Where a log has both once more.
const COPY_AT: usize = BLOCK;

/// The bytes before the first batch of a compact segment.
pub(crate) const COMPACT_START: usize =
    ENTRY_AT + ENTRY_HEAD + CHUNK_OVERHEAD + DESCRIPTOR_BYTES + 1;

/// The arrangement of the batches in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Each on blocks of its own.
    Log,
    /// One behind the other.
    Compact,
}

impl Form {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Log => 1,
            Self::Compact => 2,
        }
    }

    pub(crate) const fn of_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Log),
            2 => Some(Self::Compact),
            _ => None,
        }
    }
}

/// Whose log or segment a file is, and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogHeader {
    /// The WAL.
    pub wal_id: WalId,
    /// The segment's number.
    pub segment: u64,
    /// The rest of a header of format 2; `None` in format 1.
    pub(crate) descriptor: Option<Descriptor>,
}

/// The part of a header that format 1 does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub salt: Salt,
    pub form: Form,
    /// Whether the WAL's segments carry its id in their names.
    pub own_names: bool,
}

/// Why the first bytes of a file are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// Not a log of a WAL at all, or damaged.
    NotALog,
    /// A log of a newer format.
    Version(u32),
    /// A log with a form, codec or cipher that this build does not have.
    Encoding,
}

impl LogHeader {
    /// Whether the WAL's segments carry its id in their names.
    pub(crate) fn has_own_names(&self) -> bool {
        self.descriptor.is_some_and(|descriptor| descriptor.own_names)
    }

    /// The first byte that may belong to a batch.
    pub(crate) fn data_start(&self) -> usize {
        match self.descriptor.map(|descriptor| descriptor.form) {
            None => v1::LOG_HEADER_BYTES,
            Some(Form::Log) => LOG_START,
            Some(Form::Compact) => COMPACT_START,
        }
    }

    /// The id of the first entry that may be a batch.
    pub(crate) fn first_entry_id(&self) -> u64 {
        if self.descriptor.is_some() { 2 } else { 1 }
    }

    /// The bytes that okaywal calls the version info.
    pub(crate) fn info(&self) -> [u8; INFO_BYTES] {
        let mut bytes = [0; INFO_BYTES];
        let mut out = Output { bytes: &mut bytes, at: 0 };
        out.put(INFO_MAGIC);
        out.put(&[FORMAT_VERSION]);
        out.put(&self.wal_id.0.to_le_bytes());
        out.put(&self.segment.to_le_bytes());
        // So that damage is not taken for another WAL or for a format yet to be invented.
        out.put(&crc32c::crc32c(&out.bytes[..out.at]).to_le_bytes());
        bytes
    }

    /// The data of the one chunk of the descriptor's entry, for a file of the given form.
    pub(crate) fn descriptor_chunk(&self, descriptor: Descriptor) -> Vec<u8> {
        let record = self.descriptor_bytes(descriptor);
        match descriptor.form {
            Form::Compact => record.to_vec(),
            Form::Log => {
                let mut data = vec![0; LOG_START - 5 - DESCRIPTOR_AT];
                data[..DESCRIPTOR_BYTES].copy_from_slice(&record);
                let copy = &mut data[COPY_AT - DESCRIPTOR_AT..];
                copy[..INFO_BYTES].copy_from_slice(&self.info());
                copy[INFO_BYTES..INFO_BYTES + DESCRIPTOR_BYTES].copy_from_slice(&record);
                data
            }
        }
    }

    fn descriptor_bytes(&self, descriptor: Descriptor) -> [u8; DESCRIPTOR_BYTES] {
        let mut bytes = [0; DESCRIPTOR_BYTES];
        let mut out = Output { bytes: &mut bytes, at: 0 };
        out.put(&descriptor.salt.0);
        out.put(&[descriptor.form.code(), 0, 0, u8::from(descriptor.own_names)]);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&self.info()), &out.bytes[..out.at]);
        out.put(&crc.to_le_bytes());
        bytes
    }

    /// All bytes before the first batch.
    pub(crate) fn encode(&self, descriptor: Descriptor) -> Vec<u8> {
        let chunk = self.descriptor_chunk(descriptor);
        let mut bytes = vec![0; ENTRY_AT + ENTRY_HEAD + CHUNK_OVERHEAD + chunk.len() + 1];
        let mut out = Output { bytes: &mut bytes, at: 0 };
        out.put(MAGIC);
        out.put(&[u8::try_from(INFO_BYTES).expect("30 is a byte")]);
        out.put(&self.info());
        out.put(&[ENTRY]);
        out.put(&1_u64.to_le_bytes());
        out.put_chunk(&chunk);
        out.put(&[END]);
        bytes
    }

    /// Reads the header from the first [`LOG_START`] bytes of a file, or what there is of them.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let first = if bytes.starts_with(MAGIC) && bytes.get(4) == Some(&30) {
            decode_info(bytes.get(INFO_AT..).unwrap_or_default())
        } else {
            Err(HeaderError::NotALog)
        };
        match first {
            Ok((1, header)) => return Ok(header),
            Ok((_, header)) => {
                let descriptor = bytes.get(DESCRIPTOR_AT..).unwrap_or_default();
                if let Some(header) = header.with_descriptor(descriptor)? {
                    return Ok(header);
                }
            }
            Err(HeaderError::NotALog) => {}
            Err(other) => return Err(other),
        }
        let copy = bytes.get(COPY_AT..).unwrap_or_default();
        let (version, header) = decode_info(copy)?;
        let descriptor = copy.get(INFO_BYTES..).unwrap_or_default();
        let header = if version == 1 { None } else { header.with_descriptor(descriptor)? };
        // Only a log has a copy.
        header
            .filter(|header| header.descriptor.is_some_and(|d| d.form == Form::Log))
            .ok_or(HeaderError::NotALog)
    }

    /// The header of a log of format 1.
    pub(crate) fn of_v1(wal_id: WalId, segment: u64) -> Self {
        Self { wal_id, segment, descriptor: None }
    }

    /// A header with the salt that its footer repeats, for a segment whose own is damaged.
    pub(crate) fn of_footer(wal_id: WalId, salt: Salt, form: Form) -> Self {
        let descriptor = Some(Descriptor { salt, form, own_names: false });
        Self { wal_id, segment: 0, descriptor }
    }

    fn with_descriptor(self, bytes: &[u8]) -> Result<Option<Self>, HeaderError> {
        let Some(bytes) = bytes.first_chunk::<DESCRIPTOR_BYTES>() else { return Ok(None) };
        let (data, crc) = bytes.split_last_chunk::<4>().expect("24 bytes end with 4");
        let expected = crc32c::crc32c_append(crc32c::crc32c(&self.info()), data);
        if expected != u32::from_le_bytes(*crc) {
            return Ok(None);
        }
        let (salt, kinds) = data.split_first_chunk::<16>().expect("20 bytes begin with 16");
        let [form, 0, 0, names @ (0 | 1)] = *kinds else { return Err(HeaderError::Encoding) };
        let form = Form::of_code(form).ok_or(HeaderError::Encoding)?;
        let descriptor = Descriptor { salt: Salt(*salt), form, own_names: names == 1 };
        Ok(Some(Self { descriptor: Some(descriptor), ..self }))
    }
}

/// The version and what info says, if its CRC holds.
fn decode_info(bytes: &[u8]) -> Result<(u8, LogHeader), HeaderError> {
    let info: &[u8; INFO_BYTES] = bytes.first_chunk().ok_or(HeaderError::NotALog)?;
    let (data, crc) = info.split_last_chunk().expect("30 bytes end with 4");
    if crc32c::crc32c(data) != u32::from_le_bytes(*crc) {
        return Err(HeaderError::NotALog);
    }
    let rest = data.strip_prefix(INFO_MAGIC).ok_or(HeaderError::NotALog)?;
    let (&version, rest) = rest.split_first().ok_or(HeaderError::NotALog)?;
    if version == 0 || version > FORMAT_VERSION {
        return Err(HeaderError::Version(version.into()));
    }
    let (id, rest) = rest.split_first_chunk().ok_or(HeaderError::NotALog)?;
    let (segment, _) = rest.split_first_chunk().ok_or(HeaderError::NotALog)?;
    let wal_id = WalId(u64::from_le_bytes(*id));
    let segment = u64::from_le_bytes(*segment);
    Ok((version, LogHeader { wal_id, segment, descriptor: None }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(form: Form) -> (LogHeader, Vec<u8>) {
        let descriptor = Descriptor { salt: Salt([0xa5; 16]), form, own_names: true };
        let header = LogHeader {
            wal_id: WalId(0x0123_4567_89ab_cdef),
            segment: 9,
            descriptor: Some(descriptor),
        };
        (header, header.encode(descriptor))
    }

    #[test]
    fn the_bytes_are_those_of_the_drawing() {
        let (log, bytes) = header(Form::Log);
        assert_eq!(bytes.len(), LOG_START);
        let info = b"sewer-wal\x02\xef\xcd\xab\x89\x67\x45\x23\x01\x09\0\0\0\0\0\0\0";
        assert_eq!(&bytes[..5], b"okw\0\x1e");
        assert_eq!(&bytes[5..31], info);
        assert_eq!(&bytes[35..44], b"\x01\x01\0\0\0\0\0\0\0");
        assert_eq!(&bytes[49..69], [[0xa5; 16].as_slice(), b"\x01\0\0\x01"].concat());
        assert_eq!(bytes[4096..4126], bytes[5..35]);
        assert_eq!(bytes[4126..4150], bytes[49..73]);
        assert_eq!(bytes[LOG_START - 1], END);
        assert_eq!(LogHeader::decode(&bytes), Ok(log));
        let (segment, bytes) = header(Form::Compact);
        assert_eq!(bytes.len(), COMPACT_START);
        assert_eq!(LogHeader::decode(&bytes), Ok(segment));
    }

    #[test]
    fn a_log_whose_first_or_second_block_is_lost_is_still_known() {
        let (log, bytes) = header(Form::Log);
        for lost in [0..BLOCK, BLOCK..LOG_START] {
            let mut damaged = bytes.clone();
            damaged[lost].fill(0);
            assert_eq!(LogHeader::decode(&damaged), Ok(log));
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(LogHeader::decode(&damaged), Ok(log), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_format_codec_or_cipher_is_told_and_not_taken_for_damage() {
        let (log, mut bytes) = header(Form::Compact);
        bytes[14] = 3;
        let crc = crc32c::crc32c(&bytes[5..31]);
        bytes[31..35].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(LogHeader::decode(&bytes), Err(HeaderError::Version(3)));
        for kind in [66, 67] {
            let (_, mut bytes) = header(Form::Compact);
            bytes[kind] = 1;
            let crc = crc32c::crc32c_append(crc32c::crc32c(&log.info()), &bytes[49..69]);
            bytes[69..73].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(LogHeader::decode(&bytes), Err(HeaderError::Encoding));
        }
    }
}
