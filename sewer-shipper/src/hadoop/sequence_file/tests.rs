//! The format as a whole: golden bytes, round trips, cuts and damage.

use super::*;
use crate::hadoop::codec::Compression;
use sewer_test_support::random::Random;
use std::collections::BTreeMap;

const SYNC: Sync = *b"0123456789abcdef";

fn header(compression: Compression) -> Header {
    let metadata = [("b", "2"), ("a", "1")].map(|(name, value)| (name.into(), value.into()));
    Header {
        key_class: "K".into(),
        value_class: "V".into(),
        compression,
        metadata: BTreeMap::from(metadata),
        sync: SYNC,
    }
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn write(compression: Compression, pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(&header(compression));
    for (key, value) in pairs {
        writer.append(key, value).unwrap();
    }
    writer.finish();
    let file = writer.take();
    assert_eq!(writer.encoded_bytes(), file.len() as u64);
    file
}

fn read(file: &[u8]) -> Result<Pairs, ReadError> {
    let mut reader = Reader::new(file)?;
    let mut pairs = Vec::new();
    while let Some(Record { key, value }) = reader.next_record()? {
        pairs.push((key.to_vec(), value.to_vec()));
    }
    Ok(pairs)
}

/// Pairs of assorted sizes, about 1 KB on average.
fn pairs(count: usize) -> Pairs {
    let mut random = Random::new(7);
    let mut bytes = |bound| {
        let length = random.place(bound);
        random.bytes(length)
    };
    (0..count).map(|_| (bytes(50), bytes(2000))).collect()
}

const HEADER: &[u8] = b"SEQ\x06\x01K\x01V\0\0\0\0\0\x02\x01a\x011\x01b\x0120123456789abcdef";
const MARK: &[u8] = b"\xff\xff\xff\xff0123456789abcdef";

#[test]
fn headers_are_pinned_by_golden_bytes() {
    assert_eq!(write(Compression::None, &[]), HEADER);
    for (compression, class) in [
        (Compression::Snappy, &b"\x29org.apache.hadoop.io.compress.SnappyCodec"[..]),
        (Compression::Deflate, b"\x2aorg.apache.hadoop.io.compress.DefaultCodec"),
        (Compression::Gzip, b"\x27org.apache.hadoop.io.compress.GzipCodec"),
        (Compression::Bzip2, b"\x28org.apache.hadoop.io.compress.BZip2Codec"),
        (Compression::Lz4, b"\x26org.apache.hadoop.io.compress.Lz4Codec"),
        (Compression::Zstd, b"\x2corg.apache.hadoop.io.compress.ZStandardCodec"),
    ] {
        let golden = [&HEADER[..8], b"\x01\x01", class, &HEADER[10..]].concat();
        assert_eq!(write(compression, &[]), golden);
        assert_eq!(*Reader::new(&golden[..]).unwrap().header(), header(compression));
    }
}

#[test]
fn records_are_pinned_by_golden_bytes() {
    let pairs = [(b"k1".to_vec(), b"v".to_vec()), (Vec::new(), b"ww".to_vec())];
    let golden = [HEADER, b"\0\0\0\x03\0\0\0\x02k1v", b"\0\0\0\x02\0\0\0\0ww"].concat();
    assert_eq!(write(Compression::None, &pairs), golden);
}

#[test]
fn a_block_is_pinned_by_golden_bytes() {
    let pairs = [(b"k1".to_vec(), b"v".to_vec()), (b"k".to_vec(), Vec::new())];
    let file = write(Compression::Snappy, &pairs);
    let golden = [
        MARK,
        b"\x02",
        b"\x0c\0\0\0\x02\0\0\0\x04\x02\x04\x02\x01",
        b"\x0d\0\0\0\x03\0\0\0\x05\x03\x08k1k",
        b"\x0c\0\0\0\x02\0\0\0\x04\x02\x04\x01\0",
        b"\x0b\0\0\0\x01\0\0\0\x03\x01\0v",
    ]
    .concat();
    assert!(file.ends_with(&golden), "{}", file.escape_ascii());
    assert_eq!(file.len(), write(Compression::Snappy, &[]).len() + golden.len());
}

#[test]
fn marks_stand_where_hadoop_writes_them() {
    let head = HEADER.len();
    // The first record ends one byte before the interval, then exactly at it.
    for (value, marked) in [(2000 - 1 - head - 8, false), (2000 - head - 8, true)] {
        let file = write(Compression::None, &[(vec![], vec![1; value]), (vec![], vec![2])]);
        assert_eq!(file[head + 8 + value..].starts_with(MARK), marked);
        assert_eq!(read(&file).unwrap().len(), 2);
    }
}

#[test]
fn a_block_ends_at_its_millionth_byte() {
    let part = (b"k".to_vec(), vec![0; 499_999]);
    let file = write(Compression::Snappy, &[part.clone(), part.clone(), part.clone()]);
    let marks = file.windows(MARK.len()).filter(|window| *window == MARK).count();
    assert_eq!(marks, 2);
    assert_eq!(read(&file).unwrap(), [part.clone(), part.clone(), part]);
}

#[test]
fn what_is_written_is_read_back() {
    let mut pairs = pairs(3000);
    pairs.insert(1000, (b"long".to_vec(), b"value".repeat(500_000)));
    pairs.push((Vec::new(), Vec::new()));
    for compression in Compression::ALL {
        assert!(read(&write(compression, &pairs)).unwrap() == pairs, "{compression}");
    }
}

#[test]
fn draining_does_not_change_the_file() {
    let pairs = pairs(2500);
    for compression in Compression::ALL {
        let mut writer = Writer::new(&header(compression));
        let mut file = writer.take();
        for (key, value) in &pairs {
            writer.append(key, value).unwrap();
            let drained = writer.output().len() / 2;
            file.extend(writer.output().drain(..drained));
        }
        writer.finish();
        writer.finish();
        file.append(writer.output());
        assert!(file == write(compression, &pairs), "{compression}");
    }
}

#[test]
fn a_record_that_is_too_large_is_left_out() {
    let value = vec![0; RECORD_BYTES_MAX];
    for compression in [Compression::None, Compression::Snappy] {
        let mut writer = Writer::new(&header(compression));
        let refused = writer.append(b"k", &value);
        assert_eq!(refused, Err(RecordTooLarge { bytes: RECORD_BYTES_MAX + 1 }));
        writer.append(b"k", b"v").unwrap();
        writer.finish();
        assert_eq!(read(writer.output()).unwrap().len(), 1);
    }
}

/// The format cannot tell a cut between two records or blocks from the end of the file.
#[test]
fn every_other_cut_is_an_error() {
    for compression in Compression::ALL {
        let (file, boundaries) = file_with_boundaries(compression);
        for length in 0..=file.len() {
            let records = read(&file[..length]).map(|pairs| pairs.len()).ok();
            let whole = boundaries.get(&length).copied();
            assert_eq!(records, whole, "{compression} cut at {length} of {}", file.len());
        }
    }
}

/// A file of several records or blocks, and how many records lie before each boundary in it.
fn file_with_boundaries(compression: Compression) -> (Vec<u8>, BTreeMap<usize, usize>) {
    let mut writer = Writer::new(&header(compression));
    let mut file = writer.take();
    let mut boundaries = BTreeMap::from([(file.len(), 0)]);
    for (index, (key, value)) in pairs(6).iter().enumerate() {
        writer.append(key, value).unwrap();
        if compression == Compression::None && writer.output().starts_with(MARK) {
            boundaries.insert(file.len() + MARK.len(), index);
        }
        if index % 2 == 1 {
            writer.finish();
        }
        if !writer.output().is_empty() {
            file.append(writer.output());
            boundaries.insert(file.len(), index + 1);
        }
    }
    let expected = if compression == Compression::None { 9 } else { 4 };
    assert_eq!(boundaries.len(), expected, "{compression}: {boundaries:?}");
    (file, boundaries)
}

#[test]
fn damage_is_named_by_its_offset() {
    let file = write(Compression::Snappy, &pairs(3));
    let mark = write(Compression::Snappy, &[]).len();
    let damage = |at: usize, byte: u8| {
        let mut damaged = file.clone();
        damaged[at] = byte;
        read(&damaged).unwrap_err().to_string()
    };
    assert_eq!(damage(3, 5), "the file is version 5 of the format, not 6 (byte 3)");
    assert_eq!(damage(9, 0), "the file is compressed record by record, not by block (byte 8)");
    assert!(damage(20, b'!').contains("compressed by the codec org.apach!"));
    assert_eq!(damage(mark, 0), format!("the block at byte {mark} is damaged"));
    assert_eq!(damage(mark + 4, b'!'), format!("the sync marker at byte {} is damaged", mark + 4));
}

#[test]
fn a_false_length_takes_no_memory() {
    for (tail, error) in [
        (&b"\x7f\xff\xff\xff"[..], "claims 2147483647 bytes"),
        (b"\x80\0\0\0", "is damaged"),
        (b"\x0f\xff\xff\xff\0\0\0\0abc", "ends at byte"),
        (b"\0\0\0\x01\0\0\0\x02abc", "claims 2 bytes; at most 1"),
    ] {
        let file = [HEADER, tail].concat();
        let found = read(&file).unwrap_err().to_string();
        assert!(found.contains(error), "{found}");
    }
}

#[test]
fn no_damage_makes_it_panic() {
    let mut random = Random::new(9);
    for compression in Compression::ALL {
        let whole = write(compression, &pairs(5)[..]);
        for _ in 0..3_000 {
            let mut damaged = whole.clone();
            random.flip(&mut damaged);
            let _ = read(&damaged);
            let length = random.place(200);
            let noise = [&whole[..whole.len().min(90)], &random.bytes(length)].concat();
            let _ = read(&noise);
        }
    }
}
