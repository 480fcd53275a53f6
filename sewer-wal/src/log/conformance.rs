//! The contract of the engines, held by each of them: the bytes are those of the drawing in
//! [`crate::format`], the same whichever engine writes them, and a log says of itself what is read
//! from it.

use std::path::Path;

use super::active::ActiveLog;
use super::summary::summarise;
use super::{Engine, Writer, direct};
use crate::batch::Batch;
use crate::event::{EVENT_BYTES_MAX, Event};
use crate::format::batch::{BatchPlace, length_in, put_batch};
use crate::format::header::{Descriptor, Form, LogHeader};
use crate::format::{BLOCK, LOG_START, Salt};
use crate::identity::{Identity, WalId};
use crate::layout::Layout;
use crate::lsn::{Lsn, LsnRange};

const SALT: Salt = Salt([0xa5; 16]);
const DESCRIPTOR: Descriptor = Descriptor { salt: SALT, form: Form::Log, own_names: false };
const HEADER: LogHeader =
    LogHeader { wal_id: WalId(0xab), segment: 3, descriptor: Some(DESCRIPTOR) };

/// The engines that the directory of temporary files allows.
fn engines() -> Vec<Engine> {
    let dir = tempfile::tempdir().unwrap();
    let probe = Writer::create(Engine::Direct, &dir.path().join("wal-1"), &HEADER, DESCRIPTOR, 1);
    match probe {
        Err(e) if direct::is_refused(&e) => vec![Engine::Okaywal],
        made => {
            drop(made.unwrap());
            vec![Engine::Direct, Engine::Okaywal]
        }
    }
}

/// A batch whose events have texts of these lengths, at the times from 500 on backwards.
fn batch(lengths: &[usize]) -> Batch {
    let mut batch = Batch::default();
    for (index, length) in (0..).zip(lengths) {
        let text = vec![b'a'; *length];
        let event = Event { timestamp_ms: 500 - index, cookies: Some(&text), ..Event::default() };
        batch.push(&event).unwrap();
    }
    batch
}

/// Empty, small, of many events, ending within, at and right behind a block, and as large as one
/// may be.
fn batches() -> Vec<Batch> {
    let mut batches: Vec<Batch> =
        [&[][..], &[], &[3], &[1; 200], &[9000, 0, 70_000], &[5]].map(batch).into();
    for length in (4096 - 100..4096 - 60).step_by(5) {
        batches.push(batch(&[length]));
    }
    batches.push(batch(&[EVENT_BYTES_MAX - 100; 3]));
    batches.push(batch(&[2, 0]));
    batches
}

/// The place of a batch in a log whose first LSN is 258.
fn place(id: u64, offset: u64, first: Lsn) -> BatchPlace {
    BatchPlace { salt: SALT, offset, base: Lsn(258), first, id, flags: 0 }
}

/// The bytes of a log with these batches, by the drawing.
fn drawn(batches: &[Batch]) -> Vec<u8> {
    let mut bytes = HEADER.encode(DESCRIPTOR);
    let mut next = Lsn(258);
    for (id, batch) in (2..).zip(batches) {
        let (start, unpadded) = (bytes.len(), batch.framed_bytes());
        bytes.resize(start + length_in(Form::Log, unpadded), 0xee);
        let target = &mut bytes[start..];
        put_batch(target, Form::Log, place(id, start as u64, next), unpadded, batch.events());
        next = next.plus(batch.len() as u64);
    }
    bytes
}

/// The bytes that an engine writes, and the size that the log has before the first batch.
fn written(engine: Engine, dir: &Path, batches: &[Batch], room: u64) -> (Vec<u8>, u64) {
    let path = dir.join("wal-1");
    let mut writer = Writer::create(engine, &path, &HEADER, DESCRIPTOR, room).unwrap();
    let prepared = std::fs::metadata(&path).unwrap().len();
    let (mut next, mut offset) = (Lsn(258), LOG_START as u64);
    for (id, batch) in (2..).zip(batches) {
        let told = writer.append(place(id, offset, next), batch).unwrap().map(<[u8]>::len);
        assert!(told.is_none_or(|told| told == length_in(Form::Log, batch.framed_bytes())));
        next = next.plus(batch.len() as u64);
        offset += length_in(Form::Log, batch.framed_bytes()) as u64;
    }
    drop(writer);
    (std::fs::read(path).unwrap(), prepared)
}

