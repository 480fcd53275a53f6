//! `sewer-wal stat`: a line per segment.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use sewer_wal::reader::Item;
use sewer_wal::{Event, Footer, Layout, LsnRange, SegmentName, SegmentReader};

use crate::sources::{Source, resolve};

/// The content of a line.
struct Line {
    state: &'static str,
    range: LsnRange,
    bytes: u64,
    timestamps: Option<(i64, i64)>,
}

/// Prints the identity and a line per segment. Always `true`: it judges nothing.
pub fn run(out: &mut impl Write, dir: &Path) -> anyhow::Result<bool> {
    let files = resolve(dir)?.files;
    let identity = sewer_wal::look_up_identity(&Layout::new(dir))?;
    let id = identity.as_ref().map_or("none".into(), |identity| identity.id.to_string());
    writeln!(out, "WAL {id} in {}", dir.display())?;
    for earlier in identity.iter().flat_map(|identity| &identity.earlier) {
        writeln!(out, "and what is left of the WAL {earlier}")?;
    }
    writeln!(
        out,
        "{:<8} {:>20} {:>20} {:>10} {:>12}  {:<24} {:<24}",
        "STATE", "FIRST LSN", "LAST LSN", "EVENTS", "BYTES", "FIRST EVENT", "LAST EVENT"
    )?;
    for source in files {
        let line = match source {
            Source::Sealed(path) => sealed(&path)?,
            Source::Active(reader) | Source::Spare(reader) => Some(active(*reader)?),
        };
        if let Some(line) = line {
            print(out, &line)?;
        }
    }
    Ok(true)
}

/// From the footer alone, so that a long backlog is quick.
fn sealed(path: &Path) -> anyhow::Result<Option<Line>> {
    let bytes = match std::fs::metadata(path) {
        Ok(data) => data.len(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let footer = match Footer::load(path) {
        Ok(footer) => footer,
        Err(e) if e.is_not_found() => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let base = SegmentName::of_path(path).map(|name| name.base);
    Ok(Some(Line {
        state: if footer.is_some() { "sealed" } else { "damaged" },
        range: footer.map_or(LsnRange::new(base.unwrap_or_default(), 0), |footer| footer.range()),
        bytes,
        timestamps: footer.map(|footer| (footer.first_timestamp_ms, footer.last_timestamp_ms)),
    }))
}

fn active(mut reader: SegmentReader) -> anyhow::Result<Line> {
    let (mut first, mut timestamps) = (None, None);
    while let Some(item) = reader.next_item()? {
        let Item::Batch(batch) = item else { continue };
        first.get_or_insert(batch.range.first);
        for event in batch.events().filter_map(|(_, bytes)| Event::decode(bytes).ok()) {
            let at = event.timestamp_ms;
            let (earliest, latest) = timestamps.get_or_insert((at, at));
            (*earliest, *latest) = (at.min(*earliest), at.max(*latest));
        }
    }
    let end = reader.next_lsn().unwrap_or_default();
    Ok(Line {
        state: if first.is_some() { "active" } else { "spare" },
        range: LsnRange { first: first.unwrap_or(end), end },
        bytes: reader.data_end(),
        timestamps,
    })
}

fn print(out: &mut impl Write, line: &Line) -> std::io::Result<()> {
    let last = line.range.last().map_or("-".into(), |lsn| lsn.to_string());
    let first = if line.state == "spare" { "-".into() } else { line.range.first.to_string() };
    let (from, to) =
        line.timestamps.map_or(("-".into(), "-".into()), |(from, to)| (time(from), time(to)));
    writeln!(
        out,
        "{:<8} {first:>20} {last:>20} {:>10} {:>12}  {from:<24} {to:<24}",
        line.state,
        line.range.count(),
        line.bytes
    )
}

fn time(timestamp_ms: i64) -> String {
    match u64::try_from(timestamp_ms) {
        Ok(ms) => {
            humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
        }
        Err(_) => format!("{timestamp_ms} ms"),
    }
}
