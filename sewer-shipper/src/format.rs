//! Which Java classes an event becomes: the key and the value of its record.
//!
//! | format | key | value |
//! |---|---|---|
//! | `access-log` | `AccessLogEvent`, all of the event | `VLongWritable` 1 |
//! | `json` | `LongWritable` timestamp | `Text`, one JSON object |

use crate::access_log::put_access_log;
use crate::writable::{LONG_CLASS, TEXT_CLASS, VLONG_CLASS, put_length, put_long, put_vlong};
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
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 2] = [Self::AccessLog, Self::Json];

    /// The name in configuration and plans.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccessLog => "access-log",
            Self::Json => "json",
        }
    }

    /// The class of the keys; `access_log_class` is the one configured for `access-log`, by default
    /// [`ACCESS_LOG_CLASS`](crate::access_log::ACCESS_LOG_CLASS).
    #[must_use]
    pub const fn key_class(self, access_log_class: &str) -> &str {
        match self {
            Self::AccessLog => access_log_class,
            Self::Json => LONG_CLASS,
        }
    }

    /// The class of the values.
    #[must_use]
    pub const fn value_class(self) -> &'static str {
        match self {
            Self::AccessLog => VLONG_CLASS,
            Self::Json => TEXT_CLASS,
        }
    }

    /// The format whose files have these classes. `access-log` is known by its value: the name of
    /// its key class is configurable.
    #[must_use]
    pub fn from_classes(key_class: &str, value_class: &str) -> Option<Self> {
        match (key_class, value_class) {
            (LONG_CLASS, TEXT_CLASS) => Some(Self::Json),
            // Hadoop's own classes are no events, whatever their value.
            (key, VLONG_CLASS) if !key.starts_with("org.apache.hadoop.io.") => {
                Some(Self::AccessLog)
            }
            _ => None,
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
                put_json_text(value, event);
            }
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// Puts a Text with the event's JSON object into `out`, which is empty.
fn put_json_text(out: &mut Vec<u8>, event: &Event<'_>) {
    serde_json::to_writer(&mut *out, event).expect("a map with string keys, into memory");
    // The length comes first and is known last: it is appended, then turned to the front.
    let length = out.len();
    put_length(out, length);
    let prefix = out.len() - length;
    out.rotate_right(prefix);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_log::ACCESS_LOG_CLASS;

    fn encode(format: Format, event: &Event<'_>) -> (Vec<u8>, Vec<u8>) {
        let (mut key, mut value) = (vec![1, 2], vec![3, 4]);
        format.encode(event, &mut key, &mut value);
        (key, value)
    }

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
    fn classes_tell_the_format() {
        for format in Format::ALL {
            let key_class = format.key_class("com.example.Hit");
            assert_eq!(Format::from_classes(key_class, format.value_class()), Some(format));
        }
        assert_eq!(Format::AccessLog.key_class(ACCESS_LOG_CLASS), ACCESS_LOG_CLASS);
        assert_eq!(Format::from_classes(TEXT_CLASS, VLONG_CLASS), None);
        assert_eq!(Format::from_classes(TEXT_CLASS, TEXT_CLASS), None);
    }

    #[test]
    fn an_access_log_record_has_the_event_as_key_and_one_as_value() {
        let event = Event { timestamp_ms: 5, ip: Some(b"::1"), ..Event::default() };
        let (key, value) = encode(Format::AccessLog, &event);
        assert!(key.starts_with(b"\x05\x03::1\0\0\0\0\0\0\x20"));
        assert_eq!(value, [1]);
    }

    #[test]
    fn a_json_record_is_pinned_by_golden_bytes() {
        let event = Event {
            timestamp_ms: 258,
            host: Some(b"h\xff\n"),
            extra: vec![("method", b"GET")],
            ..Event::default()
        };
        let (key, value) = encode(Format::Json, &event);
        assert_eq!(key, b"\0\0\0\0\0\0\x01\x02");
        let json = "{\"timestamp\":258,\"ip\":null,\"host\":\"h\u{fffd}\\n\",\
            \"request_path\":null,\"query_string\":null,\"referer\":null,\"user_agent\":null,\
            \"cookies\":null,\"method\":\"GET\"}";
        assert_eq!(value[..2], [0x8f, u8::try_from(json.len()).unwrap()]);
        assert_eq!(&value[2..], json.as_bytes());
    }
}
