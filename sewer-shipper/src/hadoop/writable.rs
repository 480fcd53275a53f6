//! Hadoop's Writables: the bytes of the numbers and strings inside a `SequenceFile`.
//!
//! ```text
//! VLong = i8                    the value itself, if it is in -112..=127
//!       | i8 = -112 - n, n bytes  n = 1..=8: a positive value
//!       | i8 = -120 - n, n bytes  n = 1..=8: the one's complement of a negative value
//! VInt  = VLong                 in the range of an i32
//! Text  = VInt length, bytes    UTF-8
//! LongWritable = i64
//! BytesWritable = length i32, bytes
//! ```
//! All integers are big-endian. A `VLong` is written in its shortest form; longer forms are read,
//! as Hadoop reads them. Bytes that are no UTF-8 become U+FFFD in a Text, as Java decodes them. The
//! codec does no I/O and never panics on any bytes.

use std::borrow::Cow;
use thiserror::Error;

/// The class of a signed 64-bit number of fixed width.
pub const LONG_CLASS: &str = "org.apache.hadoop.io.LongWritable";
/// The class of a signed 64-bit number of variable width.
pub const VLONG_CLASS: &str = "org.apache.hadoop.io.VLongWritable";
/// The class of a string.
pub const TEXT_CLASS: &str = "org.apache.hadoop.io.Text";
/// The class of bytes that are no text to Hadoop.
pub const BYTES_CLASS: &str = "org.apache.hadoop.io.BytesWritable";

/// The bytes of the longest `VLong`.
pub const VLONG_BYTES_MAX: usize = 9;

/// The first byte of a positive `VLong` is this minus its count of bytes: -112.
const POSITIVE: u8 = 0x90;
/// The first byte of a negative `VLong` is this minus its count of bytes: -120.
const NEGATIVE: u8 = 0x88;

/// Why bytes are not the Writable that was expected. No retry can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WritableError {
    /// The bytes end inside the value.
    #[error("the value needs {0} more bytes")]
    Short(usize),
    /// A number that is no length: negative, or beyond an i32.
    #[error("{0} is no length")]
    Length(i64),
    /// Bytes follow the value.
    #[error("{0} bytes follow the value")]
    Trailing(usize),
}

/// Appends a `VLong`, which is a `VInt` too if the value is in an i32's range.
pub fn put_vlong(out: &mut Vec<u8>, value: i64) {
    if let Ok(byte) = i8::try_from(value)
        && byte >= -112
    {
        out.push(byte.cast_unsigned());
        return;
    }
    let (magnitude, base) = if value < 0 { (!value, NEGATIVE) } else { (value, POSITIVE) };
    let bytes = magnitude.to_be_bytes();
    // Neither branch leaves a magnitude of 0, so that one byte at least is significant.
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let significant = &bytes[zeros..];
    out.push(base - u8::try_from(significant.len()).expect("an i64 has eight bytes"));
    out.extend_from_slice(significant);
}

/// Appends a length as a `VInt`.
pub fn put_length(out: &mut Vec<u8>, length: usize) {
    put_vlong(out, i64::try_from(length).expect("no buffer is longer than isize::MAX"));
}

