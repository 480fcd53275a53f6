//! The content of a file in a few bytes: by its length and its CRC-32C a file is known to be ours.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::contract::Destination;
use super::error::Result;

/// Length and checksum of a file's content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// The length in bytes.
    pub bytes: u64,
    /// The CRC-32C, in files as 8 hex digits.
    #[serde(with = "hex")]
    pub crc32c: u32,
}

impl Fingerprint {
    /// Takes in the next bytes of the content.
    pub fn add(&mut self, data: &[u8]) {
        self.bytes += data.len() as u64;
        self.crc32c = crc32c::crc32c_append(self.crc32c, data);
    }

    /// That of these bytes.
    pub fn of(data: &[u8]) -> Self {
        let mut fingerprint = Self::default();
        fingerprint.add(data);
        fingerprint
    }

    /// Reads all of a file at a destination.
    ///
    /// # Errors
    /// Of the destination.
    pub async fn read(destination: &dyn Destination, path: &str) -> Result<Self> {
        let mut fingerprint = Self::default();
        let mut chunks = destination.read(path).await?;
        while let Some(chunk) = chunks.next().await {
            fingerprint.add(&chunk?);
        }
        Ok(fingerprint)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes with CRC-32C {:08x}", self.bytes, self.crc32c)
    }
}

/// A checksum as text.
mod hex {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    #[allow(clippy::trivially_copy_pass_by_ref)] // As serde calls it.
    pub(super) fn serialize<S: Serializer>(crc: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{crc:08x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_hex = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let crc = u32::from_str_radix(&text, 16).ok().filter(|_| is_hex);
        crc.ok_or_else(|| Error::custom("a checksum is 8 hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_in_pieces_has_the_fingerprint_of_the_whole() {
        let mut pieces = Fingerprint::default();
        pieces.add(b"1234");
        pieces.add(b"");
        pieces.add(b"56789");
        assert_eq!(pieces, Fingerprint::of(b"123456789"));
        assert_eq!(pieces.to_string(), "9 bytes with CRC-32C e3069283");
        let text = serde_json::to_string(&pieces).unwrap();
        assert_eq!(text, "{\"bytes\":9,\"crc32c\":\"e3069283\"}");
        assert_eq!(serde_json::from_str::<Fingerprint>(&text).unwrap(), pieces);
        for wrong in ["+3069283", "e306928", "e30692833", ""] {
            let text = text.replace("e3069283", wrong);
            assert!(serde_json::from_str::<Fingerprint>(&text).is_err(), "{text}");
        }
    }
}
