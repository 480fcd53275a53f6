//! The end of a file: what only the footer and the next segment can tell.

use super::{Kind, SegmentReader};
use crate::error::{IoContext, WalError};
use crate::lsn::{Lsn, LsnRange};

impl SegmentReader {
    /// Reads what is left, and reports what is missing.
    pub(super) fn finish(&mut self) -> Result<(), WalError> {
        if self.kind == Kind::Active {
            return Ok(());
        }
        let Some(footer) = self.footer else {
            self.note_lost_end(self.next.offset, self.expected_end);
            return Ok(());
        };
        let stopped_at = self.window.offset();
        self.window.skip_to(footer.data_bytes).context("read", &self.path)?;
        self.is_as_sealed = footer.is_of(&self.window.crc());
        let end = footer.range().end;
        let none = LsnRange::new(end, 0);
        // Until the CRC of the whole file has been found right, a footer of format 1 may itself be
        // what is damaged.
        let is_sure = self.is_as_sealed || footer.has_own_crc();
        let is_short = self.next_lsn().unwrap_or(footer.base) < end;
        let has_unread = stopped_at < footer.data_bytes;
        if is_short && (is_sure || has_unread || self.is_damaged) {
            // A damaged count can be too large, and the next segment may be missing.
            let end =
                if is_sure { end } else { self.expected_end.map_or(end, |next| next.min(end)) };
            self.note_lost_end(stopped_at, Some(end));
        } else if self.is_as_sealed {
            if self.named.is_some_and(|named| named != footer.base) {
                self.note(footer.data_bytes, none, "file name is not its base");
            }
        } else if has_unread {
            self.note(stopped_at, none, "bytes between the last batch and the footer");
        }
        if !self.is_as_sealed && !self.is_damaged {
            self.note(footer.data_bytes, none, "CRC of the file");
        }
        Ok(())
    }

    /// Reports the events from the last batch that was read up to `end`, if that is known.
    fn note_lost_end(&mut self, offset: u64, end: Option<Lsn>) {
        if let (Some(first), Some(end)) = (self.next_lsn(), end)
            && first < end
        {
            self.note(offset, LsnRange { first, end }, "the segment's end is missing");
        }
    }
}
