//! One configuration in layers: built-in defaults < file < environment < flags.
//!
//! The environment uses the prefix `SEWER_` and `__` between levels (`SEWER_WAL__DIR`), the flags
//! `--set wal.dir=…`. A key that nobody knows is an error that names the key and where it stands.
//! Both daemons may share one environment, so variables for the other one's sections are passed
//! over; so is what has no `__`, for it is somebody else's.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment::error::Kind;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::{Dict, Map};
use figment::{Figment, Metadata, Profile, Provider, Source};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

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

/// Reads the configuration `T`.
///
/// `standard` is used if it exists; `explicit`, from `--config`, replaces it and must exist.
///
/// # Errors
/// [`ConfigError`], in one line for the operator.
pub fn load<T: Serialize + DeserializeOwned + Default>(
    standard: &Path,
    explicit: Option<&Path>,
    sets: &[String],
) -> Result<T, ConfigError> {
    let defaults = T::default();
    let path = explicit.unwrap_or(standard);
    let mut layers = Figment::from(Serialized::defaults(&defaults));
    match std::fs::read_to_string(path) {
        Ok(text) => layers = layers.merge(File { path: path.to_path_buf(), text }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && explicit.is_none() => {}
        Err(source) => return Err(ConfigError::Read { path: path.to_path_buf(), source }),
    }
    let own = sections_of(&layers);
    let environment = Env::prefixed(PREFIX).split("__").filter(move |key| {
        // Others set what begins like ours: Kubernetes for a service of our name.
        if !key.as_str().contains('.') {
            return false;
        }
        // Here the key still has the case of the variable.
        let section = key.as_str().split('.').next().unwrap_or_default().to_ascii_lowercase();
        own.contains(&section) || !SECTIONS.contains(&section.as_str())
    });
    layers = layers.merge(environment).merge(Flags::parse(sets)?);
    layers.extract().map_err(|errors| {
        let lines: Vec<_> = errors.into_iter().map(|error| describe(&error)).collect();
        ConfigError::Invalid(lines.join("\n"))
    })
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

/// The top-level keys of the defaults.
fn sections_of(defaults: &Figment) -> Vec<String> {
    let data = defaults.data().unwrap_or_default();
    data.into_values().flat_map(Dict::into_keys).collect()
}

/// One line: where, which key, what is wrong.
fn describe(error: &figment::Error) -> String {
    let place = match error.metadata.as_ref() {
        Some(metadata) => match &metadata.source {
            Some(Source::File(path)) => path.display().to_string(),
            _ if metadata.name.contains("environment") => "environment".to_owned(),
            _ => metadata.name.to_string(),
        },
        None => "configuration".to_owned(),
    };
    let mut path = error.path.clone();
    if let Kind::UnknownField(field, known) = &error.kind {
        // figment leaves the offending key on the path in some cases and not in others.
        if path.last() != Some(field) {
            path.push(field.clone());
        }
        let known = quoted(known, '`');
        return format!("{place}: unknown key `{}`; known here: {known}", path.join("."));
    }
    let problem = problem(&error.kind);
    if path.is_empty() {
        return format!("{place}: {problem}");
    }
    format!("{place}: key `{}`: {problem}", path.join("."))
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

/// The configuration file, already read, so that errors name it and never another file.
struct File {
    path: PathBuf,
    text: String,
}

impl Provider for File {
    fn metadata(&self) -> Metadata {
        Metadata::from("file", Source::File(self.path.clone()))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Toml::string(&self.text).data()
    }
}

/// The layer of `--set section.key=value`.
struct Flags(String);

impl Flags {
    fn parse(sets: &[String]) -> Result<Self, ConfigError> {
        // By key, so that the last of several counts.
        let mut values = BTreeMap::new();
        for set in sets {
            let (key, value) = set.split_once('=').ok_or_else(|| ConfigError::Flag(set.clone()))?;
            let dotted = !key.is_empty()
                && key.split('.').all(|part| {
                    !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                });
            if !dotted {
                return Err(ConfigError::Flag(set.clone()));
            }
            // What is no TOML value by itself is a string without its quotes.
            let value = match format!("v = {value}").parse::<toml::Table>() {
                Ok(_) => value.to_owned(),
                Err(_) => toml::Value::String(value.to_owned()).to_string(),
            };
            values.insert(key, value);
        }
        let lines: Vec<_> = values.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        Ok(Self(lines.join("\n")))
    }
}

impl Provider for Flags {
    fn metadata(&self) -> Metadata {
        Metadata::named("--set")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Toml::string(&self.0).data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Serialize, Deserialize, PartialEq, Default)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        wal: Wal,
    }

    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Wal {
        dir: PathBuf,
        count: u32,
    }

    impl Default for Wal {
        fn default() -> Self {
            Self { dir: "/default".into(), count: 1 }
        }
    }

    fn load_text(text: &str, sets: &[&str]) -> Result<Sample, String> {
        let file = tempfile_with(text);
        let sets: Vec<_> = sets.iter().map(ToString::to_string).collect();
        let result = load(Path::new("/nonexistent"), Some(file.as_path()), &sets);
        let name = file.display().to_string();
        std::fs::remove_file(&file).unwrap();
        result.map_err(|e| e.to_string().replace(&name, "FILE"))
    }

    fn tempfile_with(text: &str) -> PathBuf {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("sewer-ops-{}-{number}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn flags_go_before_the_file_and_the_file_before_the_defaults() {
        let sets = ["wal.dir=/first", "wal.dir=/flag"];
        let config = load_text("[wal]\ncount = 2\n", &sets).unwrap();
        assert_eq!(config.wal, Wal { dir: "/flag".into(), count: 2 });
    }

    #[test]
    fn an_unknown_key_is_named_with_its_file_and_its_neighbours() {
        let error = load_text("[wal]\ndri = \"x\"\n", &[]).unwrap_err();
        assert_eq!(error, "FILE: unknown key `wal.dri`; known here: `dir`, `count`");
        let error = load_text("[wall]\n", &[]).unwrap_err();
        assert_eq!(error, "FILE: unknown key `wall`; known here: `wal`");
        let error = load_text("", &["wal.x=1"]).unwrap_err();
        assert_eq!(error, "--set: unknown key `wal.x`; known here: `dir`, `count`");
    }

    #[test]
    fn a_variable_with_an_underscore_too_few_is_noticed_and_a_foreign_one_is_not() {
        let names = [
            "SEWER_WAL_DIR",
            "SEWER_WAL__DIR",
            "SEWER_PORT",
            "SEWER_WAL_PORT",
            "SEWER_PIXEL_SERVICE_HOST",
            "WAL_DIR",
        ];
        let found = mistyped::<Sample>(names.into_iter().map(OsString::from));
        assert_eq!(found, ["SEWER_WAL_DIR"]);
    }

    #[test]
    fn a_wrong_value_is_named_with_its_key() {
        let error = load_text("[wal]\ncount = \"many\"\n", &[]).unwrap_err();
        assert!(error.starts_with("FILE: key `wal.count`: "), "{error}");
        let error = load_text("[wal\n", &[]).unwrap_err();
        assert!(error.starts_with("FILE: ") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn a_file_that_is_asked_for_must_exist() {
        let error = load::<Sample>(Path::new("/x"), Some(Path::new("/no/such")), &[]).unwrap_err();
        assert!(error.to_string().starts_with("read configuration /no/such: "), "{error}");
        assert_eq!(load::<Sample>(Path::new("/no/such"), None, &[]).unwrap(), Sample::default());
    }

    #[test]
    fn a_malformed_flag_says_how_to_write_it() {
        for flag in ["x", "=1", "a..b=1", "a b=1"] {
            assert!(load_text("", &[flag]).is_err(), "{flag}");
        }
    }
}
