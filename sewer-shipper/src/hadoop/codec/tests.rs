//! Every codec: golden bytes, round trips, cuts, damage, and what it takes of memory.

use super::*;
use sewer_test_support::random::Random;

const PACKED: [Compression; 6] = [
    Compression::Deflate,
    Compression::Gzip,
    Compression::Bzip2,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

fn compress(compression: Compression, input: &[u8]) -> Vec<u8> {
    let mut out = vec![0xee];
    compression.compressor().unwrap().compress(input, &mut out);
    assert_eq!(out.remove(0), 0xee, "what was there stays");
    out
}

#[test]
fn names_are_those_of_the_configuration() {
    assert_eq!(Compression::default(), Compression::Snappy);
    for compression in Compression::ALL {
        let json = format!("\"{compression}\"");
        assert_eq!(serde_json::to_string(&compression).unwrap(), json);
        assert_eq!(serde_json::from_str::<Compression>(&json).unwrap(), compression);
        assert_eq!(PACKED.contains(&compression), compression.compressor().is_some());
        if let Some(class) = compression.codec_class() {
            assert_eq!(Compression::from_codec_class(class), Some(compression));
        }
    }
}

#[test]
fn streams_are_pinned_by_golden_bytes() {
    for (compression, golden) in [
        (Compression::Deflate, &b"\x78\x9c\x4b\x4c\x4a\x06\0\x02\x4d\x01\x27"[..]),
        (
            Compression::Gzip,
            b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x4b\x4c\x4a\x06\0\xc2\x41\x24\x35\x03\0\0\0",
        ),
        (
            Compression::Bzip2,
            b"BZh11AY&SY\x64\x8c\xbb\x73\0\0\0\x01\0\x38\0\x20\0\x21\x98\x19\x84\x61\x77\x24\x53\
              \x85\x09\x06\x48\xcb\xb7\x30",
        ),
        (Compression::Snappy, b"\0\0\0\x03\0\0\0\x05\x03\x08abc"),
        (Compression::Lz4, b"\0\0\0\x03\0\0\0\x04\x30abc"),
        (Compression::Zstd, b"\x28\xb5\x2f\xfd\x24\x03\x19\0\0abc\x99\x09\x77\xad"),
    ] {
        let found = compress(compression, b"abc");
        assert_eq!(found, golden, "{compression}: {}", found.escape_ascii());
    }
    for compression in [Compression::Snappy, Compression::Lz4] {
        assert_eq!(compress(compression, b""), b"\0\0\0\0");
    }
}

/// The sizes are those of Hadoop's `SnappyCodec` and `Lz4Codec` with their defaults.
#[test]
fn a_buffer_longer_than_a_chunk_is_a_block_of_several() {
    for (compression, length, head, tail) in [
        (Compression::Snappy, 218_422, [0, 3, 0x55, 0x37], &b"\0\0\0\x03\x01\0\0\0\0\0\0"[..]),
        (Compression::Lz4, 261_100, [0, 3, 0xfb, 0xed], b"\0\0\0\x02\x10\0\0\0\0\0"),
    ] {
        let one = compress(compression, &vec![0; length]);
        let first = usize::try_from(u32::from_be_bytes(one[4..8].try_into().unwrap())).unwrap();
        assert_eq!(one.len(), 8 + first, "one chunk, and no end");
        let two = compress(compression, &vec![0; length + 1]);
        assert_eq!(two[..4], head, "the length of the whole buffer");
        assert!(two.ends_with(tail), "a chunk of one byte, then the end");
    }
}

/// Also one after the other: what a compressor keeps shows in no byte.
#[test]
fn buffers_of_every_size_round_trip_and_are_the_same_again() {
    let mut random = Random::new(1);
    let noise = random.bytes(530_000);
    let text = b"GET /pixel.gif?page=home&visitor=7f3a9c ".repeat(noise.len() / 40 + 1);
    for compression in PACKED {
        let mut compressor = compression.compressor().unwrap();
        for length in [0, 1, 100, 218_422, 218_423, 261_100, 261_101, noise.len()] {
            for input in [&noise[..length], &vec![b'a'; length], &text[..length]] {
                let (mut packed, mut read) = (Vec::new(), vec![1, 2, 3]);
                compressor.compress(input, &mut packed);
                compression.decompress(&packed, length, &mut read).unwrap();
                assert!(read == input, "{compression} {length}");
                if length == 218_422 {
                    assert!(packed == compress(compression, input), "{compression} {length}");
                }
            }
        }
    }
}

#[test]
fn output_is_bounded_and_every_cut_is_an_error() {
    let mut input = b"abcdefgh".repeat(1000);
    input.extend(Random::new(5).bytes(300));
    let mut out = Vec::new();
    for compression in PACKED {
        let packed = compress(compression, &input);
        for bytes_max in [0, 1, input.len() - 1] {
            assert_eq!(
                compression.decompress(&packed, bytes_max, &mut out),
                Err(CodecError::TooLong(bytes_max)),
                "{compression}"
            );
            assert!(out.capacity() < 4 * input.len(), "{compression}: {}", out.capacity());
        }
        for length in 1..packed.len() {
            let cut = compression.decompress(&packed[..length], input.len(), &mut out);
            assert!(cut.is_err(), "{compression} cut at {length}");
        }
        // Where the end of the buffer is the end of the stream, no bytes are an empty one.
        let none = compression.decompress(b"", input.len(), &mut out);
        let is_framed = matches!(compression, Compression::Snappy | Compression::Lz4);
        assert_eq!(none.is_ok(), is_framed, "{compression}");
        for surplus in [&[0][..], &[0, 0, 0, 0, 0], &packed] {
            let surplus = [&packed[..], surplus].concat();
            assert!(compression.decompress(&surplus, input.len(), &mut out).is_err());
        }
    }
}

#[test]
fn a_false_length_takes_no_memory() {
    for (compression, claim) in [
        (Compression::Snappy, &b"\x7f\xff\xff\xff\0\0\0\x05\xff\xff\xff\xff\x07"[..]),
        (Compression::Lz4, b"\x7f\xff\xff\xff\0\0\0\x05\xff\xff\xff\xff\x07"),
        // A frame of one segment, of 2 GiB as it says.
        (Compression::Zstd, b"\x28\xb5\x2f\xfd\xa0\xff\xff\xff\x7f\x19\0\0abc"),
        // A frame that wants a window of 128 MiB.
        (Compression::Zstd, b"\x28\xb5\x2f\xfd\x00\x88\x19\0\0abc"),
    ] {
        let mut out = Vec::new();
        let read = compression.decompress(claim, usize::MAX, &mut out);
        assert!(matches!(read, Err(CodecError::Damaged)), "{compression}: {read:?}");
        assert!(out.capacity() < 4096, "{compression}: {}", out.capacity());
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let mut random = Random::new(2);
    let mut out = Vec::new();
    for compression in PACKED {
        let packed = compress(compression, &b"some text, some more text".repeat(20));
        for _ in 0..3_000 {
            let mut damaged = packed.clone();
            random.flip(&mut damaged);
            let _ = compression.decompress(&damaged, 10_000, &mut out);
            let length = random.place(64);
            let _ = compression.decompress(&random.bytes(length), 10_000, &mut out);
            // Noise that begins as a stream does gets further.
            let head = random.place(packed.len().min(24));
            let noise = [&packed[..head], &random.bytes(length)].concat();
            let _ = compression.decompress(&noise, 10_000, &mut out);
            assert!(out.len() <= 10_001, "{compression}: {}", out.len());
        }
    }
}
