//! The shipper: sealed segments in, SequenceFiles at a destination out, each event exactly once.

pub mod access_log;
pub mod cat;
pub mod codec;
pub mod destination;
pub mod format;
pub mod sequence_file;
pub mod writable;

#[cfg(test)]
mod testing;
