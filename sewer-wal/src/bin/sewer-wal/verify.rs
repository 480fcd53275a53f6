//! `sewer-wal verify`: is every byte as it was written, and does every LSN follow the last?

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use sewer_wal::reader::{Damage, Item};
use sewer_wal::{Layout, Lsn, LsnRange, SegmentReader, WalError, WalId};

use crate::sources::resolve;

/// Checks `paths` and prints a line per file and per damage; `false` if there was any.
pub fn run(out: &mut impl Write, paths: &[PathBuf]) -> anyhow::Result<bool> {
    let mut sound = true;
    for path in paths {
        let sources = resolve(path)?;
        if sources.whole_wal {
            for path in Layout::new(path).strangers_in_sealed()? {
                writeln!(out, "{}", WalError::Stranger { path })?;
                sound = false;
            }
        }
        let mut expected = BTreeMap::new();
        for source in sources.files {
            let file = source.path().to_path_buf();
            let expected = &mut expected;
            let mut check = Check { out, file: &file, expected, joins: sources.whole_wal, sound };
            match source.open() {
                Ok(Some(reader)) => check.file(reader)?,
                Ok(None) => continue,
                // The others are checked all the same.
                Err(error) => check.unreadable(&error)?,
            }
            sound = check.sound;
        }
    }
    Ok(sound)
}

/// One line that tells an operator what is lost and where.
pub fn describe(file: &Path, damage: &Damage) -> String {
    let lost = if damage.lost.is_empty() {
        "no event known to be lost".to_owned()
    } else {
        format!("lost {} events, LSN {}", damage.lost.count(), damage.lost)
    };
    format!("{}: damaged at byte {}: {}; {lost}", file.display(), damage.offset, damage.reason)
}

struct Check<'a, W> {
    out: &'a mut W,
    file: &'a Path,
    /// The LSN that the next file of each WAL must begin with, once one has been read.
    expected: &'a mut BTreeMap<Option<WalId>, Lsn>,
    /// Whether files must join at all.
    joins: bool,
    sound: bool,
}

impl<W: Write> Check<'_, W> {
    fn unreadable(&mut self, error: &anyhow::Error) -> anyhow::Result<()> {
        self.sound = false;
        Ok(writeln!(self.out, "{error:#}")?)
    }

    fn file(&mut self, mut reader: SegmentReader) -> anyhow::Result<()> {
        let (mut events, mut first, mut sound) = (0, None, true);
        loop {
            let item = match reader.next_item() {
                Ok(Some(item)) => item,
                Ok(None) => break,
                Err(error) => return self.unreadable(&error.into()),
            };
            match item {
                Item::Damage(damage) => {
                    writeln!(self.out, "{}", describe(self.file, &damage))?;
                    sound = false;
                }
                Item::Batch(batch) => {
                    first.get_or_insert(batch.range.first);
                    events += batch.events().count();
                }
            }
        }
        let Some(end) = reader.next_lsn().filter(|_| first.is_some() || reader.footer().is_some())
        else {
            self.sound &= sound;
            return Ok(());
        };
        let begin = reader.footer().map_or(first, |footer| Some(footer.base)).unwrap_or(end);
        let id = reader.header().map(|header| header.wal_id);
        sound &= self.join(id, begin, end)?;
        if sound {
            let range = LsnRange { first: begin, end };
            writeln!(self.out, "{}: ok, {events} events, LSN {range}", self.file.display())?;
        }
        self.sound &= sound;
        Ok(())
    }

    /// Whether a file that spans `begin..end` follows the one before it.
    fn join(&mut self, id: Option<WalId>, begin: Lsn, end: Lsn) -> anyhow::Result<bool> {
        let expected = self.expected.get(&id).copied();
        self.expected.insert(id, expected.unwrap_or_default().max(end));
        let Some(expected) = expected.filter(|_| self.joins) else { return Ok(true) };
        // A log that was sealed while we looked comes twice.
        if begin > expected {
            let gap = LsnRange { first: expected, end: begin };
            let file = self.file.display();
            writeln!(self.out, "{file}: {} events are missing before it, LSN {gap}", gap.count())?;
            return Ok(false);
        }
        Ok(true)
    }
}
