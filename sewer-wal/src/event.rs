//! One request as recorded, and its bytes in the log.
//!
//! ```text
//! event  = version u8 = 1
//!          timestamp i64        milliseconds since the Unix epoch, at arrival
//!          present u8           bit i set: field i follows (ip = bit 0 … cookies = bit 6)
//!          field*               for each set bit, in order: length u32, bytes as received
//!          extras u16           how many named fields follow
//!          extra*               name length u8, name (UTF-8), length u32, bytes
//! ```
//! All integers are little-endian. A field that is absent has no bit; an empty one has a bit and
//! length 0. The codec does no I/O and checks no CRC: the chunk that carries an event does that.

use serde::ser::{Serialize, SerializeMap, Serializer};
use thiserror::Error;

/// The version byte that [`Event::encode`] writes. Another one needs another format of the log as
/// well: in an intact log of this format it is damage.
const EVENT_VERSION: u8 = 1;

/// The largest encoded event. HTTP heads are far smaller; readers refuse anything larger before
/// they allocate for it.
pub const EVENT_BYTES_MAX: usize = 1 << 20;

/// The smallest encoded event: version, timestamp, field bits, and no extra fields.
pub(crate) const EVENT_BYTES_MIN: usize = 1 + 8 + 1 + 2;

/// The times that a calendar has, with room for every time zone: the years -9998 to 9998, in
/// milliseconds since the Unix epoch.
pub const TIMESTAMPS_MS: std::ops::RangeInclusive<i64> = -377_673_580_800_000..=253_339_228_800_000;

/// The names of the seven text fields, in the order of the format and of every output.
pub const FIELD_NAMES: [&str; 7] =
    ["ip", "host", "request_path", "query_string", "referer", "user_agent", "cookies"];

/// One request as recorded. It borrows its bytes, which are as received: nothing is decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event<'a> {
    /// Milliseconds since the Unix epoch, at arrival.
    pub timestamp_ms: i64,
    /// The client's address, as text.
    pub ip: Option<&'a [u8]>,
    /// The host asked for, without its port.
    pub host: Option<&'a [u8]>,
    /// The path as received, not decoded.
    pub request_path: Option<&'a [u8]>,
    /// The query as received, without `?`, not decoded.
    pub query_string: Option<&'a [u8]>,
    /// The first Referer header.
    pub referer: Option<&'a [u8]>,
    /// The first User-Agent header.
    pub user_agent: Option<&'a [u8]>,
    /// The first Cookie header.
    pub cookies: Option<&'a [u8]>,
    /// Further named fields, in the order in which they were recorded.
    pub extra: Vec<(&'a str, &'a [u8])>,
}

