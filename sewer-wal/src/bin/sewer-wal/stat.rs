//! `sewer-wal stat`: a line per file, and all that is in the directory.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use bytesize::ByteSize;
use serde::Serialize;
use sewer_wal::reader::{Item, Kind};
use sewer_wal::{Event, Layout, Lsn, LsnRange, SegmentName, SegmentReader, WalError, WalId};

use crate::sources::{Source, resolve};

/// All that a WAL directory holds.
#[derive(Debug, Serialize)]
struct Report {
    dir: PathBuf,
    /// The identity under which events are recorded; `None` if nothing tells it.
    wal_id: Option<WalId>,
    /// The identities that left segments or logs here.
    earlier: Vec<WalId>,
    files: Vec<Row>,
    events: u64,
    bytes: u64,
    /// The files in `quarantine/`, reports left out.
    quarantine: Vec<Kept>,
    /// Files in `sealed/` that no segment is named as.
    foreign: Vec<PathBuf>,
}

/// A segment or a log.
#[derive(Debug, Serialize)]
struct Row {
    state: State,
    first_lsn: Option<Lsn>,
    last_lsn: Option<Lsn>,
    events: u64,
    bytes: u64,
    first_event_ms: Option<i64>,
    last_event_ms: Option<i64>,
    wal_id: Option<WalId>,
    file: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Sealed,
    Active,
    Spare,
    /// A segment whose footer cannot be read.
    Damaged,
    /// A segment of another LSN than its name tells: a copy, or renamed.
    Misnamed,
}

/// A file that is kept for a person.
#[derive(Debug, Serialize)]
struct Kept {
    file: PathBuf,
    bytes: u64,
}

