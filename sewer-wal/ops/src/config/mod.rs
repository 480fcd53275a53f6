//! One configuration in layers: built-in defaults < file < environment < flags.
//!
//! The environment uses the prefix `SEWER_` and `__` between levels (`SEWER_WAL__DIR`), the flags
//! `--set wal.dir=…`. A key that nobody knows is an error that names the key and where it stands.
//! Both daemons may share one environment, so variables for the other one's sections are passed
//! over; so is what has no `__`, for it is somebody else's.

mod layers;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment::error::Kind;
use figment::providers::{Env, Serialized};
use figment::value::Dict;
use figment::{Figment, Metadata, Source};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use self::layers::{File, Flags, Without};

/// A configuration that cannot be used. Exit code [`crate::EXIT_CONFIG`].
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file named by `--config` cannot be read.
    #[error("read configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A `--set` that is not `key=value`.
    #[error("--set {0}: write it as section.key=value")]
    Flag(String),
    /// What is wrong, where, and what would be right.
    #[error("{0}")]
    Invalid(String),
}

/// How the names of our environment variables begin.
const PREFIX: &str = "SEWER_";

/// The sections of either daemon, for telling a misspelt variable from the other daemon's.
const SECTIONS: [&str; 13] = [
    "pixel",
    "cors",
    "event",
    "privacy",
    "cookie",
    "status",
    "wal",
    "log",
    "shipper",
    "destination",
    "roll",
    "retry",
    "hdfs",
];

/// No configuration has so many mistakes that nobody would begin again.
const ERRORS_MAX: usize = 50;

/// The layers of a configuration, read.
#[derive(Clone, Debug)]
pub struct Layers {
    defaults: Dict,
    file: File,
    flags: Flags,
}

impl Layers {
    /// Reads the file and the flags.
    ///
    /// `standard` is used if it exists; `explicit`, from `--config`, replaces it and must exist.
    ///
    /// # Errors
    /// [`ConfigError::Read`] and [`ConfigError::Flag`].
    pub fn read<T: Serialize + Default>(
        standard: &Path,
        explicit: Option<&Path>,
        sets: &[String],
    ) -> Result<Self, ConfigError> {
        let path = explicit.unwrap_or(standard).to_path_buf();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && explicit.is_none() => {
                String::new()
            }
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        let defaults = Figment::from(Serialized::defaults(&T::default()));
        let defaults = defaults.extract().unwrap_or_default();
        Ok(Self { defaults, file: File { path, text }, flags: Flags::parse(sets)? })
    }

    /// The configuration.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with a line for every mistake.
    pub fn extract<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let (mut without, mut lines) = (Vec::new(), Vec::new());
        // A value is read up to its first mistake; the next one shows when that is left out.
        while lines.len() < ERRORS_MAX {
            let errors = match self.merged(&without).extract() {
                Ok(config) if lines.is_empty() => return Ok(config),
                Ok(_) => break,
                Err(errors) => errors,
            };
            let known = without.len();
            for error in errors {
                let path = key_of(&error);
                // What is missing may be what was left out.
                if known == 0 || !matches!(error.kind, Kind::MissingField(_)) {
                    lines.push(self.describe(&error, &path));
                }
                if !path.is_empty() && !without.contains(&path) {
                    without.push(path);
                }
            }
            if without.len() == known {
                break;
            }
        }
        Err(ConfigError::Invalid(lines.join("\n")))
    }

    /// One section, whatever is wrong with the others; `None` if it cannot be used either.
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.merged(&[]).extract_inner(name).ok()
    }

    /// Where the value of a key comes from.
    #[must_use]
    pub fn origin(&self, key: &str) -> String {
        let keys: Vec<_> = key.split('.').map(str::to_owned).collect();
        let metadata = self.merged(&[]).find_metadata(key).cloned();
        self.place(metadata.as_ref(), &keys)
    }

    /// All layers, each without these keys.
    fn merged(&self, without: &[Vec<String>]) -> Figment {
        let own: Vec<_> = self.defaults.keys().cloned().collect();
        let environment = Env::prefixed(PREFIX).split("__").filter(move |key| {
            // Others set what begins like ours: Kubernetes for a service of our name.
            if !key.as_str().contains('.') {
                return false;
            }
            // Here the key still has the case of the variable.
            let section = key.as_str().split('.').next().unwrap_or_default().to_ascii_lowercase();
            own.contains(&section) || !SECTIONS.contains(&section.as_str())
        });
        let defaults = Serialized::defaults(&self.defaults);
        Figment::from(defaults)
            .merge(Without(&self.file, without))
            .merge(Without(&environment, without))
            .merge(Without(&self.flags, without))
    }

    /// One line: where, which key, what is wrong.
    fn describe(&self, error: &figment::Error, path: &[String]) -> String {
        let place = self.place(error.metadata.as_ref(), path);
        if let Kind::UnknownField(_, known) = &error.kind {
            let known = quoted(known, '`');
            return format!("{place}: unknown key `{}`; known here: {known}", path.join("."));
        }
        let problem = problem(&error.kind);
        if path.is_empty() {
            return format!("{place}: {problem}");
        }
        format!("{place}: key `{}`: {problem}", path.join("."))
    }

    /// The layer that a key's value comes from, in operators' words.
    fn place(&self, metadata: Option<&Metadata>, key: &[String]) -> String {
        let Some(metadata) = metadata else { return "configuration".to_owned() };
        match &metadata.source {
            Some(Source::File(path)) => match self.file.line_of(key) {
                Some(line) => format!("{}:{line}", path.display()),
                None => path.display().to_string(),
            },
            _ if metadata.name.contains("environment") => {
                let name = key.join("__").to_ascii_uppercase();
                format!("environment, {PREFIX}{name}")
            }
            // figment calls them by the type that they were written from.
            Some(Source::Code(_)) => "default".to_owned(),
            _ => metadata.name.to_string(),
        }
    }
}

