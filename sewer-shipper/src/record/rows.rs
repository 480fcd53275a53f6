//! A `SequenceFile` that the shipper wrote, as JSON lines.
//!
//! The header's classes, and for a Text its first character, tell the format, so the file needs no
//! configuration to be read. Rows that precede damage are written before the error is returned.

use crate::hadoop::sequence_file::{Header, ReadError, Reader, Record};
use crate::hadoop::writable::{
    BYTES_CLASS, Input, LONG_CLASS, TEXT_CLASS, VLONG_CLASS, WritableError, lossy,
};
use crate::record::access_log::AccessLog;
use crate::record::tsv::{TsvError, TsvRow};
use serde::de::IgnoredAny;
use std::io::{self, Read, Write};
use thiserror::Error;

/// Why a file cannot be shown to its end.
#[derive(Debug, Error)]
pub enum CatError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A `SequenceFile` of somebody else.
    #[error(
        "the file has keys of {key_class} and values of {value_class} (byte 4), \
         which the shipper does not write"
    )]
    Foreign {
        /// The class of its keys.
        key_class: String,
        /// The class of its values.
        value_class: String,
    },
    /// A record is not what the classes promise.
    #[error("row {row}, in the record or block at byte {offset}: its {part} is damaged: {source}")]
    Row {
        /// Which row, from 0.
        row: u64,
        /// Where its record begins, or the block that holds it.
        offset: u64,
        /// The key or the value.
        part: &'static str,
        /// The problem with it.
        source: RowError,
    },
    /// The output takes no more; a broken pipe is among the causes.
    #[error("write the rows: {0}")]
    Write(#[source] io::Error),
}

