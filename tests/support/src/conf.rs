//! Holds a file of `conf/` to the code. The keys come from the daemon's own answer to a key that it
//! does not know, so that a key added to the code and not to the file is found.

use std::fmt::Debug;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sewer_ops::config::load;

/// A key that no section has.
const UNKNOWN: &str = "no_such_key";

/// Checks the file called `name`.
///
/// # Panics
/// With what the file and the code disagree about.
pub fn check<T: Serialize + DeserializeOwned + Default + Debug + PartialEq>(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conf").join(name);
    let text = std::fs::read_to_string(&path).expect("read the file");
    assert_eq!(parse::<T>(&text), T::default(), "{name} as it is gives the defaults");

    let known = known_keys::<T>();
    assert_eq!(keys_in(&text, true), known, "the keys of {name}, commented or not, in order");
    let with_default = sorted(keys_in(&text, false));
    let defaults = keys_of(&T::default(), &known);
    assert_eq!(with_default, defaults, "the keys of {name} that have a default");
    let everything = keys_of(&parse::<T>(&uncomment(&text)), &known);
    assert_eq!(everything, sorted(known), "the keys of {name} with all uncommented");
}

/// What the daemon makes of a file with this text.
fn parse<T: Serialize + DeserializeOwned + Default>(text: &str) -> T {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("conf.toml");
    std::fs::write(&file, text).expect("write a file");
    load(&file, Some(&file), &[]).unwrap_or_else(|e| panic!("{e}"))
}

/// Every `section.key` that the code knows, in its order; `section.key.key` in tables.
fn known_keys<T: Serialize + DeserializeOwned + Default + Debug>() -> Vec<String> {
    let sections = known_beside::<T>(&format!("{UNKNOWN}=1")).expect("nobody knows this section");
    sections.iter().flat_map(|section| known_in::<T>(section)).collect()
}

/// The keys in a table, or in each table of an array.
fn known_in<T: Serialize + DeserializeOwned + Default + Debug>(table: &str) -> Vec<String> {
    let in_table = || known_beside::<T>(&format!("{table}.{UNKNOWN}=1"));
    let in_array = || known_beside::<T>(&format!("{table}=[{{{UNKNOWN}=1}}]"));
    match in_table().or_else(in_array) {
        Some(keys) => {
            keys.iter().flat_map(|key| known_in::<T>(&format!("{table}.{key}"))).collect()
        }
        None => vec![table.to_owned()],
    }
}

/// The keys that the daemon offers instead of the unknown one in `set`; none if it knows all keys
/// there, or there are none.
fn known_beside<T: Serialize + DeserializeOwned + Default + Debug>(
    set: &str,
) -> Option<Vec<String>> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let answer = load::<T>(&directory.path().join("absent"), None, &[set.to_owned()]);
    let answer = answer.err()?.to_string();
    let (_, known) = answer.split_once("; known here: ")?;
    Some(known.split(", ").map(|key| key.trim_matches('`').to_owned()).collect())
}

/// Every `section.key` that a configuration has a value for, sorted. A table whose keys are the
/// operator's own is one key.
fn keys_of(config: &impl Serialize, known: &[String]) -> Vec<String> {
    let text = toml::to_string(config).expect("a configuration can be written as TOML");
    let known_key = |key: String| {
        let is_in = |table: &&String| key.strip_prefix(*table).is_some_and(|r| r.starts_with('.'));
        known.iter().find(is_in).cloned().unwrap_or(key)
    };
    sorted(keys_in(&text, false).into_iter().map(known_key).collect())
}

fn sorted(mut keys: Vec<String>) -> Vec<String> {
    keys.sort();
    keys
}

/// Every `section.key` of a text in its order, with those that are commented out or without.
fn keys_in(text: &str, commented: bool) -> Vec<String> {
    let mut section = String::new();
    let mut keys = Vec::new();
    for line in text.lines() {
        let line = if commented { uncommented(line).unwrap_or(line) } else { line };
        if let Some(name) = header_of(line) {
            name.clone_into(&mut section);
        } else if let Some(key) = key_of(line) {
            keys.push(format!("{section}.{key}"));
        }
    }
    keys
}

fn uncomment(text: &str) -> String {
    text.lines().map(|line| uncommented(line).unwrap_or(line).to_owned() + "\n").collect()
}

/// The key in a comment such as `# key = 1`, or the header of a table; prose is neither.
fn uncommented(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("# ")?;
    (key_of(rest).is_some() || header_of(rest).is_some()).then_some(rest)
}

/// The name in `[name]` or `[[name]]`.
fn header_of(line: &str) -> Option<&str> {
    let name = line.strip_prefix('[')?.strip_suffix(']')?;
    let name = name.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(name);
    name.bytes().all(|b| b.is_ascii_lowercase() || b"_.".contains(&b)).then_some(name)
}

fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(" = ")?;
    key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_').then_some(key)
}
