//! The files behind the paths on the command line, in LSN order.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sewer_wal::reader::Kind;
use sewer_wal::{Layout, SegmentName, SegmentReader, WalError, sealed};

/// A file to read.
pub enum Source {
    /// A sealed segment; it is opened when its turn comes, so that a long backlog needs one
    /// descriptor.
    Sealed(PathBuf),
    /// A log, opened at once: a running pixel may seal it, and an open file can still be read.
    Active(Box<SegmentReader>),
    /// A log that had no batch yet when it was looked at.
    Spare(Box<SegmentReader>),
}

impl Source {
    /// The file's path.
    pub fn path(&self) -> &Path {
        match self {
            Self::Sealed(path) => path,
            Self::Active(reader) | Self::Spare(reader) => reader.path(),
        }
    }

    /// Opens it; `None` if it has been shipped and deleted meanwhile. Neither is a spare opened:
    /// once batches come into it, its predecessor may have got some after it was read to its end,
    /// and what was never looked at is no gap.
    pub fn open(self) -> anyhow::Result<Option<SegmentReader>> {
        match self {
            Self::Active(reader) => Ok(Some(*reader)),
            Self::Spare(_) => Ok(None),
            Self::Sealed(path) => match SegmentReader::open(&path, Kind::Sealed) {
                Ok(reader) => Ok(Some(reader)),
                Err(e) if e.is_not_found() => Ok(None),
                Err(e) => Err(e.into()),
            },
        }
    }
}

/// The files that one path on the command line stands for.
pub struct Sources {
    /// The files, oldest first.
    pub files: Vec<Source>,
    /// Whether they are the whole of a WAL, so that their LSNs must join.
    pub whole_wal: bool,
}

/// The files of a WAL directory, or the one file that `path` names.
pub fn resolve(path: &Path) -> anyhow::Result<Sources> {
    let data = std::fs::metadata(path).with_context(|| format!("open {}", path.display()))?;
    if data.is_dir() {
        return Ok(Sources { files: of_wal(path)?, whole_wal: true });
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let file = if SegmentName::parse(name).is_some() {
        Source::Sealed(path.to_path_buf())
    } else if name == "wal-1" {
        Source::Active(Box::new(SegmentReader::open(path, Kind::Active)?))
    } else {
        bail!(
            "{} is neither a WAL directory, nor a segment (20 digits, perhaps a WAL id, and .seg), \
             nor an active log (wal-1)",
            path.display()
        );
    };
    Ok(Sources { files: vec![file], whole_wal: false })
}

fn of_wal(dir: &Path) -> anyhow::Result<Vec<Source>> {
    let layout = Layout::new(dir);
    if !layout.id_file().exists() && !layout.sealed_dir().exists() {
        bail!("{} is not a WAL directory: it has neither ID nor sealed/", dir.display());
    }
    // The logs first: one that is sealed in between is then seen twice, not missed.
    let logs = open_logs(&layout)?;
    let mut segments = sealed::list(&layout)?;
    // One WAL's may have names with its id and without.
    segments.sort_by_key(|segment| segment.name.base);
    let mut files: Vec<_> =
        segments.into_iter().map(|segment| Source::Sealed(segment.path)).collect();
    files.extend(logs);
    Ok(files)
}

/// The logs, each as it is after all have been looked at: a log that has a batch has a complete
/// predecessor, for none gets a batch before the one before it has got its last.
fn open_logs(layout: &Layout) -> anyhow::Result<Vec<Source>> {
    let mut begun = Vec::new();
    for number in layout.log_numbers()? {
        let path = layout.log_file(number);
        if let Some(mut reader) = open_log(&path)? {
            begun.push((path, reader.next_item()?.is_some()));
        }
    }
    let mut logs = Vec::new();
    for (path, has_begun) in begun {
        // Opened anew, for a reader may hold what it read when it was opened.
        let reader = open_log(&path)?.map(Box::new);
        logs.extend(reader.map(if has_begun { Source::Active } else { Source::Spare }));
    }
    Ok(logs)
}

/// Opens a log; `None` if it has been sealed meanwhile.
fn open_log(path: &Path) -> Result<Option<SegmentReader>, WalError> {
    match SegmentReader::open(path, Kind::Active) {
        Ok(reader) => Ok(Some(reader)),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}
