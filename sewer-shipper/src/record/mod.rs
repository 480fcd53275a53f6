//! The record of an event, and the directory that it belongs to; and rows back from records.

pub mod access_log;
pub mod format;
pub mod partition;
pub mod rows;
pub(crate) mod tsv;
