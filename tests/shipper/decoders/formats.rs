//! Segments and logs written by hand from the drawings in `sewer-wal`, and not by its code.

use proptest::collection::vec;
use proptest::prelude::*;
use sewer_wal::Event;
use sewer_wal::event::TIMESTAMPS_MS;
use sewer_wal::reader::Kind;

const SALT: &[u8; 16] = b"a secret of 16 B";
const BLOCK: usize = 4096;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Format 1, a log or a segment.
    V1,
    /// Format 2, each batch on blocks of its own; a log or a segment.
    Log,
    /// Format 2 without padding, which only segments are.
    Compact,
}

/// Every kind of file, and whether it is sealed.
pub fn forms() -> impl Strategy<Value = (Form, Kind)> {
    proptest::sample::select(vec![
        (Form::V1, Kind::Active),
        (Form::V1, Kind::Sealed),
        (Form::Log, Kind::Active),
        (Form::Log, Kind::Sealed),
        (Form::Compact, Kind::Sealed),
    ])
}

/// Batches of encoded events; one in eight of these is none under a right CRC.
pub fn batches() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    let event = (TIMESTAMPS_MS, vec(any::<u8>(), 0..60)).prop_map(|(timestamp_ms, path)| {
        let event = Event { timestamp_ms, request_path: Some(&path), ..Event::default() };
        let mut bytes = Vec::new();
        event.encode(&mut bytes).expect("it is small");
        bytes
    });
    let event = prop_oneof![7 => event, 1 => vec(any::<u8>(), 0..60)];
    vec(vec(event, 0..4), 0..6)
}

/// The events of batches that must be given back, numbered.
pub fn numbered(base: u64, batches: &[Vec<Vec<u8>>]) -> Vec<(u64, Vec<u8>)> {
    let is_sound =
        |bytes: &[u8]| Event::decode(bytes).is_ok_and(|e| TIMESTAMPS_MS.contains(&e.timestamp_ms));
    let all = (base..).zip(batches.iter().flatten().cloned());
    all.filter(|(_, bytes)| is_sound(bytes)).collect()
}

/// The bytes of a file; the events of the batches have the LSNs from `base` on.
pub fn file((form, kind): (Form, Kind), base: u64, batches: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let mut bytes = header(form);
    let (mut next, first_id) = (base, if form == Form::V1 { 1 } else { 2 });
    for (id, events) in (first_id..).zip(batches) {
        put_batch(&mut bytes, form, (id, base, next), events);
        next += events.len() as u64;
    }
    match kind {
        Kind::Sealed => put_footer(&mut bytes, form, base, next - base),
        Kind::Active => bytes.resize(bytes.len().next_multiple_of(BLOCK) + BLOCK, 0),
    }
    bytes
}

fn with_crc(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

fn header(form: Form) -> Vec<u8> {
    let version = if form == Form::V1 { 1 } else { 2 };
    let (wal_id, number) = (1_u64.to_le_bytes(), 2_u64.to_le_bytes());
    let info = with_crc([b"sewer-wal", &[version][..], &wal_id, &number].concat());
    let mut bytes = [b"okw\0\x1e", &info[..]].concat();
    let mut descriptor = [&SALT[..], &[1, 0, 0, 0]].concat();
    if form == Form::Compact {
        descriptor[16] = 2;
    }
    let crc = crc32c::crc32c(&[&info[..], &descriptor].concat());
    descriptor.extend_from_slice(&crc.to_le_bytes());
    match form {
        Form::V1 => {}
        Form::Compact => put_entry(&mut bytes, 1, &[&descriptor]),
        Form::Log => {
            // The descriptor begins at byte 49, its copy with info at 4096; all ends at 8192.
            let mut data = descriptor.clone();
            data.resize(BLOCK - 49, 0);
            data.extend_from_slice(&info);
            data.extend_from_slice(&descriptor);
            data.resize(2 * BLOCK - 49 - 5, 0);
            put_entry(&mut bytes, 1, &[&data]);
            assert_eq!(bytes.len(), 2 * BLOCK);
        }
    }
    bytes
}

fn put_entry(bytes: &mut Vec<u8>, id: u64, chunks: &[&[u8]]) {
    bytes.push(1);
    bytes.extend_from_slice(&id.to_le_bytes());
    for data in chunks {
        bytes.push(2);
        bytes.extend_from_slice(&narrow(data.len()).to_le_bytes());
        bytes.extend_from_slice(data);
        bytes.extend_from_slice(&crc32c::crc32c(data).to_le_bytes());
    }
    bytes.push(3);
}

fn put_batch(
    bytes: &mut Vec<u8>,
    form: Form,
    (id, base, first): (u64, u64, u64),
    events: &[Vec<u8>],
) {
    let count = narrow(events.len()).to_le_bytes();
    if form == Form::V1 {
        let header = [&first.to_le_bytes()[..], &count].concat();
        let chunks: Vec<_> = std::iter::once(&header).chain(events).map(Vec::as_slice).collect();
        return put_entry(bytes, id, &chunks);
    }
    let data: usize = events.iter().map(|event| 9 + event.len()).sum();
    let unpadded = 9 + 9 + 52 + 4 * events.len() + data + 1;
    let length = match form {
        Form::Log if !unpadded.is_multiple_of(BLOCK) => (unpadded + 9).next_multiple_of(BLOCK),
        _ => unpadded,
    };
    let mut header = SALT.to_vec();
    for number in [bytes.len() as u64, base, first] {
        header.extend_from_slice(&number.to_le_bytes());
    }
    header.extend_from_slice(&[0; 4]); // no event here has so many zeros
    header.extend_from_slice(&narrow(length).to_le_bytes());
    header.extend_from_slice(&count);
    for event in events {
        header.extend_from_slice(&narrow(event.len()).to_le_bytes());
    }
    let padding = (length > unpadded).then(|| vec![0; length - unpadded - 9]);
    let all = std::iter::once(&header).chain(events).chain(&padding);
    put_entry(bytes, id, &all.map(Vec::as_slice).collect::<Vec<_>>());
}

fn put_footer(bytes: &mut Vec<u8>, form: Form, base: u64, count: u64) {
    let data_bytes = bytes.len() as u64;
    let version = if form == Form::V1 { 1_u32 } else { 2 };
    let mut footer = [&b"SEWERSEG"[..], &version.to_le_bytes()].concat();
    for number in [1, base, count, 0, 0, data_bytes] {
        footer.extend_from_slice(&number.to_le_bytes());
    }
    if form != Form::V1 {
        footer.extend_from_slice(SALT);
        footer.extend_from_slice(&[if form == Form::Compact { 2 } else { 1 }, 0, 0, 0]);
        footer = with_crc(footer);
    }
    bytes.extend_from_slice(&footer);
    bytes.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
}

fn narrow(length: usize) -> u32 {
    u32::try_from(length).expect("it is small")
}