/// Why bytes are not an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EventError {
    /// The bytes end inside the named part.
    #[error("event ends inside its {0}")]
    Short(&'static str),
    /// Written by a newer Sewer.
    #[error("event has version {0}; this build reads version {EVENT_VERSION}")]
    Version(u8),
    /// A bit is set for a field that this version does not have.
    #[error("event announces a field that version {EVENT_VERSION} does not have")]
    UnknownField,
    /// The name of an extra field is not UTF-8.
    #[error("event has a field name that is not UTF-8")]
    Name,
    /// Bytes follow the last field.
    #[error("{0} bytes follow the event")]
    Trailing(usize),
    /// The event has more or longer fields than the format can hold.
    #[error("event does not fit its format: {0}")]
    TooLarge(&'static str),
}

impl<'a> Event<'a> {
    /// The seven text fields in the order of [`FIELD_NAMES`].
    #[must_use]
    pub const fn fields(&self) -> [Option<&'a [u8]>; 7] {
        [
            self.ip,
            self.host,
            self.request_path,
            self.query_string,
            self.referer,
            self.user_agent,
            self.cookies,
        ]
    }

    /// Appends the event's bytes to `out`.
    ///
    /// # Errors
    /// [`EventError::TooLarge`], with `out` as it was, if a length or a count does not fit.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EventError> {
        let start = out.len();
        self.encode_unchecked(out).inspect_err(|_| out.truncate(start))
    }

    fn encode_unchecked(&self, out: &mut Vec<u8>) -> Result<(), EventError> {
        out.push(EVENT_VERSION);
        out.extend_from_slice(&self.timestamp_ms.to_le_bytes());
        let fields = self.fields();
        let mut present = 0_u8;
        for (bit, field) in fields.iter().enumerate() {
            present |= u8::from(field.is_some()) << bit;
        }
        out.push(present);
        for field in fields.into_iter().flatten() {
            put_bytes(out, field)?;
        }
        let extras = u16::try_from(self.extra.len())
            .map_err(|_| EventError::TooLarge("more than 65,535 extra fields"))?;
        out.extend_from_slice(&extras.to_le_bytes());
        for (name, value) in &self.extra {
            let length = u8::try_from(name.len())
                .map_err(|_| EventError::TooLarge("a field name over 255 bytes"))?;
            out.push(length);
            out.extend_from_slice(name.as_bytes());
            put_bytes(out, value)?;
        }
        Ok(())
    }

    /// Reads an event; the result borrows from `bytes`.
    ///
    /// # Errors
    /// [`EventError`] for anything that [`Event::encode`] does not write.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, EventError> {
        let mut input = Input(bytes);
        let (timestamp_ms, present) = input.head()?;
        let mut fields = [None; FIELD_NAMES.len()];
        for (bit, field) in fields.iter_mut().enumerate() {
            if present & (1 << bit) != 0 {
                *field = Some(input.bytes(FIELD_NAMES[bit])?);
            }
        }
        let extras = u16::from_le_bytes(input.array("extra fields")?);
        let mut extra = Vec::new();
        for _ in 0..extras {
            extra.push(input.extra()?);
        }
        input.end()?;
        let [ip, host, request_path, query_string, referer, user_agent, cookies] = fields;
        Ok(Self {
            timestamp_ms,
            ip,
            host,
            request_path,
            query_string,
            referer,
            user_agent,
            cookies,
            extra,
        })
    }
}

/// The event as one JSON object: `timestamp` in milliseconds, the fields by [`FIELD_NAMES`] with
/// `null` where absent, then the extra fields. Invalid UTF-8 becomes U+FFFD.
impl Serialize for Event<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1 + FIELD_NAMES.len() + self.extra.len()))?;
        map.serialize_entry("timestamp", &self.timestamp_ms)?;
        for (name, field) in FIELD_NAMES.iter().zip(self.fields()) {
            map.serialize_entry(name, &field.map(String::from_utf8_lossy))?;
        }
        for (name, value) in &self.extra {
            map.serialize_entry(name, &String::from_utf8_lossy(value))?;
        }
        map.end()
    }
}

/// Widens a span of timestamps, from the smallest to the largest, by another one.
pub(crate) fn widen(span: &mut Option<(i64, i64)>, (first, last): (i64, i64)) {
    let (earliest, latest) = span.get_or_insert((first, last));
    (*earliest, *latest) = (first.min(*earliest), last.max(*latest));
}

/// Whether bytes are an event that can be recorded and placed: one that decodes, with a time that a
/// calendar has.
pub(crate) fn check(bytes: &[u8]) -> Result<(), &'static str> {
    let mut input = Input(bytes);
    let timestamp_ms = skim(&mut input).map_err(|_| "event that cannot be decoded")?;
    if TIMESTAMPS_MS.contains(&timestamp_ms) {
        Ok(())
    } else {
        Err("event with a time that no calendar has")
    }
}

