//! The size of a WAL: a log pads each batch to blocks, a sealed segment hardly takes more than in
//! format 1. With `--nocapture` it prints the table of `sewer-wal/README.md`.

use std::fs;

use sewer_wal::{Batch, Event, Wal, sealed};

use crate::common::{engines, options, wal_in_memory};

/// An event as browsers send them, of about 430 bytes.
fn event<'a>(path: &'a str, query: &'a str) -> Event<'a> {
    Event {
        timestamp_ms: 1_700_000_000_000,
        ip: Some(b"203.0.113.77"),
        host: Some(b"pixel.shop.example"),
        request_path: Some(path.as_bytes()),
        query_string: Some(query.as_bytes()),
        referer: Some(b"https://shop.example/category/shoes/item/4711?from=newsletter"),
        user_agent: Some(
            b"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
              Chrome/126.0.0.0 Safari/537.36",
        ),
        cookies: Some(
            b"session=0123456789abcdef0123456789abcdef; consent=yes; cart=0011223344556677; _ga=GA1.2.1234567890.1; lang=en",
        ),
        extra: Vec::new(),
    }
}

/// What format 1 takes: an entry's frame and header, and a chunk for each event.
fn format_1(batches: u64, events: u64, event_bytes: u64) -> u64 {
    35 + batches * 31 + events * 9 + event_bytes
}

#[test]
fn a_segment_takes_hardly_more_than_in_format_1() {
    println!("bytes per event | format 1 | log | sealed segment");
    for engine in engines() {
        for count in [1, 10, 40] {
            let (_dir, layout) = wal_in_memory();
            let mut wal = Wal::open(layout.clone(), options(engine)).unwrap().0;
            let (batches, mut number, mut bytes) = (4000 / count, 0, 0);
            for _ in 0..batches {
                let mut batch = Batch::default();
                for _ in 0..count {
                    let path = format!("/pixel/{number:06}/view.gif");
                    let query = format!("visitor={number:032x}&page=%2Fitem%2F{number:06}");
                    batch.push(&event(&path, &query)).unwrap();
                    number += 1;
                }
                bytes += batch.events().map(<[u8]>::len).sum::<usize>() as u64;
                wal.append(&batch).unwrap();
            }
            let old = format_1(batches, number, bytes);
            let log = wal.segment_bytes();
            wal.close().unwrap();
            let segment = sealed::list(&layout).unwrap().remove(0);
            assert_eq!(fs::metadata(segment.path).unwrap().len(), segment.bytes);
            let per_event = |bytes: u64| bytes.div_ceil(number);
            println!(
                "{engine:?}, {count} a batch, {} bytes | {} | {} | {}",
                per_event(bytes),
                per_event(old + 64),
                per_event(log),
                per_event(segment.bytes)
            );
            assert!(log.is_multiple_of(4096) && log <= old + (batches + 5) * 4096);
            // A quarter of padding at most, and 40 bytes for what proves a batch, 4 for an event.
            let most = (old + batches * 40 + number * 4) * 4 / 3 + 3 * 4096;
            assert!(segment.bytes <= most, "{} of {most} bytes", segment.bytes);
        }
    }
}
