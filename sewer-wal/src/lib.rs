//! Sewer's write-ahead log: what [`Wal::append`] has returned for is on stable storage, and every
//! reader gets it back, whatever crashed in between.
//!
//! The way of the data: an [`Event`] is encoded into a [`Batch`]; [`wal`] appends it to a log
//! (`log`), whose bytes `format` draws, and rolls; `seal` makes the log an immutable segment;
//! [`sealed`] lists, quarantines and deletes segments for who ships them; [`reader`] gives back
//! every intact event of any of these files. `recovery` makes whole what a dead process left, and
//! `succession` decides under which [`identity`] and from which LSN on.
//!
//! ```
//! use std::time::Duration;
//! use sewer_wal::reader::{Item, Kind};
//! use sewer_wal::{Batch, Engine, Event, Layout, Lsn, SegmentReader, Wal, WalOptions, sealed};
//!
//! # let dir = tempfile::tempdir()?;
//! let layout = Layout::new(dir.path().join("wal"));
//! let options = WalOptions {
//!     segment_bytes: 64 << 20,
//!     roll_interval: Duration::from_secs(30),
//!     min_free_bytes: 0,
//!     engine: Engine::Auto,
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

pub mod batch;
pub mod durable;
pub mod error;
pub mod event;
mod format;
pub mod identity;
mod layout;
mod lock;
mod log;
pub mod lsn;
pub mod reader;
mod recovery;
mod seal;
pub mod sealed;
pub mod space;
mod succession;
pub mod wal;

pub use batch::Batch;
pub use error::WalError;
pub use event::Event;
pub use format::footer::Footer;
pub use identity::{Identity, SegmentName, WalId};
pub use layout::Layout;
pub use lock::WalLock;
pub use log::Engine;
pub use lsn::{Lsn, LsnRange};
pub use reader::SegmentReader;
pub use recovery::{RecoveredLog, RecoveryReport};
pub use wal::{Wal, WalOptions};

/// The identity of the WAL in a directory, as a reader sees it: by the file `ID` or, if that is
/// damaged, by what lies there; `None` if there is no WAL.
///
/// # Errors
/// [`WalError::BadIdentity`] if `ID` is damaged and nothing else tells.
pub fn look_up_identity(layout: &Layout) -> Result<Option<Identity>, WalError> {
    succession::look(layout)
}