/// Goes through an event as [`Event::decode`] does, without keeping anything but its timestamp.
fn skim(input: &mut Input<'_>) -> Result<i64, EventError> {
    let (timestamp_ms, present) = input.head()?;
    for (bit, name) in FIELD_NAMES.iter().enumerate() {
        if present & (1 << bit) != 0 {
            input.bytes(name)?;
        }
    }
    for _ in 0..u16::from_le_bytes(input.array("extra fields")?) {
        input.extra()?;
    }
    input.end().map(|()| timestamp_ms)
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), EventError> {
    let length =
        u32::try_from(bytes.len()).map_err(|_| EventError::TooLarge("a field over 4 GiB"))?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// The bytes not yet read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize, part: &'static str) -> Result<&'a [u8], EventError> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(EventError::Short(part))?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, part: &'static str) -> Result<[u8; N], EventError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(EventError::Short(part))?;
        self.0 = rest;
        Ok(*head)
    }

    /// Everything before the first field: the timestamp, and which fields follow.
    fn head(&mut self) -> Result<(i64, u8), EventError> {
        let [version] = self.array("version")?;
        if version != EVENT_VERSION {
            return Err(EventError::Version(version));
        }
        let timestamp_ms = i64::from_le_bytes(self.array("timestamp")?);
        let [present] = self.array("field bits")?;
        if present >> FIELD_NAMES.len() != 0 {
            return Err(EventError::UnknownField);
        }
        Ok((timestamp_ms, present))
    }

    fn extra(&mut self) -> Result<(&'a str, &'a [u8]), EventError> {
        let [length] = self.array("extra fields")?;
        let name = self.take(usize::from(length), "extra fields")?;
        let name = std::str::from_utf8(name).map_err(|_| EventError::Name)?;
        Ok((name, self.bytes("extra fields")?))
    }

    fn end(&self) -> Result<(), EventError> {
        if self.0.is_empty() { Ok(()) } else { Err(EventError::Trailing(self.0.len())) }
    }

    fn bytes(&mut self, part: &'static str) -> Result<&'a [u8], EventError> {
        let length = u32::from_le_bytes(self.array(part)?);
        let length = usize::try_from(length).map_err(|_| EventError::Short(part))?;
        self.take(length, part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Event<'static> {
        Event {
            timestamp_ms: 0x0102_0304_0506,
            ip: Some(b"::1"),
            request_path: Some(b"/p"),
            query_string: Some(b""),
            user_agent: Some(b"\xff"),
            extra: vec![("m", b"GET")],
            ..Event::default()
        }
    }

    #[test]
    fn the_format_is_pinned_by_golden_bytes() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes).unwrap();
        let golden = b"\x01\x06\x05\x04\x03\x02\x01\0\0\x2d\
            \x03\0\0\0::1\x02\0\0\0/p\0\0\0\0\x01\0\0\0\xff\
            \x01\0\x01m\x03\0\0\0GET";
        assert_eq!(bytes, golden);
        assert_eq!(Event::decode(golden), Ok(sample()));
    }

    #[test]
    fn no_event_is_smaller_than_the_smallest() {
        let mut bytes = Vec::new();
        Event::default().encode(&mut bytes).unwrap();
        assert_eq!(bytes.len(), EVENT_BYTES_MIN);
    }

    #[test]
    fn absent_is_not_empty() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes).unwrap();
        let read = Event::decode(&bytes).unwrap();
        assert_eq!(read.query_string, Some(&b""[..]));
        assert_eq!(read.referer, None);
    }

    #[test]
    fn every_cut_and_every_foreign_version_is_refused() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes).unwrap();
        for length in 0..bytes.len() {
            assert!(Event::decode(&bytes[..length]).is_err(), "cut at {length}");
        }
        bytes.push(0);
        assert_eq!(Event::decode(&bytes), Err(EventError::Trailing(1)));
        bytes[0] = 2;
        assert_eq!(Event::decode(&bytes), Err(EventError::Version(2)));
    }

    #[test]
    fn an_event_that_does_not_fit_leaves_the_buffer_as_it_was() {
        let name = "n".repeat(256);
        let event = Event { extra: vec![(&name, b"")], ..Event::default() };
        let mut bytes = vec![7];
        assert!(event.encode(&mut bytes).is_err());
        assert_eq!(bytes, [7]);
    }

    #[test]
    fn json_names_the_fields_and_keeps_absent_apart_from_empty() {
        let json = serde_json::to_string(&sample()).unwrap();
        assert_eq!(
            json,
            "{\"timestamp\":1108152157446,\"ip\":\"::1\",\"host\":null,\"request_path\":\"/p\",\
             \"query_string\":\"\",\"referer\":null,\"user_agent\":\"\u{fffd}\",\"cookies\":null,\
             \"m\":\"GET\"}"
        );
    }
}
