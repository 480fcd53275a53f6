//! Which Java classes an event becomes: the key and the value of its record.
//!
//! | format | key | value |
//! |---|---|---|
//! | `access-log` | `AccessLogEvent`, all of the event | `VLongWritable` 1 |
//! | `json` | `LongWritable` timestamp | `Text`, one JSON object |
//! | `tsv` | `LongWritable` timestamp | `Text`, one line of tab-separated text |
//! | `bytes` | `LongWritable` timestamp | `BytesWritable`, one JSON object |
//!
//! The classes tell the format, but for `json` and `tsv`, which differ in the first character of
//! every value: a brace, or a digit or minus sign.

use crate::hadoop::writable::{
    BYTES_CLASS, LONG_CLASS, TEXT_CLASS, VLONG_CLASS, put_length, put_long, put_vlong,
};
use crate::record::access_log::put_access_log;
use crate::record::tsv::put_tsv;
use serde::{Deserialize, Serialize};
use sewer_wal::event::Event;
use std::fmt;

/// What a record holds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The older server's class as key; existing jobs read it.
    #[default]
    AccessLog,
    /// One JSON object per event, which needs no class of ours.
    Json,
    /// One line of tab-separated text per event.
    Tsv,
    /// One JSON object per event, as bytes: the layout of Flume's HDFS sink.
    Bytes,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::AccessLog, Self::Json, Self::Tsv, Self::Bytes];

    /// The name in configuration and plans.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccessLog => "access-log",
            Self::Json => "json",
            Self::Tsv => "tsv",
            Self::Bytes => "bytes",
        }
    }

    /// The class of the keys; `access_log_class` is the one configured for `access-log`, by default
    /// [`ACCESS_LOG_CLASS`](crate::record::access_log::ACCESS_LOG_CLASS).
    #[must_use]
    pub const fn key_class(self, access_log_class: &str) -> &str {
        match self {
            Self::AccessLog => access_log_class,
            Self::Json | Self::Tsv | Self::Bytes => LONG_CLASS,
        }
    }

    /// The class of the values.
    #[must_use]
    pub const fn value_class(self) -> &'static str {
        match self {
            Self::AccessLog => VLONG_CLASS,
            Self::Json | Self::Tsv => TEXT_CLASS,
            Self::Bytes => BYTES_CLASS,
        }
    }

    /// Replaces `key` and `value` by those of the event.
    pub fn encode(self, event: &Event<'_>, key: &mut Vec<u8>, value: &mut Vec<u8>) {
        key.clear();
        value.clear();
        match self {
            Self::AccessLog => {
                put_access_log(key, event);
                put_vlong(value, 1);
            }
            Self::Json => {
                put_long(key, event.timestamp_ms);
                put_json(value, event);
                length_to_front(value);
            }
            Self::Tsv => {
                put_long(key, event.timestamp_ms);
                put_tsv(value, event);
                length_to_front(value);
            }
            Self::Bytes => {
                put_long(key, event.timestamp_ms);
                value.extend_from_slice(&[0; size_of::<i32>()]);
                put_json(value, event);
                let length = value.len() - size_of::<i32>();
                // A longer record than an i32 can say is refused by the writer of the file.
                let length = i32::try_from(length).unwrap_or(i32::MAX);
                value[..size_of::<i32>()].copy_from_slice(&length.to_be_bytes());
            }
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// Appends the event's JSON object.
fn put_json(out: &mut Vec<u8>, event: &Event<'_>) {
    serde_json::to_writer(&mut *out, event).expect("a map with string keys, into memory");
}

/// Makes a Text of the bytes. The length comes first and is known last: it is appended, then turned
/// to the front.
fn length_to_front(text: &mut Vec<u8>) {
    let length = text.len();
    put_length(text, length);
    let prefix = text.len() - length;
    text.rotate_right(prefix);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::access_log::ACCESS_LOG_CLASS;

    fn encode(format: Format, event: &Event<'_>) -> (Vec<u8>, Vec<u8>) {
        let (mut key, mut value) = (vec![1, 2], vec![3, 4]);
        format.encode(event, &mut key, &mut value);
        (key, value)
    }

    fn sample() -> Event<'static> {
        Event {
            timestamp_ms: 258,
            host: Some(b"h\xff\n"),
            extra: vec![("method", b"GET")],
            ..Event::default()
        }
    }

    const JSON: &str = "{\"timestamp\":258,\"ip\":null,\"host\":\"h\u{fffd}\\n\",\
        \"request_path\":null,\"query_string\":null,\"referer\":null,\"user_agent\":null,\
        \"cookies\":null,\"method\":\"GET\"}";

    #[test]
    fn names_are_those_of_the_configuration() {
        assert_eq!(Format::default(), Format::AccessLog);
        for format in Format::ALL {
            let json = format!("\"{format}\"");
            assert_eq!(serde_json::to_string(&format).unwrap(), json);
            assert_eq!(serde_json::from_str::<Format>(&json).unwrap(), format);
        }
    }

    #[test]
    fn an_access_log_record_has_the_event_as_key_and_one_as_value() {
        let event = Event { timestamp_ms: 5, ip: Some(b"::1"), ..Event::default() };
        let (key, value) = encode(Format::AccessLog, &event);
        assert!(key.starts_with(b"\x05\x03::1\0\0\0\0\0\0\x20"));
        assert_eq!(value, [1]);
        assert_eq!(Format::AccessLog.key_class(ACCESS_LOG_CLASS), ACCESS_LOG_CLASS);
    }

    #[test]
    fn a_json_record_is_pinned_by_golden_bytes() {
        let (key, value) = encode(Format::Json, &sample());
        assert_eq!(key, b"\0\0\0\0\0\0\x01\x02");
        assert_eq!(value[..2], [0x8f, u8::try_from(JSON.len()).unwrap()]);
        assert_eq!(&value[2..], JSON.as_bytes());
    }

    #[test]
    fn a_tsv_record_is_pinned_by_golden_bytes() {
        let (key, value) = encode(Format::Tsv, &sample());
        assert_eq!(key, b"\0\0\0\0\0\0\x01\x02");
        let golden = "\x1c258\t\\N\th\u{fffd}\\n\t\\N\t\\N\t\\N\t\\N\t\\N";
        assert_eq!(value, golden.as_bytes(), "{}", value.escape_ascii());
    }

    #[test]
    fn a_bytes_record_is_pinned_by_golden_bytes() {
        let (key, value) = encode(Format::Bytes, &sample());
        assert_eq!(key, b"\0\0\0\0\0\0\x01\x02");
        assert_eq!(value[..4], [0, 0, 0, u8::try_from(JSON.len()).unwrap()]);
        assert_eq!(&value[4..], JSON.as_bytes());
    }
}
