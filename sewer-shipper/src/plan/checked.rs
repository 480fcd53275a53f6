//! Small JSON files that notice a flipped bit. The last member of the object is a checksum:
//!
//! ```text
//! {
//!   ...,
//!   "crc32c": "0123abcd"     CRC-32C of every byte before this line, 8 hex digits
//! }
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The last two lines.
fn tail(before: &[u8]) -> String {
    format!("  \"crc32c\": \"{:08x}\"\n}}\n", crc32c::crc32c(before))
}

/// The file of a value, which must be a struct with at least one field and with plain keys.
pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("it has only plain keys");
    debug_assert!(text.ends_with(b"\n}"), "an object with members");
    text.truncate(text.len().saturating_sub(2));
    text.extend_from_slice(b",\n");
    let tail = tail(&text);
    text.extend_from_slice(tail.as_bytes());
    text
}

/// The value of a file.
///
/// # Errors
/// The problem with it.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let length = tail(b"").len();
    let (before, end) = bytes.split_at(bytes.len().saturating_sub(length));
    if tail(before).as_bytes() != end {
        return Err("its content does not agree with its checksum".into());
    }
    let members = before.strip_suffix(b",\n").ok_or("it has nothing but a checksum")?;
    serde_json::from_slice(&[members, b"\n}"].concat()).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_file_is_json_and_any_flipped_bit_in_it_is_noticed() {
        let value = BTreeMap::from([("a".to_owned(), 1), ("crc32c\": \"0\"".to_owned(), 2)]);
        let bytes = encode(&value);
        let golden = "{\n  \"a\": 1,\n  \"crc32c\\\": \\\"0\\\"\": 2,\n  \"crc32c\": \"";
        assert!(bytes.starts_with(golden.as_bytes()), "{}", bytes.escape_ascii());
        assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
        assert_eq!(decode::<BTreeMap<String, i32>>(&bytes), Ok(value));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode::<BTreeMap<String, i32>>(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(decode::<BTreeMap<String, i32>>(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}
