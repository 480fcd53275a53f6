//! A `SequenceFile` that the shipper wrote, as JSON lines.
//!
//! The header's classes tell the format, so the file needs no configuration to be read. Rows that
//! precede damage are written before the error is returned.

use crate::access_log::AccessLog;
use crate::format::Format;
use crate::sequence_file::{ReadError, Reader, Record};
use crate::writable::{Input, WritableError};
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
        /// What is wrong with it.
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
    let header = reader.header();
    let format = Format::from_classes(&header.key_class, &header.value_class).ok_or_else(|| {
        CatError::Foreign {
            key_class: header.key_class.clone(),
            value_class: header.value_class.clone(),
        }
    })?;
    let mut line = Vec::new();
    let mut rows = 0;
    loop {
        // The position of a record is known once it has been read, and its bytes borrow the reader.
        let written = match reader.next_record()? {
            None => return Ok(rows),
            Some(record) => put_line(format, record, &mut line),
        };
        let offset = reader.position();
        written.map_err(|(part, source)| CatError::Row { row: rows, offset, part, source })?;
        out.write_all(&line).map_err(CatError::Write)?;
        rows += 1;
    }
}

type PartError = (&'static str, RowError);

/// Replaces `line` by the record's.
fn put_line(format: Format, record: Record<'_>, line: &mut Vec<u8>) -> Result<(), PartError> {
    line.clear();
    match format {
        Format::AccessLog => {
            let event = AccessLog::decode(record.key).map_err(|error| ("key", error.into()))?;
            check_one(record.value).map_err(|error| ("value", error))?;
            serde_json::to_writer(&mut *line, &event).expect("strings and numbers, into memory");
        }
        Format::Json => {
            check_long(record.key).map_err(|error| ("key", error.into()))?;
            line.extend_from_slice(json(record.value).map_err(|error| ("value", error))?);
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

/// The JSON object in a Text, once it is known to be one.
fn json(value: &[u8]) -> Result<&[u8], RowError> {
    let mut input = Input::new(value);
    let bytes = input.text_bytes()?;
    input.end()?;
    let text = std::str::from_utf8(bytes).map_err(|_| RowError::Json)?;
    let is_object = text.starts_with('{') && !text.contains(['\n', '\r']);
    if is_object && serde_json::from_str::<IgnoredAny>(text).is_ok() {
        Ok(bytes)
    } else {
        Err(RowError::Json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Compression;
    use crate::sequence_file::{Header, Writer};
    use crate::testing::Random;
    use crate::writable::{TEXT_CLASS, put_text};
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
            let (count, text) = rows(&file(Format::Json, compression)).unwrap();
            assert_eq!((count, text), (2, json(123_456_789) + &json(-1)), "{compression}");
        }
    }

    #[test]
    fn a_foreign_file_is_named_by_its_classes() {
        let mut foreign = writer(TEXT_CLASS, TEXT_CLASS, Compression::Snappy);
        let error = rows(&foreign.take()).unwrap_err().to_string();
        assert_eq!(
            error,
            "the file has keys of org.apache.hadoop.io.Text and values of \
             org.apache.hadoop.io.Text (byte 4), which the shipper does not write"
        );
        let error = rows(b"PAR1 and more").unwrap_err().to_string();
        assert_eq!(error, "the file is not a SequenceFile (byte 0)");
    }

    #[test]
    fn a_value_that_is_no_object_is_named_by_its_row_and_offset() {
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
            let CatError::Row { row: 1, offset, part: "value", source: RowError::Json } = error
            else {
                panic!("{text:?}: {error}");
            };
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
