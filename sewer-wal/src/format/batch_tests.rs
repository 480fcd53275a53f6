//! The bytes of a batch, and what a reader makes of damaged ones.

use super::batch::*;
use super::header::Form;
use super::*;
use crate::lsn::{Lsn, LsnRange};

const SALT: Salt = Salt([0x5a; 16]);

fn event(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    crate::Event { cookies: Some(text), ..crate::Event::default() }.encode(&mut bytes).unwrap();
    bytes
}

fn batch(form: Form, events: &[Vec<u8>]) -> Vec<u8> {
    let data: usize = events.iter().map(Vec::len).sum();
    let unpadded = BATCH_OVERHEAD + events.len() * EVENT_OVERHEAD + data;
    let mut bytes = vec![0xee; length_in(form, unpadded)];
    let events = events.iter().map(Vec::as_slice);
    let (base, first) = (Lsn(3), Lsn(5));
    let place = BatchPlace { salt: SALT, offset: 9, base, first, id: 7, flags: 0 };
    assert_eq!(put_batch(&mut bytes, form, place, unpadded, events), bytes.len());
    bytes
}

#[test]
fn the_bytes_are_those_of_the_drawing() {
    let (a, b) = (event(b"a"), event(b""));
    let bytes = batch(Form::Log, &[a.clone(), b.clone()]);
    assert_eq!(bytes.len(), BLOCK);
    let length = |data: &[u8]| u32::try_from(data.len()).unwrap().to_le_bytes();
    let header = [&[0x5a; 16][..], b"\x09\0\0\0\0\0\0\0"].concat();
    let header =
        [&header[..], b"\x03\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\x02\0\0\0"].concat();
    let header = [&header[..], &length(&a), &length(&b)].concat();
    let mut golden = b"\x01\x07\0\0\0\0\0\0\0".to_vec();
    let used = 9 + 9 + header.len() + 9 + a.len() + 9 + b.len() + 1;
    let zeros = vec![0; BLOCK - used - 9];
    for data in [&header, &a, &b, &zeros] {
        golden.push(2);
        golden.extend_from_slice(&length(data));
        golden.extend_from_slice(data);
        golden.extend_from_slice(&crc32c::crc32c(data).to_le_bytes());
    }
    golden.push(3);
    assert!(bytes == golden);
    assert_eq!(used, BATCH_OVERHEAD + 2 * EVENT_OVERHEAD + a.len() + b.len());
    assert_eq!(batch(Form::Compact, &[a, b]).len(), used);
}

#[test]
fn zeros_have_the_crc_that_is_kept_for_them() {
    for length in [0, 1, 7, 8, 4095, BLOCK, 2 * BLOCK - 1] {
        assert_eq!(crc_of_zeros(length), crc32c::crc32c(&vec![0; length]), "{length}");
    }
}

#[test]
fn a_batch_ends_on_a_block_whatever_its_events_take() {
    for length in 3900..4200 {
        let bytes = batch(Form::Log, &[event(&vec![b'x'; length])]);
        assert_eq!(bytes.len() % BLOCK, 0, "{length}");
        let mut slots = Vec::new();
        let entry = parse_batch(9, &bytes, SALT, Form::Log, &mut slots).unwrap();
        assert_eq!((entry.id, entry.length), (7, bytes.len()));
        assert_eq!(slots[0].flaw, None);
    }
}

#[test]
fn a_batch_is_read_whole_or_not_at_all() {
    let bytes = batch(Form::Compact, &[event(b"a"), event(b"")]);
    let mut slots = Vec::new();
    let entry = parse_batch(9, &bytes, SALT, Form::Compact, &mut slots).unwrap();
    assert_eq!((entry.id, entry.base), (7, Some(Lsn(3))));
    assert_eq!(entry.range, LsnRange::new(Lsn(5), 2));
    for cut in 0..bytes.len() {
        let cut = &bytes[..cut];
        assert_eq!(parse_batch(9, cut, SALT, Form::Compact, &mut slots), Err(NoEntry::Incomplete));
    }
}

#[test]
fn in_another_place_it_is_no_batch() {
    let bytes = batch(Form::Compact, &[event(b"a")]);
    for place in [0, 8, 10, 9 + BLOCK as u64] {
        let found = parse_batch(place, &bytes, SALT, Form::Compact, &mut Vec::new());
        assert_eq!(found, Err(NoEntry::Invalid("batch of another place")));
    }
}

#[test]
fn without_the_salt_it_is_no_batch() {
    let bytes = batch(Form::Compact, &[event(b"a")]);
    for bit in 0..128 {
        let mut salt = SALT;
        salt.0[bit / 8] ^= 1 << (bit % 8);
        let found = parse_batch(9, &bytes, salt, Form::Compact, &mut Vec::new());
        assert_eq!(found, Err(NoEntry::Invalid("no batch of this log")));
    }
}

/// No flipped bit moves an event, or costs another than the one that it is in.
#[test]
fn a_flipped_bit_costs_its_event_or_the_batch() {
    let events = [event(b"a"), event(b"bc"), event(b"")];
    let bytes = batch(Form::Compact, &events);
    let mut slots = Vec::new();
    for bit in 9 * 8..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        if parse_batch(9, &damaged, SALT, Form::Compact, &mut slots).is_err() {
            assert!(bit / 8 < HEADER_AT + header_bytes(3) + 4, "bit {bit}");
            continue;
        }
        let flawed = slots.iter().filter(|slot| slot.flaw.is_some()).count();
        assert!(flawed <= 1, "bit {bit}");
        for (slot, event) in slots.iter().zip(&events) {
            let data = &damaged[slot.start..slot.end];
            assert!(slot.flaw.is_some() || data == event, "bit {bit}");
        }
    }
}
