//! Placeholder.

pub mod access_log;
pub mod cat;
pub mod codec;
pub mod format;
pub mod sequence_file;
pub mod writable;

#[cfg(test)]
mod testing;
