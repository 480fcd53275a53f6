//! Sewer's write-ahead log: what [`Wal::append`] has returned for is on stable storage, and every
//! reader gets it back, whatever crashed in between.
//!
//! The modules, in the order in which the data goes:
//! - [`event`] one request and its bytes; [`batch`] the events of one fsync; [`lsn`] their numbers
//! - `entry` the bytes of a log; `active` a log being written; `blocks` files past the page cache
//! - [`wal`] append and roll; `sealer` the thread behind it; `seal` from log to segment;
//!   [`footer`] what a segment says of itself
//! - [`recovery`] what an opening process finds and mends; [`identity`] whose WAL it is
//! - [`layout`] names and durable renames; [`space`] how much room there is; [`sealed`] segments to
//!   be shipped
//! - [`reader`] every intact event of any file, and what is damaged
//!
//! ```
//! use std::time::Duration;
//! use sewer_wal::reader::{Item, Kind};
//! use sewer_wal::{Batch, Event, Layout, Lsn, SegmentReader, Wal, WalOptions, sealed};
//!
//! # let dir = tempfile::tempdir()?;
//! let layout = Layout::new(dir.path().join("wal"));
//! let options = WalOptions {
//!     segment_bytes: 64 << 20,
//!     roll_interval: Duration::from_secs(30),
//!     min_free_bytes: 0,
//! };
//! let (mut wal, _) = Wal::open(layout.clone(), options)?;
//! let mut batch = Batch::default();
//! batch.push(&Event { request_path: Some(b"/p"), ..Event::default() })?;
//! let lsns = wal.append(&batch)?; // now it is on stable storage
//! assert_eq!(lsns.first, Lsn(0));
//! wal.close()?; // and now it is sealed
//!
//! let segment = &sealed::list(&layout)?[0];
//! let mut reader = SegmentReader::open(&segment.path, Kind::Sealed)?;
//! let mut paths = Vec::new();
//! while let Some(item) = reader.next_item()? {
//!     match item {
//!         Item::Damage(damage) => panic!("{damage:?}"),
//!         Item::Batch(batch) => {
//!             for (_, bytes) in batch.events() {
//!                 paths.push(Event::decode(bytes)?.request_path.map(<[u8]>::to_vec));
//!             }
//!         }
//!     }
//! }
//! assert_eq!(paths, [Some(b"/p".to_vec())]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The crate is synchronous; nothing in it starts a thread but an open [`Wal`].

mod active;
pub mod batch;
mod blocks;
mod entry;
pub mod error;
pub mod event;
pub mod footer;
pub mod identity;
pub mod layout;
pub mod lsn;
pub mod reader;
pub mod recovery;
mod seal;
pub mod sealed;
mod sealer;
pub mod space;
pub mod wal;
mod window;

pub use batch::Batch;
pub use error::WalError;
pub use event::Event;
pub use identity::WalId;
pub use layout::Layout;
pub use lsn::{Lsn, LsnRange};
pub use reader::SegmentReader;
pub use wal::{Wal, WalOptions};
