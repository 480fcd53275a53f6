//! `sewer-wal verify`: is every byte as it was written, and does every LSN follow the last?

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sewer_wal::reader::{Damage, Item};
use sewer_wal::{Layout, Lsn, LsnRange, SegmentReader, WalError, WalId};

use crate::sources::resolve;

/// The verdict on everything that was checked.
#[derive(Debug, Default, Serialize)]
struct Report {
    files: Vec<Checked>,
    events: u64,
    /// Events that are lost, as far as anything tells how many.
    lost_events: u64,
    damaged_files: usize,
}

/// The verdict on a file.
#[derive(Debug, Serialize)]
struct Checked {
    file: PathBuf,
    events: u64,
    lsns: Option<LsnRange>,
    lost_events: u64,
    problems: Vec<String>,
}

impl Checked {
    fn new(file: PathBuf) -> Self {
        Self { file, events: 0, lsns: None, lost_events: 0, problems: Vec::new() }
    }

    fn damaged(file: PathBuf, problem: String) -> Self {
        Self { problems: vec![problem], ..Self::new(file) }
    }
}

/// The LSN that the next file of each WAL must begin with, once one has been read.
type Expected = BTreeMap<Option<WalId>, Lsn>;

/// Checks `paths` and prints a line per file and per damage, then a summary; `false` if there was
/// damage.
pub fn run(
    out: &mut impl Write,
    quiet: bool,
    json: bool,
    paths: &[PathBuf],
) -> anyhow::Result<bool> {
    let mut report = Report::default();
    let mut add = |out: &mut dyn Write, file: Checked| {
        if !json {
            print(out, &file, quiet)?;
        }
        report.events += file.events;
        report.lost_events += file.lost_events;
        report.damaged_files += usize::from(!file.problems.is_empty());
        report.files.push(file);
        std::io::Result::Ok(())
    };
    for path in paths {
        let sources = resolve(path)?;
        if sources.whole_wal {
            for path in Layout::new(path).strangers_in_sealed()? {
                let problem = WalError::Stranger { path: path.clone() }.to_string();
                add(out, Checked::damaged(path, problem))?;
            }
        }
        let mut expected = sources.whole_wal.then(Expected::new);
        for source in sources.files {
            let file = source.path().to_path_buf();
            match source.open() {
                Ok(Some(reader)) => add(out, check(reader, expected.as_mut()))?,
                Ok(None) => {}
                // The others are checked all the same.
                Err(error) => add(out, Checked::damaged(file, format!("{error:#}")))?,
            }
        }
    }
    if json {
        serde_json::to_writer(&mut *out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        summarize(out, &report)?;
    }
    Ok(report.damaged_files == 0)
}

fn print(out: &mut dyn Write, checked: &Checked, quiet: bool) -> std::io::Result<()> {
    for problem in &checked.problems {
        writeln!(out, "{problem}")?;
    }
    if let Some(lsns) = checked.lsns
        && checked.problems.is_empty()
        && !quiet
    {
        writeln!(out, "{}: ok, {} events, LSN {lsns}", checked.file.display(), checked.events)?;
    }
    Ok(())
}

fn summarize(out: &mut impl Write, report: &Report) -> std::io::Result<()> {
    let Report { files, events, lost_events, damaged_files } = report;
    let files = files.len();
    match damaged_files {
        0 => writeln!(out, "{files} files, {events} events: sound"),
        _ => writeln!(
            out,
            "{files} files, {events} events: {damaged_files} with damage, {lost_events} events \
             known to be lost"
        ),
    }
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

/// Reads a file to its end, and whether it joins the one before it.
fn check(mut reader: SegmentReader, expected: Option<&mut Expected>) -> Checked {
    let mut checked = Checked::new(reader.path().to_path_buf());
    let mut first = None;
    loop {
        match reader.next_item() {
            Ok(Some(Item::Damage(damage))) => {
                checked.lost_events += damage.lost.count();
                checked.problems.push(describe(&checked.file, &damage));
            }
            Ok(Some(Item::Batch(batch))) => {
                first.get_or_insert(batch.range.first);
                checked.events += batch.events().count() as u64;
            }
            Ok(None) => break,
            Err(error) => {
                checked.problems.push(format!("{:#}", anyhow::Error::from(error)));
                return checked;
            }
        }
    }
    let end = reader.next_lsn().filter(|_| first.is_some() || reader.footer().is_some());
    let Some(end) = end else { return checked };
    let begin = reader.footer().map_or(first, |footer| Some(footer.base)).unwrap_or(end);
    checked.lsns = Some(LsnRange { first: begin, end });
    if let Some(expected) = expected {
        let id = reader.header().map(|header| header.wal_id);
        let before = expected.get(&id).copied();
        expected.insert(id, before.unwrap_or_default().max(end));
        // A log that was sealed while we looked comes twice.
        if let Some(gap) = before.filter(|before| begin > *before) {
            let gap = LsnRange { first: gap, end: begin };
            let (file, count) = (checked.file.display(), gap.count());
            checked.lost_events += count;
            checked
                .problems
                .push(format!("{file}: {count} events are missing before it, LSN {gap}"));
        }
    }
    checked
}
