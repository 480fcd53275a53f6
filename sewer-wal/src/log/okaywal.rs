//! The okaywal engine: a log written by the crate of that name, where there is no direct I/O.
//!
//! One `WriteAheadLog` per log, in the log's own directory, with these precautions:
//! - one thread commits, for a commit that fails leaves okaywal in a state in which the next one
//!   waits for ever; after an error it is dropped and never called again;
//! - its buffer holds a whole batch, so that it touches the file only in `commit`: an entry that is
//!   dropped unfinished would touch it again, and panic if that fails;
//! - it never checkpoints and never recycles a file, whose new name would not be durable.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use okaywal::{Configuration, LogVoid, WriteAheadLog};

use crate::batch::{BATCH_BYTES_MAX, Batch};
use crate::durable::set_file_mode;
use crate::format::BLOCK;
use crate::format::batch::{BatchPlace, header_bytes, length_in, padding_in, put_header};
use crate::format::header::{Descriptor, Form, LogHeader};

/// A log that okaywal writes.
#[derive(Debug)]
pub(super) struct OkaywalLog {
    log: WriteAheadLog,
    /// The data of the last batch header.
    header: Vec<u8>,
}

impl OkaywalLog {
    pub(super) fn create(
        path: &Path,
        header: &LogHeader,
        descriptor: Descriptor,
        bytes: u64,
    ) -> io::Result<Self> {
        // Otherwise okaywal would go on with what another attempt has left.
        match fs::remove_file(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            result => result?,
        }
        let dir = path.parent().ok_or(ErrorKind::InvalidInput)?;
        let bytes = u32::try_from(bytes.next_multiple_of(BLOCK as u64))
            .map_err(|_| io::Error::other("okaywal has no logs of 4 GiB"))?;
        let mut config = Configuration::default_for(dir)
            .preallocate_bytes(bytes)
            .checkpoint_after_bytes(u64::MAX)
            .buffer_bytes(BATCH_BYTES_MAX + 2 * BLOCK);
        config.version_info = Arc::new(header.info().to_vec());
        let log = config.open(LogVoid)?;
        // It makes its files with the mode that the umask leaves.
        set_file_mode(&File::open(path)?)?;
        let this = Self { log, header: Vec::new() };
        this.commit(1, &[&header.descriptor_chunk(descriptor)])?;
        Ok(this)
    }

    pub(super) fn append(&mut self, place: BatchPlace, batch: &Batch) -> io::Result<()> {
        static ZEROS: [u8; 2 * BLOCK] = [0; 2 * BLOCK];
        let unpadded = batch.framed_bytes();
        let mut header = std::mem::take(&mut self.header);
        header.resize(header_bytes(batch.len()), 0);
        let length = length_in(Form::Log, unpadded);
        put_header(&mut header, place, length, batch.events().map(<[u8]>::len));
        let padding = padding_in(Form::Log, unpadded).map(|length| &ZEROS[..length]);
        let chunks: Vec<_> =
            std::iter::once(&header[..]).chain(batch.events()).chain(padding).collect();
        let result = self.commit(place.id, &chunks);
        drop(chunks);
        self.header = header;
        result
    }

    fn commit(&self, id: u64, chunks: &[&[u8]]) -> io::Result<()> {
        let mut entry = self.log.begin_entry()?;
        debug_assert_eq!(entry.id().0, id);
        for chunk in chunks {
            if let Err(error) = entry.write_chunk(chunk) {
                // Dropped, it would write again, and panic if that fails, too.
                std::mem::forget(entry);
                return Err(error);
            }
        }
        entry.commit().map(drop)
    }
}
