//! WALs written by the library: any events, with any timestamps, without a pixel.

use std::path::Path;
use std::time::Duration;

use sewer_wal::{Batch, Engine, Event, Layout, Wal, WalOptions};

/// How many events share a batch, as they do under load.
const BATCH_EVENTS: usize = 100;

/// Larger than any segment that is written here, so that segments end where they are told to.
const SEGMENT_BYTES: u64 = 1 << 30;

/// Appends the events to the WAL in `dir`, which is made if it is not there, and seals them as one
/// segment.
///
/// # Panics
/// If that cannot be done.
pub fn append_segment<'a>(dir: &Path, events: impl IntoIterator<Item = Event<'a>>) {
    let options = WalOptions {
        segment_bytes: SEGMENT_BYTES,
        roll_interval: Duration::from_hours(1),
        min_free_bytes: 0,
        engine: Engine::Auto,
    };
    let (mut wal, _) = Wal::open(Layout::new(dir), options).expect("open a WAL");
    let mut batch = Batch::default();
    for event in events {
        batch.push(&event).expect("an event of a test is not too large");
        if batch.len() == BATCH_EVENTS {
            wal.append(&std::mem::take(&mut batch)).expect("append to a WAL");
        }
    }
    wal.append(&batch).expect("append to a WAL");
    wal.close().expect("seal a WAL");
}