#[test]
fn every_engine_writes_the_bytes_of_the_drawing() {
    let batches = batches();
    let drawn = drawn(&batches);
    assert_eq!(&drawn[LOG_START..LOG_START + 9], b"\x01\x02\0\0\0\0\0\0\0");
    let (third, header) = (&drawn[LOG_START + 2 * BLOCK..], 16 + 8 + 8 + 8 + 4 + 4 + 4 + 4);
    assert_eq!(&third[..14], b"\x01\x04\0\0\0\0\0\0\0\x02\x38\0\0\0", "the batch of one event");
    let lsns = b"\0\x40\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0";
    let index = b"\0\0\0\0\0\x10\0\0\x01\0\0\0\x13\0\0\0";
    assert_eq!(third[14..14 + header], [&[0xa5; 16][..], lsns, index].concat());
    for engine in engines() {
        // Prepared for all of it, and for next to nothing: then the log grows.
        for room in [drawn.len() as u64 + 50_000, 1] {
            let dir = tempfile::tempdir().unwrap();
            let (bytes, prepared) = written(engine, dir.path(), &batches, room);
            assert!(prepared >= room, "{engine:?}: {prepared} of {room} bytes are prepared");
            assert!(bytes.len() >= drawn.len(), "{engine:?}: {} bytes", bytes.len());
            let differs = drawn.iter().zip(&bytes).position(|(drawn, written)| drawn != written);
            assert_eq!(differs, None, "{engine:?} with room for {room}");
            assert!(bytes[drawn.len()..].iter().all(|&byte| byte == 0), "{engine:?}");
        }
    }
}

#[test]
fn a_log_has_none_of_what_another_attempt_left() {
    for engine in engines() {
        let dir = tempfile::tempdir().unwrap();
        written(engine, dir.path(), &[batch(&[5000])], 100_000);
        let (bytes, _) = written(engine, dir.path(), &[], 1);
        assert_eq!(bytes[..LOG_START], drawn(&[]), "{engine:?}");
        assert!(bytes[LOG_START..].iter().all(|&byte| byte == 0), "{engine:?}");
    }
}

#[test]
fn what_a_log_says_of_itself_is_what_is_read_from_it() {
    for engine in engines() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        layout.create().unwrap();
        let identity = Identity::new(WalId(0xab));
        let mut log = ActiveLog::create(&layout, &identity, engine, 3, 8192).unwrap();
        let mut range = LsnRange::new(Lsn(7), 0);
        for batch in batches() {
            log.append(range.end, &batch).unwrap();
            range.end = range.end.plus(batch.len() as u64);
        }
        log.check_place().unwrap();
        let read = summarise(&layout, 3, None).unwrap();
        let said = log.close();
        assert_eq!((said.range, read.range), (Some(range), Some(range)), "{engine:?}");
        assert_eq!(said.timestamps, Some((500 - 199, 500)), "{engine:?}");
        assert_eq!(said.timestamps, read.timestamps, "{engine:?}");
        assert_eq!(said.data_end, read.data_end, "{engine:?}");
        assert_eq!(said.compact_end, read.compact_end, "{engine:?}");
        assert_eq!(said.header, read.header, "{engine:?}");
        assert_eq!((read.damage.len(), read.torn_bytes), (0, 0), "{engine:?}");
        let crc = read.crc.map(crc32fast::Hasher::finalize);
        let said = said.crc.map(crc32fast::Hasher::finalize);
        // Counted as long as that is worth its time, by an engine that tells what it writes.
        assert_eq!(said.is_some(), engine == Engine::Direct);
        assert!(said.is_none() || said == crc, "{engine:?}");
    }
}

#[test]
fn no_two_logs_have_one_salt_and_none_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    layout.create().unwrap();
    let identity = Identity::new(WalId(0xab));
    let salts: Vec<_> = (1..=20)
        .map(|number| {
            let log = ActiveLog::create(&layout, &identity, Engine::Auto, number, 1).unwrap();
            let header = log.close().header.unwrap();
            let salt = header.descriptor.unwrap().salt;
            let bytes = format!("{:?}", salt.0);
            assert!(!format!("{header:?}").contains(bytes.trim_matches(['[', ']'])));
            salt.0
        })
        .collect();
    for (index, salt) in salts.iter().enumerate() {
        assert!(!salts[..index].contains(salt) && *salt != [0; 16], "{index}");
    }
}

/// Builds before format 2 look for these 30 bytes and, for another version than theirs, say so and
/// leave the file alone.
#[test]
fn an_older_build_is_told_the_version_by_the_header_that_it_knows() {
    for form in [Form::Log, Form::Compact] {
        let bytes = HEADER.encode(Descriptor { form, ..DESCRIPTOR });
        assert_eq!(&bytes[..14], b"okw\0\x1esewer-wal");
        assert_eq!(bytes[14], 2, "where format 1 has its 1");
        assert_eq!(bytes[15..23], 0xab_u64.to_le_bytes());
        assert_eq!(bytes[23..31], 3_u64.to_le_bytes());
        assert_eq!(bytes[31..35], crc32c::crc32c(&bytes[5..31]).to_le_bytes());
    }
}
