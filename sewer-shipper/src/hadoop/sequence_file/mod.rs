//! Hadoop's `SequenceFile`, version 6, as a pure encoder and a streaming reader.
//!
//! ```text
//! file    = header, record*                 uncompressed ("none")
//!         | header, block*                  BLOCK compression (every codec)
//! header  = "SEQ", version u8 = 6
//!           key class Text, value class Text
//!           compressed u8, block compressed u8        both 0 or both 1
//!           codec class Text                          if compressed
//!           count i32, (name Text, value Text)*       metadata, in byte order of the names
//!           sync [16]                                 the file's sync marker
//! mark    = -1 i32, sync [16]
//! record  = mark?, length i32 (key and value), key length i32, key, value
//! block   = mark, count VInt, key lengths, keys, value lengths, values
//! each of the four = size VInt, a stream of the codec: `count` VInts, or the bytes end to end
//! ```
//! All integers are big-endian. A record has a mark before it when 2,000 bytes or more have been
//! written since the last one; a block ends when its keys and values reach 1,000,000 bytes.
//!
//! The format has neither a length nor an end mark: a file that was cut exactly between two records
//! or blocks is a whole file with fewer records. Any other cut is an error.

mod header;
mod reader;
mod source;
mod writer;

pub use header::Header;
pub use reader::{Reader, Record};
pub use source::ReadError;
pub use writer::{RecordTooLarge, Writer};

/// The sync marker of one file.
pub type Sync = [u8; 16];

/// The most that a key and its value may have together. It keeps everything that [`Writer`] writes
/// below the limit of [`Reader`].
pub const RECORD_BYTES_MAX: usize = 128 * 1024 * 1024;
/// The most that the reader takes for a record, or for one of a block's four parts, whether
/// compressed or not: what a damaged length can cost.
const PART_BYTES_MAX: usize = 2 * RECORD_BYTES_MAX;
/// Where a header ends at the latest.
const HEADER_BYTES_MAX: usize = 1024 * 1024;

/// The first three bytes of every `SequenceFile`.
const MAGIC: [u8; 3] = *b"SEQ";
/// The one version that is written and read here.
const VERSION: u8 = 6;
/// What stands where a length is due and announces the sync marker.
const SYNC_ESCAPE: i32 = -1;

#[cfg(test)]
mod tests;
