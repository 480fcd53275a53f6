#![doc = include_str!("../README.md")]
//!
//! # The modules
//!
//! The way of the data: an [`Event`] is encoded into a [`Batch`]; [`wal`] appends it to a log
//! (`log`), whose bytes `format` draws, and rolls; `seal` makes the log an immutable segment;
//! [`sealed`] lists, quarantines and deletes segments for who ships them; [`reader`] gives back
//! every intact event of any of these files. `recovery` makes whole what a dead process left, and
//! `succession` decides under which [`identity`] and from which LSN on.

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