/// Reads the configuration `T`; see [`Layers`].
///
/// # Errors
/// [`ConfigError`], a line for every mistake.
pub fn load<T: Serialize + DeserializeOwned + Default>(
    standard: &Path,
    explicit: Option<&Path>,
    sets: &[String],
) -> Result<T, ConfigError> {
    Layers::read::<T>(standard, explicit, sets)?.extract()
}

/// Every key with its value; a list is one value.
pub(crate) fn flat(config: &impl Serialize) -> BTreeMap<String, serde_json::Value> {
    fn walk(
        path: String,
        value: serde_json::Value,
        into: &mut BTreeMap<String, serde_json::Value>,
    ) {
        match value {
            serde_json::Value::Object(fields) => {
                for (name, value) in fields {
                    let path = if path.is_empty() { name } else { format!("{path}.{name}") };
                    walk(path, value, into);
                }
            }
            value => {
                into.insert(path, value);
            }
        }
    }
    let mut keys = BTreeMap::new();
    let value = serde_json::to_value(config).expect("a configuration can be written as JSON");
    walk(String::new(), value, &mut keys);
    keys
}

/// Of the names of environment variables, those that look like a key of ours with one underscore
/// too few.
#[must_use]
pub fn mistyped<T: Serialize + Default>(names: impl Iterator<Item = OsString>) -> Vec<String> {
    let defaults = Figment::from(Serialized::defaults(&T::default()));
    let is_mistyped = |name: &String| {
        let key = name.strip_prefix(PREFIX).filter(|key| !key.contains("__"));
        let key = key.map(str::to_ascii_lowercase).unwrap_or_default();
        let is_key =
            |(section, key): (&str, &str)| defaults.find_value(&format!("{section}.{key}")).is_ok();
        key.split_once('_').is_some_and(is_key)
    };
    names.filter_map(|name| name.into_string().ok()).filter(is_mistyped).collect()
}

/// The whole key that an error is about.
fn key_of(error: &figment::Error) -> Vec<String> {
    let mut path = error.path.clone();
    // figment leaves an unknown key on the path in some cases and not in others.
    if let Kind::UnknownField(field, _) = &error.kind
        && path.last() != Some(field)
    {
        path.push(field.clone());
    }
    path
}

/// What is wrong with a value, in one line and in operators' words.
fn problem(kind: &Kind) -> String {
    let text = match kind {
        Kind::Message(message) => message.clone(),
        Kind::UnknownVariant(found, known) => {
            format!("\"{found}\" is none of {}", quoted(known, '"'))
        }
        kind => kind.to_string(),
    };
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // What the parsers of sizes, times and addresses call that which they expect.
    text.replace("expected parsable string", "expected a size such as \"64MiB\"")
        .replace("expected a duration", "expected a time such as \"30s\"")
        .replace("expected usize", "expected a number from 0 up")
        .replace("invalid socket address syntax", "expected an address such as \"127.0.0.1:8080\"")
        .replace("invalid IP address syntax", "expected a network such as \"10.0.0.0/8\"")
}

fn quoted(names: &[&str], quote: char) -> String {
    names.iter().map(|name| format!("{quote}{name}{quote}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
