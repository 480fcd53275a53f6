//! `sewer-wal dump`: the events themselves.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;
use sewer_wal::reader::Item;
use sewer_wal::{Event, Lsn, SegmentReader};

use crate::sources::resolve;

/// The way in which an event is printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Format {
    /// `lsn`, `timestamp` and the seven fields, tab-separated, `-` for absent.
    Text,
    /// One object per line.
    Json,
}

/// Prints the events of `paths`; `false` if there was damage.
pub fn run(
    out: &mut impl Write,
    format: Format,
    from: Lsn,
    to: Option<Lsn>,
    paths: &[PathBuf],
) -> anyhow::Result<bool> {
    let mut sound = true;
    for path in paths {
        let mut seen = BTreeMap::new();
        for source in resolve(path)?.files {
            let Some(mut reader) = source.open()? else { continue };
            let seen = seen.entry(reader.header().map(|header| header.wal_id)).or_default();
            sound &= Printer { out, format, from, to, seen }.print(&mut reader)?;
        }
    }
    Ok(sound)
}

struct Printer<'a, W> {
    out: &'a mut W,
    format: Format,
    from: Lsn,
    to: Option<Lsn>,
    /// The LSN after the last event seen of this WAL: a log that was sealed meanwhile comes twice.
    seen: &'a mut Lsn,
}

impl<W: Write> Printer<'_, W> {
    fn print(&mut self, reader: &mut SegmentReader) -> anyhow::Result<bool> {
        let path = reader.path().to_path_buf();
        let mut sound = true;
        while let Some(item) = reader.next_item()? {
            let batch = match item {
                Item::Batch(batch) => batch,
                Item::Damage(damage) => {
                    eprintln!("sewer-wal: {}", crate::verify::describe(&path, &damage));
                    sound = false;
                    continue;
                }
            };
            if self.to.is_some_and(|to| batch.range.first > to) {
                break;
            }
            for (lsn, bytes) in batch.events() {
                if lsn >= *self.seen && lsn >= self.from && self.to.is_none_or(|to| lsn <= to) {
                    self.event(&path, lsn, bytes)?;
                }
            }
            *self.seen = batch.range.end.max(*self.seen);
        }
        Ok(sound)
    }

    fn event(&mut self, path: &Path, lsn: Lsn, bytes: &[u8]) -> anyhow::Result<()> {
        let event =
            Event::decode(bytes).with_context(|| format!("{}: LSN {lsn}", path.display()))?;
        match self.format {
            Format::Json => {
                serde_json::to_writer(&mut *self.out, &Line { lsn, event }).map_err(unwrap_io)?;
            }
            Format::Text => {
                write!(self.out, "{lsn}\t{}", event.timestamp_ms)?;
                for field in event.fields() {
                    write!(self.out, "\t{}", field.map_or("-".into(), printable))?;
                }
            }
        }
        writeln!(self.out)?;
        Ok(())
    }
}

/// A closed pipe must stay recognisable as one.
fn unwrap_io(error: serde_json::Error) -> std::io::Error {
    error.into()
}

#[derive(Serialize)]
struct Line<'a> {
    lsn: Lsn,
    #[serde(flatten)]
    event: Event<'a>,
}

/// Text that stays on its line and in its column.
fn printable(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    if text.contains(|c: char| c.is_control() || c == '\\') || text == "-" {
        return text
            .chars()
            .flat_map(|c| {
                let escape = c.is_control() || c == '\\';
                let (plain, escaped) =
                    if escape { (None, Some(c.escape_default())) } else { (Some(c), None) };
                plain.into_iter().chain(escaped.into_iter().flatten())
            })
            .collect::<String>()
            .into();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stay_on_their_line_and_in_their_column() {
        assert_eq!(printable(b"a b\xc3\xa9"), "a b\u{e9}");
        assert_eq!(printable(b"a\tb\n\\\x1b"), "a\\tb\\n\\\\\\u{1b}");
    }
}