/// The bytes as text, with U+FFFD for what is no UTF-8.
#[must_use]
pub fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    // `from_utf8_lossy` alone looks at each byte; this check takes ASCII in words, and it is what
    // nearly every field passes.
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// Appends a Text.
pub fn put_text(out: &mut Vec<u8>, text: &str) {
    put_length(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Appends a `LongWritable`.
pub fn put_long(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// The bytes of the `VLong` that begins with `first`, that byte included: 1 to 9.
#[must_use]
pub const fn vlong_size(first: u8) -> usize {
    match first {
        0x80..0x88 => 1 + (NEGATIVE - first) as usize,
        0x88..0x90 => 1 + (POSITIVE - first) as usize,
        _ => 1,
    }
}

/// The bytes not yet read.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// Reads from the first of these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// [`WritableError::Short`] if there are fewer.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], WritableError> {
        let missing = length.saturating_sub(self.0.len());
        let (head, rest) = self.0.split_at_checked(length).ok_or(WritableError::Short(missing))?;
        self.0 = rest;
        Ok(head)
    }

    /// The next `VLong`.
    pub fn vlong(&mut self) -> Result<i64, WritableError> {
        let (&first, _) = self.0.split_first().ok_or(WritableError::Short(1))?;
        let bytes = self.take(vlong_size(first))?;
        if bytes.len() == 1 {
            return Ok(i64::from(first.cast_signed()));
        }
        let magnitude = bytes[1..].iter().fold(0, |sum, byte| (sum << 8) | i64::from(*byte));
        Ok(if first < NEGATIVE { !magnitude } else { magnitude })
    }

    /// The next `VInt`, which must be a length.
    pub fn length(&mut self) -> Result<usize, WritableError> {
        let value = self.vlong()?;
        let length = i32::try_from(value).map_err(|_| WritableError::Length(value))?;
        usize::try_from(length).map_err(|_| WritableError::Length(value))
    }

    /// The bytes of the next Text.
    pub fn text_bytes(&mut self) -> Result<&'a [u8], WritableError> {
        let length = self.length()?;
        self.take(length)
    }

    /// The next Text.
    pub fn text(&mut self) -> Result<Cow<'a, str>, WritableError> {
        self.text_bytes().map(lossy)
    }

    /// The bytes of the next `BytesWritable`.
    pub fn bytes(&mut self) -> Result<&'a [u8], WritableError> {
        let bytes = self.take(size_of::<i32>())?;
        let value = i32::from_be_bytes(bytes.try_into().expect("taken by this length"));
        let length = usize::try_from(value).map_err(|_| WritableError::Length(value.into()))?;
        self.take(length)
    }

    /// The next `LongWritable`.
    pub fn long(&mut self) -> Result<i64, WritableError> {
        let bytes = self.take(size_of::<i64>())?;
        Ok(i64::from_be_bytes(bytes.try_into().expect("taken by this length")))
    }

    /// How many bytes are left.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.0.len()
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`WritableError::Trailing`] if bytes are left.
    pub const fn end(self) -> Result<(), WritableError> {
        if self.0.is_empty() { Ok(()) } else { Err(WritableError::Trailing(self.0.len())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vlong(value: i64) -> Vec<u8> {
        let mut out = Vec::new();
        put_vlong(&mut out, value);
        out
    }

    #[test]
    fn vlongs_are_pinned_by_golden_bytes() {
        for (value, golden) in [
            (0, &b"\x00"[..]),
            (127, b"\x7f"),
            (128, b"\x8f\x80"),
            (255, b"\x8f\xff"),
            (256, b"\x8e\x01\x00"),
            (123_456_789, b"\x8c\x07\x5b\xcd\x15"),
            (i64::MAX, b"\x88\x7f\xff\xff\xff\xff\xff\xff\xff"),
            (-1, b"\xff"),
            (-112, b"\x90"),
            (-113, b"\x87\x70"),
            (-256, b"\x87\xff"),
            (-257, b"\x86\x01\x00"),
            (i64::MIN, b"\x80\x7f\xff\xff\xff\xff\xff\xff\xff"),
        ] {
            assert_eq!(vlong(value), golden, "{value}");
            assert_eq!(vlong_size(golden[0]), golden.len());
            let mut input = Input::new(golden);
            assert_eq!(input.vlong(), Ok(value));
            assert_eq!(input.end(), Ok(()));
        }
    }

    #[test]
    fn every_power_of_two_round_trips() {
        for shift in 0..63 {
            for value in [1_i64 << shift, (1 << shift) - 1, -(1 << shift), -(1 << shift) - 1] {
                assert_eq!(Input::new(&vlong(value)).vlong(), Ok(value));
            }
        }
    }

    #[test]
    fn texts_and_longs_are_pinned_by_golden_bytes() {
        let mut out = Vec::new();
        put_text(&mut out, "h\u{e9}");
        put_text(&mut out, "");
        put_long(&mut out, -2);
        assert_eq!(out, b"\x03h\xc3\xa9\x00\xff\xff\xff\xff\xff\xff\xff\xfe");
        let mut input = Input::new(&out);
        assert_eq!(input.text().unwrap(), "h\u{e9}");
        assert_eq!(input.text().unwrap(), "");
        assert_eq!(input.long(), Ok(-2));
        assert_eq!(input.end(), Ok(()));
    }

    #[test]
    fn damaged_lengths_are_errors() {
        assert_eq!(Input::new(&vlong(-1)).text_bytes(), Err(WritableError::Length(-1)));
        assert_eq!(Input::new(&vlong(1 << 31)).length(), Err(WritableError::Length(1 << 31)));
        assert_eq!(Input::new(b"\x05ab").text_bytes(), Err(WritableError::Short(3)));
        assert_eq!(Input::new(b"\0\0\0\x02abc").bytes(), Ok(&b"ab"[..]));
        assert_eq!(Input::new(b"\0\0\0\x05ab").bytes(), Err(WritableError::Short(3)));
        assert_eq!(Input::new(b"\xff\xff\xff\xff").bytes(), Err(WritableError::Length(-1)));
        assert_eq!(Input::new(b"\0\0").bytes(), Err(WritableError::Short(2)));
        assert_eq!(Input::new(b"\x8c\x01").vlong(), Err(WritableError::Short(3)));
        assert_eq!(Input::new(b"").vlong(), Err(WritableError::Short(1)));
        assert_eq!(Input::new(b"\0\0").end(), Err(WritableError::Trailing(2)));
    }
}
