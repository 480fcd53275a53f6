//! Sewer's write-ahead log.

pub mod event;
pub mod lsn;
