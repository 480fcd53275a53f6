//! SequenceFiles as Hadoop's own reader sees them, and files as the NameNode lists them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::hadoop;

/// One key and value of a SequenceFile.
///
/// An `AccessLogEvent` is an object, `Text` and `BytesWritable` a string, a number a number.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Row {
    /// The URI of the file that holds it.
    pub file: String,
    /// The Java class of the key.
    pub key_class: String,
    /// The Java class of the value.
    pub value_class: String,
    /// The key.
    pub key: Value,
    /// The value.
    pub value: Value,
}

/// The header of a SequenceFile, and its rows in the file's order.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SequenceFile {
    /// Its URI.
    pub file: String,
    /// The header's metadata.
    pub metadata: BTreeMap<String, String>,
    /// The Java class of the codec; `None` if the file is not compressed.
    pub compression: Option<String>,
    /// Whether rows are compressed in blocks.
    pub block_compressed: bool,
    /// What it holds.
    #[serde(skip)]
    pub rows: Vec<Row>,
}

/// A file as the NameNode (or a local file system) lists it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct ListedFile {
    /// Its path, without scheme and authority.
    pub path: String,
    /// Its bytes; of a file open for write, those in finished blocks.
    pub length: u64,
    /// The number of replicas asked for.
    pub replication: u16,
    /// Whether a writer holds it open, or died without closing it.
    pub open_for_write: bool,
}

impl ListedFile {
    /// Whether its name or a directory above it hides it from Hadoop's input formats.
    pub fn is_hidden(&self) -> bool {
        self.path.split('/').any(|name| name.starts_with(['.', '_']))
    }
}

/// Reads files and directories (recursively, hidden names skipped) by Hadoop's own reader.
///
/// `uris` are `file://` or `hdfs://` URIs, or paths of the default file system of `conf`; without
/// `conf` that is the local one.
///
/// # Errors
/// Hadoop's exception, if it cannot read any of them to its end.
pub fn read_files<S: AsRef<OsStr>>(
    conf: Option<&Path>,
    uris: &[S],
) -> Result<Vec<SequenceFile>, String> {
    let mut files: Vec<SequenceFile> = Vec::new();
    for line in hadoop::available()?.run(conf, "ReadSequenceFiles", uris)?.lines() {
        let value: Value = parse(line)?;
        if value.get("metadata").is_some() {
            files.push(serde_json::from_value(value).map_err(|e| format!("{e}: {line}"))?);
        } else {
            let row = serde_json::from_value(value).map_err(|e| format!("{e}: {line}"))?;
            files.last_mut().ok_or("a row before the first file")?.rows.push(row);
        }
    }
    Ok(files)
}

/// Lists every file below the URIs, hidden ones included, in the order of their paths. A path that
/// does not exist holds none.
///
/// # Errors
/// Hadoop's exception.
pub fn list_files<S: AsRef<OsStr>>(
    conf: Option<&Path>,
    uris: &[S],
) -> Result<Vec<ListedFile>, String> {
    let listing = hadoop::available()?.run(conf, "ListFiles", uris)?;
    let mut files: Vec<ListedFile> = listing.lines().map(parse).collect::<Result<_, _>>()?;
    files.sort();
    Ok(files)
}

fn parse<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T, String> {
    serde_json::from_str(line).map_err(|e| format!("not the JSON expected here: {e}: {line}"))
}