/// What is wrong with a key or a value.
#[derive(Debug, Error)]
pub enum RowError {
    /// It is not the Writable that its class promises.
    #[error(transparent)]
    Writable(#[from] WritableError),
    /// The text is not one JSON object on one line.
    #[error("not a JSON object on one line")]
    Json,
    /// The text is not a line of tab-separated text.
    #[error("not a line of tab-separated text: {0}")]
    Tsv(#[from] TsvError),
    /// The value of `access-log` is 1 in every record.
    #[error("{0} instead of 1")]
    NotOne(i64),
}

/// Writes the rows of the file to `out`, a JSON object on a line for each, and returns how many.
/// Each row is one write.
///
/// # Errors
/// [`CatError`] at the first thing that is not as the shipper writes it.
pub fn cat(file: impl Read, out: &mut impl Write) -> Result<u64, CatError> {
    let mut reader = Reader::new(file)?;
    let rows_are = Rows::of(reader.header())?;
    let mut line = Vec::new();
    let mut rows = 0;
    loop {
        // The position of a record is known once it has been read, and its bytes borrow the reader.
        let written = match reader.next_record()? {
            None => return Ok(rows),
            Some(record) => put_line(rows_are, record, &mut line),
        };
        let offset = reader.position();
        written.map_err(|(part, source)| CatError::Row { row: rows, offset, part, source })?;
        out.write_all(&line).map_err(CatError::Write)?;
        rows += 1;
    }
}

/// What the classes say of the rows.
#[derive(Clone, Copy)]
enum Rows {
    AccessLog,
    /// JSON, or tab-separated.
    Text,
    /// JSON.
    Bytes,
}

impl Rows {
    fn of(header: &Header) -> Result<Self, CatError> {
        match (header.key_class.as_str(), header.value_class.as_str()) {
            (LONG_CLASS, TEXT_CLASS) => Ok(Self::Text),
            (LONG_CLASS, BYTES_CLASS) => Ok(Self::Bytes),
            // The key's class is configurable; but Hadoop's own are no events, whatever their
            // value.
            (key, VLONG_CLASS) if !key.starts_with("org.apache.hadoop.io.") => Ok(Self::AccessLog),
            (key, value) => {
                Err(CatError::Foreign { key_class: key.into(), value_class: value.into() })
            }
        }
    }
}

type PartError = (&'static str, RowError);

/// Replaces `line` by the record's.
fn put_line(rows_are: Rows, record: Record<'_>, line: &mut Vec<u8>) -> Result<(), PartError> {
    line.clear();
    match rows_are {
        Rows::AccessLog => {
            let event = AccessLog::decode(record.key).map_err(|error| ("key", error.into()))?;
            check_one(record.value).map_err(|error| ("value", error))?;
            serde_json::to_writer(&mut *line, &event).expect("strings and numbers, into memory");
        }
        Rows::Text | Rows::Bytes => {
            check_long(record.key).map_err(|error| ("key", error.into()))?;
            put_value(rows_are, record.value, line).map_err(|error| ("value", error))?;
        }
    }
    line.push(b'\n');
    Ok(())
}

fn check_one(value: &[u8]) -> Result<(), RowError> {
    let mut input = Input::new(value);
    let number = input.vlong()?;
    input.end()?;
    if number == 1 { Ok(()) } else { Err(RowError::NotOne(number)) }
}

fn check_long(key: &[u8]) -> Result<(), WritableError> {
    let mut input = Input::new(key);
    input.long()?;
    input.end()
}

/// Puts the JSON object in the value, or made of it, into `line`.
fn put_value(rows_are: Rows, value: &[u8], line: &mut Vec<u8>) -> Result<(), RowError> {
    let mut input = Input::new(value);
    let bytes = if matches!(rows_are, Rows::Bytes) { input.bytes() } else { input.text_bytes() }?;
    input.end()?;
    let is_tsv = bytes.first().is_some_and(|byte| matches!(byte, b'-' | b'0'..=b'9'));
    if matches!(rows_are, Rows::Text) && is_tsv {
        let text = lossy(bytes);
        let row = TsvRow::decode(&text)?;
        serde_json::to_writer(&mut *line, &row).expect("strings and numbers, into memory");
    } else {
        check_json(bytes)?;
        line.extend_from_slice(bytes);
    }
    Ok(())
}

fn check_json(bytes: &[u8]) -> Result<(), RowError> {
    let text = std::str::from_utf8(bytes).map_err(|_| RowError::Json)?;
    let is_object = text.starts_with('{') && !text.contains(['\n', '\r']);
    if is_object && serde_json::from_str::<IgnoredAny>(text).is_ok() {
        Ok(())
    } else {
        Err(RowError::Json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hadoop::codec::Compression;
    use crate::hadoop::sequence_file::Writer;
    use crate::hadoop::writable::put_text;
    use crate::record::format::Format;
    use sewer_test_support::random::Random;
    use sewer_wal::event::Event;

    fn writer(key_class: &str, value_class: &str, compression: Compression) -> Writer {
        Writer::new(&Header {
            key_class: key_class.into(),
            value_class: value_class.into(),
            compression,
            metadata: [("sewer.records".into(), "2".into())].into(),
            sync: *b"0123456789abcdef",
        })
    }

    fn file(format: Format, compression: Compression) -> Vec<u8> {
        let key_class = format.key_class("com.example.Hit");
        let mut writer = writer(key_class, format.value_class(), compression);
        let (mut key, mut value) = (Vec::new(), Vec::new());
        for timestamp_ms in [123_456_789, -1] {
            let event = Event {
                timestamp_ms,
                ip: Some(b"1.2.3.4"),
                host: Some(b"h"),
                request_path: Some(b"/p"),
                user_agent: Some(b"ua\xff"),
                ..Event::default()
            };
            format.encode(&event, &mut key, &mut value);
            writer.append(&key, &value).unwrap();
        }
        writer.finish();
        writer.take()
    }

    fn rows(file: &[u8]) -> Result<(u64, String), CatError> {
        let mut out = Vec::new();
        let rows = cat(file, &mut out)?;
        Ok((rows, String::from_utf8(out).unwrap()))
    }

    #[test]
    fn every_format_and_compression_reads_as_json_lines() {
        let access_log = |timestamp, hash| {
            format!(
                "{{\"timestamp\":{timestamp},\"ip\":\"1.2.3.4\",\"host\":\"h\",\
                 \"request_path\":\"/p\",\"query_string\":\"\",\"referer\":\"\",\
                 \"user_agent\":\"ua\u{fffd}\",\"cookies\":\"\",\"sort_hash\":\"{hash}\"}}\n"
            )
        };
        let json = |timestamp| {
            format!(
                "{{\"timestamp\":{timestamp},\"ip\":\"1.2.3.4\",\"host\":\"h\",\
                 \"request_path\":\"/p\",\"query_string\":null,\"referer\":null,\
                 \"user_agent\":\"ua\u{fffd}\",\"cookies\":null}}\n"
            )
        };
        for compression in Compression::ALL {
            let (count, text) = rows(&file(Format::AccessLog, compression)).unwrap();
            let golden = access_log(123_456_789, "123cb4d14827967a299bb757144e85bc")
                + &access_log(-1, "12434232f607a670cd670fa25435e13c");
            assert_eq!((count, text), (2, golden), "{compression}");
            for format in [Format::Json, Format::Tsv, Format::Bytes] {
                let (count, text) = rows(&file(format, compression)).unwrap();
                let golden = json(123_456_789) + &json(-1);
                assert_eq!((count, text), (2, golden), "{format} {compression}");
            }
        }
    }

    #[test]
    fn a_foreign_file_is_named_by_its_classes() {
        for value_class in [TEXT_CLASS, VLONG_CLASS] {
            let mut foreign = writer(TEXT_CLASS, value_class, Compression::Snappy);
            let error = rows(&foreign.take()).unwrap_err().to_string();
            let what = format!(
                "the file has keys of org.apache.hadoop.io.Text and values of {value_class} \
                 (byte 4), which the shipper does not write"
            );
            assert_eq!(error, what);
        }
        let error = rows(b"PAR1 and more").unwrap_err().to_string();
        assert_eq!(error, "the file is not a SequenceFile (byte 0)");
    }

    #[test]
    fn a_value_that_is_no_row_is_named_by_its_row_and_offset() {
        let is_expected = |text: &str, error: &RowError| match error {
            RowError::Tsv(TsvError::Fields(1)) => text == "1",
            RowError::Json => text != "1",
            _ => false,
        };
        for text in ["", "1", "{", "{}x", "{\"a\":\n1}"] {
            let (key_class, value_class) = (Format::Json.key_class(""), Format::Json.value_class());
            let mut writer = writer(key_class, value_class, Compression::None);
            let header = writer.encoded_bytes();
            for text in ["{}", text] {
                let mut value = Vec::new();
                put_text(&mut value, text);
                writer.append(&[0; 8], &value).unwrap();
            }
            let mut out = Vec::new();
            let error = cat(&writer.take()[..], &mut out).unwrap_err();
            let CatError::Row { row: 1, offset, part: "value", source } = error else {
                panic!("{text:?}: {error}");
            };
            assert!(is_expected(text, &source), "{text:?}: {source}");
            assert_eq!(offset, header + 8 + 8 + 3);
            assert_eq!(out, b"{}\n", "the row before it is shown");
        }
    }

    #[test]
    fn no_damage_makes_it_panic() {
        let mut random = Random::new(3);
        for compression in Compression::ALL {
            for format in Format::ALL {
                let whole = file(format, compression);
                for _ in 0..2_000 {
                    let mut damaged = whole.clone();
                    random.flip(&mut damaged);
                    let _ = rows(&damaged);
                }
            }
        }
    }
}
