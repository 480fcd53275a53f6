//! A large backlog in no time: the same events again and again, in a WAL of full segments.

use std::path::Path;
use std::time::Duration;

use sewer_wal::{Batch, Engine, Event, Layout, Wal, WalOptions};

use crate::random::Random;

/// How many events differ; the batch that has them is near the largest that a WAL takes.
const BATCH_EVENTS: u64 = 3_000;

/// All events are of this time, so that a shipment is one file.
const TIMESTAMP_MS: i64 = 1_700_000_000_000;

/// Writes segments of 64 MiB until there are so many bytes of events, of 1 KB each on the average,
/// and returns how many events that is.
///
/// # Panics
/// If the WAL cannot be written.
pub fn write(dir: &Path, bytes: u64) -> u64 {
    let options = WalOptions {
        segment_bytes: 64 << 20,
        roll_interval: Duration::from_hours(1),
        min_free_bytes: 1 << 30,
        engine: Engine::Auto,
    };
    let (mut wal, _) = Wal::open(Layout::new(dir), options).expect("make a WAL");
    let batch = batch();
    let mut written = 0;
    let mut events = 0;
    while written < bytes {
        wal.append(&batch).expect("append to the WAL");
        written += batch.framed_bytes() as u64;
        events += batch.len() as u64;
    }
    wal.close().expect("seal the WAL");
    events
}

/// Events as browsers send them: most of a KB is cookies and addresses, some of it the same in
/// every one, the rest as dense as identifiers are.
fn batch() -> Batch {
    let mut random = Random::new(1);
    let mut hex = |count: usize| -> String {
        (0..count).fold(String::new(), |text, _| text + &format!("{:016x}", random.next()))
    };
    let mut batch = Batch::default();
    for number in 0..BATCH_EVENTS {
        let path = format!("/pixel/{number}/view.gif");
        let query = format!("visitor={}&page=https%3A%2F%2Fshop.example%2Fitem%2F{number}", hex(2));
        let referer = format!("https://shop.example/category/shoes/item/{number}?from={}", hex(1));
        let cookies = format!(
            "session={}; consent=yes; cart={}; experiment=checkout-b; _ga=GA1.2.{}; token={}; lang=en",
            hex(6),
            hex(4),
            hex(2),
            hex(24)
        );
        let user_agent: &[u8] =
            b"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, \
            like Gecko) Chrome/126.0.0.0 Safari/537.36";
        let event = Event {
            timestamp_ms: TIMESTAMP_MS,
            ip: Some(b"203.0.113.77"),
            host: Some(b"pixel.shop.example"),
            request_path: Some(path.as_bytes()),
            query_string: Some(query.as_bytes()),
            referer: Some(referer.as_bytes()),
            user_agent: Some(user_agent),
            cookies: Some(cookies.as_bytes()),
            extra: Vec::new(),
        };
        batch.push(&event).expect("an event of 1 KB");
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_a_kilobyte() {
        let batch = batch();
        let mean = batch.framed_bytes() / batch.len();
        assert!((1000..1100).contains(&mean), "{mean}");
    }
}
