//! One log being written: the only module that writes through okaywal.
//!
//! An okaywal log serves one segment. It is made with its whole size zero-filled and synced,
//! appended to by one thread, and never reopened, recycled or checkpointed by okaywal, whose
//! recycling does not sync the directory before it reports success.
//!
//! okaywal can panic when a write fails inside an entry, and waits for ever after a failed sync.
//! So an entry is collected whole in okaywal's buffer, which is as large as the largest batch;
//! the one write happens in `commit`, which reports a failure as an error; and after an error the
//! log is not touched again.
//!
//! The first commit into a log also syncs the log's own directory, once, inside okaywal. The
//! directory has been synced before, so that this writes nothing new.

use std::fs::File;
use std::sync::Arc;

use okaywal::{Configuration, LogVoid, WriteAheadLog};

use crate::batch::{BATCH_BYTES_MAX, Batch};
use crate::entry::{LOG_HEADER_BYTES, LogHeader, batch_header};
use crate::error::{IoContext, WalError};
use crate::footer::FOOTER_BYTES;
use crate::identity::WalId;
use crate::layout::{Layout, create_dir_durably, sync_dir};
use crate::lsn::Lsn;

/// A log that takes batches.
#[derive(Debug)]
pub(crate) struct ActiveLog {
    layout: Layout,
    number: u64,
    log: WriteAheadLog,
    /// The bytes written: the header and every committed entry.
    bytes: u64,
}

impl ActiveLog {
    /// Makes the log of segment `number` with room for `data_bytes`, ready and durable: what it
    /// takes from the disk it has when this returns.
    pub(crate) fn create(
        layout: &Layout,
        wal_id: WalId,
        number: u64,
        data_bytes: u64,
    ) -> Result<Self, WalError> {
        let dir = layout.log_dir(number);
        create_dir_durably(&dir)?;
        // The footer fits as well, so that sealing never needs a new block.
        let room = data_bytes.saturating_add(FOOTER_BYTES as u64);
        let log = Configuration::default_for(&dir)
            .preallocate_bytes(u32::try_from(room).unwrap_or(u32::MAX))
            .checkpoint_after_bytes(u64::MAX)
            .buffer_bytes(BATCH_BYTES_MAX)
            .open_with_version(LogHeader { wal_id, segment: number }.version_info())
            .context("create log in", &dir)?;
        let file = layout.log_file(number);
        File::open(&file).and_then(|file| file.sync_all()).context("sync", &file)?;
        sync_dir(&dir)?;
        Ok(Self { layout: layout.clone(), number, log, bytes: LOG_HEADER_BYTES as u64 })
    }

    /// Appends a batch, which may be empty, and returns once it is on stable storage.
    ///
    /// # Errors
    /// After any error the log must not be used again.
    pub(crate) fn append(&mut self, first: Lsn, batch: &Batch) -> Result<(), WalError> {
        let bytes = batch.framed_bytes();
        debug_assert!(bytes <= BATCH_BYTES_MAX, "the caller checks the size of a batch");
        self.commit(first, batch).context("append to", &self.layout.log_file(self.number))?;
        self.bytes += bytes as u64;
        Ok(())
    }

    fn commit(&self, first: Lsn, batch: &Batch) -> std::io::Result<()> {
        let count = u32::try_from(batch.len()).expect("4 MiB hold fewer than 2^32 events");
        let mut entry = self.log.begin_entry()?;
        entry.write_chunk(&batch_header(first, count))?;
        for event in batch.events() {
            entry.write_chunk(event)?;
        }
        entry.commit().map(drop)
    }

    /// The segment's number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The bytes written so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Lets go of the log, so that its file can be sealed.
    pub(crate) fn close(self) -> Result<(), WalError> {
        self.log.shutdown().context("close log in", &self.layout.log_dir(self.number))
    }
}

trait OpenWithVersion {
    fn open_with_version(self, info: Vec<u8>) -> std::io::Result<WriteAheadLog>;
}

impl OpenWithVersion for Configuration {
    fn open_with_version(mut self, info: Vec<u8>) -> std::io::Result<WriteAheadLog> {
        self.version_info = Arc::new(info);
        self.open(LogVoid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;

    #[test]
    fn okaywal_writes_the_bytes_of_the_drawing() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        layout.create().unwrap();
        let mut log = ActiveLog::create(&layout, WalId(0xab), 3, 4096).unwrap();
        let mut batch = Batch::default();
        batch.push(&Event { ip: Some(b"::1"), ..Event::default() }).unwrap();
        log.append(Lsn(258), &batch).unwrap();
        log.append(Lsn(259), &Batch::default()).unwrap();
        let bytes = usize::try_from(log.bytes()).unwrap();
        log.close().unwrap();

        let file = std::fs::read(layout.log_file(3)).unwrap();
        assert_eq!(file.len(), 4096 + FOOTER_BYTES);
        let golden = b"okw\0\x1esewer-wal\x01\xab\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0+\x1d8\x8a\
            \x01\x01\0\0\0\0\0\0\0\x02\x0c\0\0\0\x02\x01\0\0\0\0\0\0\x01\0\0\0";
        assert_eq!(&file[..golden.len()], golden);
        let event = b"\x02\x13\0\0\0\x01\0\0\0\0\0\0\0\0\x01\x03\0\0\0::1\0\0";
        let after_crc = golden.len() + 4;
        assert_eq!(&file[after_crc..after_crc + event.len()], event);
        let second = after_crc + event.len() + 4 + 1;
        assert_eq!(file[second - 1], 3);
        assert_eq!(&file[second..second + 2], b"\x01\x02");
        assert_eq!(file[bytes - 1], 3);
        assert!(file[bytes..].iter().all(|&byte| byte == 0));
    }
}
