//! One log being written: the bytes of one segment until it is sealed.
//!
//! The file is made with its whole size zero-filled and synced, so that a commit is one write into
//! blocks that the disk has already, and one fdatasync that has nothing but these to write. A commit
//! begins at the block in which the last one ended, and repeats what is there: each sector gets the
//! bytes that it had, and new ones behind them.
//!
//! A log is appended to by one thread, and never reopened. After an error it is not touched again.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::batch::{BATCH_BYTES_MAX, Batch};
use crate::blocks::{BLOCK, Blocks, create_zeroed};
use crate::entry::{LOG_HEADER_BYTES, LogHeader, put_entry};
use crate::error::{IoContext, WalError};
use crate::footer::FOOTER_BYTES;
use crate::identity::WalId;
use crate::layout::{Layout, create_dir_durably, sync_dir};
use crate::lsn::{Lsn, LsnRange};
use crate::seal::LogSummary;

/// A log that takes batches.
#[derive(Debug)]
pub(crate) struct ActiveLog {
    layout: Layout,
    wal_id: WalId,
    number: u64,
    file: File,
    /// The last, incomplete block of what was written, and room for a batch behind it.
    buffer: Blocks,
    /// The bytes written: the header and every committed entry.
    bytes: u64,
    entries: u64,
    range: Option<LsnRange>,
    timestamps: Option<(i64, i64)>,
    crc: crc32fast::Hasher,
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
        let path = layout.log_file(number);
        // The footer fits as well, so that sealing never needs a new block.
        let room = data_bytes.saturating_add(FOOTER_BYTES as u64);
        let file = create_zeroed(&path, room).context("make", &path)?;
        let header = LogHeader { wal_id, segment: number }.encode();
        let mut crc = crc32fast::Hasher::new();
        crc.update(&header);
        let mut buffer = Blocks::zeroed(BLOCK + BATCH_BYTES_MAX.next_multiple_of(BLOCK));
        buffer.bytes_mut()[..LOG_HEADER_BYTES].copy_from_slice(&header);
        file.write_all_at(&buffer.bytes()[..BLOCK], 0).context("write header of", &path)?;
        file.sync_all().context("sync", &path)?;
        sync_dir(&dir)?;
        Ok(Self {
            layout: layout.clone(),
            wal_id,
            number,
            file,
            buffer,
            bytes: LOG_HEADER_BYTES as u64,
            entries: 0,
            range: None,
            timestamps: None,
            crc,
        })
    }

    /// Appends a batch, which may be empty, and returns once it is on stable storage.
    ///
    /// # Errors
    /// After any error the log must not be used again.
    pub(crate) fn append(&mut self, first: Lsn, batch: &Batch) -> Result<(), WalError> {
        debug_assert!(
            batch.framed_bytes() <= BATCH_BYTES_MAX,
            "the caller checks the size of a batch"
        );
        self.commit(first, batch).context("append to", &self.layout.log_file(self.number))?;
        let range = LsnRange::new(first, batch.len() as u64);
        self.range.get_or_insert(range).end = range.end;
        if let Some((first, last)) = batch.timestamps() {
            let of_all = self.timestamps.get_or_insert((first, last));
            *of_all = (of_all.0.min(first), of_all.1.max(last));
        }
        Ok(())
    }

    fn commit(&mut self, first: Lsn, batch: &Batch) -> std::io::Result<()> {
        let block = BLOCK as u64;
        let begin = usize::try_from(self.bytes % block).expect("less than a block");
        let buffer = self.buffer.bytes_mut();
        let end = begin + put_entry(&mut buffer[begin..], self.entries + 1, first, batch);
        buffer[end..end.next_multiple_of(BLOCK)].fill(0);
        let blocks = &buffer[..end.next_multiple_of(BLOCK)];
        self.file.write_all_at(blocks, self.bytes / block * block)?;
        self.file.sync_data()?;
        self.crc.update(&buffer[begin..end]);
        buffer.copy_within(end / BLOCK * BLOCK..end, 0);
        self.entries += 1;
        self.bytes += (end - begin) as u64;
        Ok(())
    }

    /// The segment's number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The bytes written so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ends it: what it holds, to be sealed. Nothing of that need be read again, for all of it has
    /// been written by this process, without an error.
    pub(crate) fn close(self) -> LogSummary {
        LogSummary {
            range: self.range,
            damage: Vec::new(),
            torn_bytes: 0,
            wal_id: Some(self.wal_id),
            timestamps: self.timestamps,
            data_end: self.bytes,
            crc: self.crc,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::seal::summarise;

    fn log(data_bytes: u64) -> (tempfile::TempDir, ActiveLog) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        layout.create().unwrap();
        let log = ActiveLog::create(&layout, WalId(0xab), 3, data_bytes).unwrap();
        (dir, log)
    }

    #[test]
    fn the_bytes_are_those_of_the_drawing() {
        let (_dir, mut log) = log(4096);
        let mut batch = Batch::default();
        batch.push(&Event { ip: Some(b"::1"), ..Event::default() }).unwrap();
        log.append(Lsn(258), &batch).unwrap();
        log.append(Lsn(259), &Batch::default()).unwrap();
        let bytes = usize::try_from(log.bytes()).unwrap();

        let file = std::fs::read(log.layout.log_file(3)).unwrap();
        assert_eq!(file.len(), 2 * BLOCK, "the footer has room as well");
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

    /// The format is okaywal's own: it writes the same batches to the same bytes.
    #[test]
    fn okaywal_writes_the_same_bytes() {
        let (dir, mut log) = log(1 << 20);
        let theirs = dir.path().join("okaywal");
        let mut config = okaywal::Configuration::default_for(&theirs)
            .preallocate_bytes(1 << 20)
            .checkpoint_after_bytes(u64::MAX)
            .buffer_bytes(BATCH_BYTES_MAX);
        let header = LogHeader { wal_id: WalId(0xab), segment: 3 }.encode();
        config.version_info = std::sync::Arc::new(header[5..].to_vec());
        let okaywal = config.open(okaywal::LogVoid).unwrap();
        for (base, events) in [(0, 3_u64), (3, 0), (3, 1), (4, 200)] {
            let mut batch = Batch::default();
            for number in 0..events {
                let text = vec![b'x'; usize::try_from(number * 7).unwrap()];
                let event = Event { cookies: Some(&text), ..Event::default() };
                batch.push(&event).unwrap();
            }
            log.append(Lsn(base), &batch).unwrap();
            let mut entry = okaywal.begin_entry().unwrap();
            let header = [&base.to_le_bytes()[..], &events.to_le_bytes()[..4]].concat();
            entry.write_chunk(&header).unwrap();
            for event in batch.events() {
                entry.write_chunk(event).unwrap();
            }
            entry.commit().unwrap();
        }
        let length = usize::try_from(log.bytes()).unwrap();
        let ours = std::fs::read(log.layout.log_file(3)).unwrap();
        let theirs = std::fs::read(theirs.join("wal-1")).unwrap();
        assert!(ours[..length] == theirs[..length], "{length} bytes are not the same");
    }

    #[test]
    fn what_it_says_of_itself_is_what_is_read_from_it() {
        // Batches that end within, at and beyond a block; the log grows over its first size.
        let (_dir, mut log) = log(8192);
        let mut next = Lsn(7);
        for length in [0, 1, 3000, 4000, 4096, 9000, 70_000, 5] {
            let text = vec![b'a'; length];
            let mut batch = Batch::default();
            for timestamp_ms in [500 - i64::try_from(length).unwrap(), 500] {
                let event = Event { timestamp_ms, cookies: Some(&text), ..Event::default() };
                batch.push(&event).unwrap();
            }
            log.append(next, &batch).unwrap();
            next = LsnRange::new(next, 2).end;
        }
        let read = summarise(&log.layout, 3).unwrap();
        let said = log.close();
        assert_eq!(said.range, Some(LsnRange { first: Lsn(7), end: next }));
        assert_eq!(said.range, read.range);
        assert_eq!(said.timestamps, Some((500 - 70_000, 500)));
        assert_eq!(said.timestamps, read.timestamps);
        assert_eq!(said.data_end, read.data_end);
        assert_eq!(said.crc.finalize(), read.crc.finalize());
        assert_eq!((read.damage.len(), read.torn_bytes, read.wal_id), (0, 0, said.wal_id));
    }
}
