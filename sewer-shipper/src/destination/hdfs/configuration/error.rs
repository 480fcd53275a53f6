//! Why a configuration, or a property of it, cannot be had: each error names the file.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a configuration cannot be read, or a property of it.
#[derive(Debug, Error)]
pub(in crate::destination::hdfs) enum ConfigurationError {
    #[error("{}: {error}", file.display())]
    Unreadable { file: PathBuf, error: io::Error },
    #[error("{}: it is no XML: {error}", file.display())]
    Xml { file: PathBuf, error: roxmltree::Error },
    #[error("{}: its encoding {encoding} is not known; save it as UTF-8", file.display())]
    Encoding { file: PathBuf, encoding: String },
    #[error("{}: {problem}", file.display())]
    DocumentType { file: PathBuf, problem: String },
    #[error("{} refers to {reference}: {why}", file.display())]
    Reference { file: PathBuf, reference: String, why: Refusal },
    #[error("{}: {what} comes to more than {limit} bytes", file.display())]
    TooLarge { file: PathBuf, what: &'static str, limit: usize },
    #[error("{}: the value of {name} refers to other properties without end", file.display())]
    Endless { file: PathBuf, name: String },
    #[error("its directory, {} ({named_by}): {error}", dir.display())]
    Directory { dir: PathBuf, named_by: &'static str, error: io::Error },
    /// What the client needs and the properties do not say.
    #[error("{0}")]
    Undefined(String),
}

/// Why what a file refers to is not read.
#[derive(Debug, Error)]
pub(in crate::destination::hdfs) enum Refusal {
    #[error("there is no such file")]
    Missing,
    #[error(transparent)]
    Unreadable(io::Error),
    #[error("it is outside of the directory of the configuration; copy it there")]
    Outside,
    #[error("only files are read; copy it into the directory of the configuration")]
    Remote,
    #[error("files refer to each other without end")]
    Endless,
}
