//! The header of a `SequenceFile`; drawn in the module above.

use super::source::{ReadError, Source};
use super::{HEADER_BYTES_MAX, MAGIC, Sync, VERSION};
use crate::hadoop::codec::Compression;
use crate::hadoop::writable::put_text;
use std::collections::BTreeMap;
use std::io::Read;

/// What a file says about itself before its first record. Encoded, it must stay below 1 MiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The Java class of the keys.
    pub key_class: String,
    /// The Java class of the values.
    pub value_class: String,
    /// How the blocks are compressed; with [`Compression::None`] there are records, not blocks.
    pub compression: Compression,
    /// Names and values, free in their meaning.
    pub metadata: BTreeMap<String, String>,
    /// The file's sync marker.
    pub sync: Sync,
}

impl Header {
    /// Appends the header's bytes to `out`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        out.push(VERSION);
        put_text(out, &self.key_class);
        put_text(out, &self.value_class);
        if let Some(class) = self.compression.codec_class() {
            out.extend_from_slice(&[1, 1]);
            put_text(out, class);
        } else {
            out.extend_from_slice(&[0, 0]);
        }
        let count = i32::try_from(self.metadata.len()).expect("a header is below 1 MiB");
        out.extend_from_slice(&count.to_be_bytes());
        // Java sorts a Text by its bytes, which is the order of a Rust string too.
        for (name, value) in &self.metadata {
            put_text(out, name);
            put_text(out, value);
        }
        out.extend_from_slice(&self.sync);
    }

    /// Reads the header that begins at the source's first byte.
    pub(super) fn read(source: &mut Source<impl Read>) -> Result<Self, ReadError> {
        let [m0, m1, m2, version] = source.array("magic number")?;
        if [m0, m1, m2] != MAGIC {
            return Err(foreign(0, "not a SequenceFile"));
        }
        if version != VERSION {
            return Err(foreign(3, format!("version {version} of the format, not {VERSION}")));
        }
        let key_class = text(source, "key class")?;
        let value_class = text(source, "value class")?;
        let compression = read_compression(source)?;
        let offset = source.offset();
        let count = source.i32("metadata count")?;
        if count < 0 {
            return Err(ReadError::Damaged { offset, part: "metadata count" });
        }
        let mut metadata = BTreeMap::new();
        for _ in 0..count {
            let name = text(source, "metadata name")?;
            metadata.insert(name, text(source, "metadata value")?);
        }
        let sync = source.array("sync marker of the header")?;
        Ok(Self { key_class, value_class, compression, metadata, sync })
    }
}

fn read_compression(source: &mut Source<impl Read>) -> Result<Compression, ReadError> {
    let offset = source.offset();
    match source.array("compression flags")? {
        [0, 0] => return Ok(Compression::None),
        [1, 1] => {}
        [1, 0] => return Err(foreign(offset, "compressed record by record, not by block")),
        _ => return Err(ReadError::Damaged { offset, part: "compression flags" }),
    }
    let offset = source.offset();
    let class = text(source, "codec class")?;
    Compression::from_codec_class(&class)
        .ok_or_else(|| foreign(offset, format!("compressed by the codec {class}")))
}

fn foreign(offset: u64, what: impl Into<String>) -> ReadError {
    ReadError::Foreign { offset, what: what.into() }
}

/// A Text within what a header may take.
fn text(source: &mut Source<impl Read>, part: &'static str) -> Result<String, ReadError> {
    let offset = source.offset();
    let used = usize::try_from(offset).unwrap_or(usize::MAX);
    let length = source.length(HEADER_BYTES_MAX.saturating_sub(used), part)?;
    let mut bytes = Vec::new();
    source.fill(length, &mut bytes, part)?;
    String::from_utf8(bytes).map_err(|_| ReadError::Damaged { offset, part })
}
