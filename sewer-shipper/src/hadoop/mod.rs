//! Hadoop's own bytes: `Writable` values, the framing of its codecs, and the `SequenceFile`.

pub mod codec;
pub mod sequence_file;
pub mod writable;