/// Prints what is in a WAL directory; `false` if there is damage.
pub fn run(out: &mut impl Write, json: bool, dir: &Path) -> anyhow::Result<bool> {
    let report = look(dir)?;
    if json {
        serde_json::to_writer(&mut *out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        print(out, &report)?;
    }
    let is_whole = |row: &Row| !matches!(row.state, State::Damaged | State::Misnamed);
    Ok(report.foreign.is_empty() && report.files.iter().all(is_whole))
}

fn look(dir: &Path) -> anyhow::Result<Report> {
    let sources = resolve(dir)?;
    anyhow::ensure!(sources.whole_wal, "{} is not a WAL directory", dir.display());
    let mut files = Vec::new();
    for source in sources.files {
        match source {
            Source::Sealed(path) => files.extend(sealed(path)?),
            Source::Active(reader) | Source::Spare(reader) => files.push(active(*reader)?),
        }
    }
    let layout = Layout::new(dir);
    let identity = sewer_wal::look_up_identity(&layout)?;
    let segments = layout.quarantined_names()?;
    let segments = segments.iter().map(|name| layout.quarantine_dir().join(name.to_string()));
    let kept =
        |file: PathBuf| Kept { bytes: fs::metadata(&file).map_or(0, |data| data.len()), file };
    Ok(Report {
        dir: dir.to_path_buf(),
        wal_id: identity.as_ref().map(|identity| identity.id),
        earlier: identity.map(|identity| identity.earlier).unwrap_or_default(),
        events: files.iter().map(|row| row.events).sum(),
        bytes: files.iter().map(|row| row.bytes).sum(),
        files,
        quarantine: segments.chain(layout.quarantined_logs()?).map(kept).collect(),
        foreign: layout.strangers_in_sealed()?,
    })
}

/// From header and footer alone, so that a long backlog is quick; `None` if it has been shipped.
fn sealed(file: PathBuf) -> anyhow::Result<Option<Row>> {
    let bytes = match fs::metadata(&file) {
        Ok(data) => data.len(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(|| format!("open {}", file.display())),
    };
    let reader = match SegmentReader::open(&file, Kind::Sealed) {
        Ok(reader) => reader,
        Err(e) if e.is_not_found() => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let footer = reader.footer();
    let base = SegmentName::of_path(&file).map(|name| name.base).unwrap_or_default();
    let range = footer.map_or(LsnRange::new(base, 0), |footer| footer.range());
    Ok(Some(Row {
        state: match footer {
            None => State::Damaged,
            Some(footer) if footer.base != base => State::Misnamed,
            Some(_) => State::Sealed,
        },
        first_lsn: Some(range.first),
        last_lsn: range.last(),
        events: range.count(),
        bytes,
        first_event_ms: footer.map(|footer| footer.first_timestamp_ms),
        last_event_ms: footer.map(|footer| footer.last_timestamp_ms),
        wal_id: reader.header().map(|header| header.wal_id),
        file,
    }))
}

fn active(mut reader: SegmentReader) -> anyhow::Result<Row> {
    let (mut first, mut times) = (None, None);
    while let Some(item) = reader.next_item()? {
        let Item::Batch(batch) = item else { continue };
        first.get_or_insert(batch.range.first);
        for event in batch.events().filter_map(|(_, bytes)| Event::decode(bytes).ok()) {
            let at = event.timestamp_ms;
            let (earliest, latest) = times.get_or_insert((at, at));
            (*earliest, *latest) = (at.min(*earliest), at.max(*latest));
        }
    }
    let end = reader.next_lsn().unwrap_or_default();
    let range = LsnRange { first: first.unwrap_or(end), end };
    Ok(Row {
        state: if first.is_some() { State::Active } else { State::Spare },
        first_lsn: first,
        last_lsn: range.last(),
        events: range.count(),
        bytes: reader.data_end(),
        first_event_ms: times.map(|(earliest, _)| earliest),
        last_event_ms: times.map(|(_, latest)| latest),
        wal_id: reader.header().map(|header| header.wal_id),
        file: reader.path().to_path_buf(),
    })
}

fn print(out: &mut impl Write, report: &Report) -> std::io::Result<()> {
    let id = report.wal_id.map_or("without an ID".into(), |id| id.to_string());
    writeln!(out, "WAL {id} in {}", report.dir.display())?;
    for earlier in &report.earlier {
        writeln!(out, "and what is left of the WAL {earlier}")?;
    }
    writeln!(
        out,
        "{:<8} {:>20} {:>20} {:>10} {:>10}  {:<24} {:<24} FILE",
        "STATE", "FIRST LSN", "LAST LSN", "EVENTS", "SIZE", "FIRST EVENT", "LAST EVENT"
    )?;
    for row in &report.files {
        let file = row.file.strip_prefix(&report.dir).unwrap_or(&row.file);
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let [first, last] =
            [row.first_lsn, row.last_lsn].map(|lsn| or_dash(lsn.map(|lsn| lsn.to_string())));
        let [from, to] = [row.first_event_ms, row.last_event_ms].map(|at| or_dash(at.map(time)));
        writeln!(
            out,
            "{:<8} {first:>20} {last:>20} {:>10} {:>10}  {from:<24} {to:<24} {}",
            row.state.name(),
            row.events,
            size(row.bytes),
            file.display()
        )?;
    }
    for kept in &report.quarantine {
        writeln!(out, "in quarantine: {} ({})", kept.file.display(), size(kept.bytes))?;
    }
    for path in &report.foreign {
        writeln!(out, "{}", WalError::Stranger { path: path.clone() })?;
    }
    let files = report.files.len();
    writeln!(out, "{files} files, {} events, {}", report.events, size(report.bytes))
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Active => "active",
            Self::Spare => "spare",
            Self::Damaged => "damaged",
            Self::Misnamed => "misnamed",
        }
    }
}

fn size(bytes: u64) -> String {
    ByteSize::b(bytes).to_string()
}

fn time(timestamp_ms: i64) -> String {
    match u64::try_from(timestamp_ms) {
        Ok(ms) => {
            humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
        }
        Err(_) => format!("{timestamp_ms} ms"),
    }
}
