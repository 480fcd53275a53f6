//! `sewer-wal dump`: the events themselves.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;
use sewer_wal::reader::Item;
use sewer_wal::{Event, Lsn, SegmentReader, WalId};

use crate::sources::resolve;

/// The way in which an event is printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Format {
    /// `lsn`, `timestamp` and the seven fields, tab-separated, `-` for absent.
    Text,
    /// One object per line.
    Json,
}

/// How often new events are looked for.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(500);

/// The events to print, and how.
#[derive(Debug, Args)]
pub struct Query {
    /// How to print an event: tab-separated with `-` for absent, or one JSON object per line.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// The first LSN to print.
    #[arg(long, value_name = "LSN", default_value = "0")]
    from: Lsn,
    /// The last LSN to print.
    #[arg(long, value_name = "LSN")]
    to: Option<Lsn>,
    /// Only events of this time or later: `2026-11-26T12:00:00Z`, or how long ago, as `10m`.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<i64>,
    /// Only events from before this time.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<i64>,
    /// Go on with the events that come, until interrupted.
    #[arg(long, short)]
    follow: bool,
    /// A WAL directory, a segment or an active log.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// The time that an operator has given, in milliseconds since the epoch.
fn parse_time(text: &str) -> Result<i64, String> {
    let at = match humantime::parse_duration(text) {
        Ok(ago) => SystemTime::now().checked_sub(ago),
        Err(_) => humantime::parse_rfc3339_weak(text).ok(),
    };
    let since_epoch = at.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let ms = since_epoch.and_then(|time| i64::try_from(time.as_millis()).ok());
    ms.ok_or_else(|| "neither a time in UTC, as 2026-11-26T12:00:00Z, nor how long ago".to_owned())
}

/// The LSN behind the last event that was printed of each WAL: a log that is sealed meanwhile comes
/// twice.
type Seen = BTreeMap<Option<WalId>, Lsn>;

/// Prints the events that are asked for; `false` if there was damage.
pub fn run(out: &mut impl Write, query: &Query) -> anyhow::Result<bool> {
    let mut told = BTreeSet::new();
    let mut seen = vec![Seen::new(); query.paths.len()];
    loop {
        for (path, seen) in query.paths.iter().zip(&mut seen) {
            for source in resolve(path)?.files {
                let Some(mut reader) = source.open()? else { continue };
                let seen = seen.entry(reader.header().map(|header| header.wal_id)).or_default();
                // Printed in an earlier round; all others begin at 0.
                if reader.footer().is_some_and(|footer| footer.range().end <= *seen) {
                    continue;
                }
                Printer { out, query, seen, told: &mut told }.print(&mut reader)?;
            }
        }
        if !query.follow {
            return Ok(told.is_empty());
        }
        out.flush()?;
        std::thread::sleep(FOLLOW_INTERVAL);
    }
}

struct Printer<'a, W> {
    out: &'a mut W,
    query: &'a Query,
    /// The LSN behind the last event that was printed of this WAL.
    seen: &'a mut Lsn,
    /// The damage that was told.
    told: &'a mut BTreeSet<String>,
}

impl<W: Write> Printer<'_, W> {
    fn print(&mut self, reader: &mut SegmentReader) -> anyhow::Result<()> {
        let path = reader.path().to_path_buf();
        let (from, to) = (self.query.from, self.query.to);
        while let Some(item) = reader.next_item()? {
            let batch = match item {
                Item::Batch(batch) => batch,
                Item::Damage(damage) => {
                    let text = crate::verify::describe(&path, &damage);
                    if self.told.insert(text.clone()) {
                        eprintln!("sewer-wal: {text}");
                    }
                    continue;
                }
            };
            if to.is_some_and(|to| batch.range.first > to) {
                break;
            }
            for (lsn, bytes) in batch.events() {
                if lsn >= *self.seen && lsn >= from && to.is_none_or(|to| lsn <= to) {
                    self.event(&path, lsn, bytes)?;
                }
            }
            *self.seen = batch.range.end.max(*self.seen);
        }
        Ok(())
    }

    fn event(&mut self, path: &Path, lsn: Lsn, bytes: &[u8]) -> anyhow::Result<()> {
        let event =
            Event::decode(bytes).with_context(|| format!("{}: LSN {lsn}", path.display()))?;
        let at = event.timestamp_ms;
        if self.query.since.is_some_and(|since| at < since)
            || self.query.until.is_some_and(|until| at >= until)
        {
            return Ok(());
        }
        match self.query.format {
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
