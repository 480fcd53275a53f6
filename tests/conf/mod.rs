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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf").join(name);
    let text = std::fs::read_to_string(&path).expect("read the file");
    assert_eq!(parse::<T>(&text), T::default(), "{name} as it is gives the defaults");

    let known = known_keys::<T>();
    assert_eq!(keys_in(&text, true), known, "the keys of {name}, commented or not, in order");
    let with_default = sorted(keys_in(&text, false));
    assert_eq!(with_default, keys_of(&T::default()), "the keys of {name} that have a default");
    let everything = parse::<T>(&uncomment(&text));
    assert_eq!(keys_of(&everything), sorted(known), "the keys of {name} with all uncommented");
}

/// What the daemon makes of a file with this text.
fn parse<T: Serialize + DeserializeOwned + Default>(text: &str) -> T {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("conf.toml");
    std::fs::write(&file, text).expect("write a file");
    load(&file, Some(&file), &[]).unwrap_or_else(|e| panic!("{e}"))
}

/// Every `section.key` that the code knows, in its order.
fn known_keys<T: Serialize + DeserializeOwned + Default + Debug>() -> Vec<String> {
    let sections = known_in::<T>("").expect("there are sections");
    sections.iter().flat_map(|section| known_below::<T>(section)).collect()
}

/// The key itself, or if it is a section every key in it.
fn known_below<T: Serialize + DeserializeOwned + Default + Debug>(key: &str) -> Vec<String> {
    match known_in::<T>(&format!("{key}.")) {
        Some(keys) => {
            keys.iter().flat_map(|name| known_below::<T>(&format!("{key}.{name}"))).collect()
        }
        None => vec![key.to_owned()],
    }
}

/// The keys that the daemon offers instead of an unknown one in a section, if it is one.
fn known_in<T: Serialize + DeserializeOwned + Default + Debug>(
    prefix: &str,
) -> Option<Vec<String>> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let absent = directory.path().join("absent");
    let answer = load::<T>(&absent, None, &[format!("{prefix}{UNKNOWN}=1")]).err()?.to_string();
    let (_, known) = answer.split_once("; known here: ")?;
    Some(known.split(", ").map(|key| key.trim_matches('`').to_owned()).collect())
}

/// Every `section.key` that a configuration has a value for, sorted.
fn keys_of(config: &impl Serialize) -> Vec<String> {
    let text = toml::to_string(config).expect("a configuration can be written as TOML");
    sorted(keys_in(&text, false))
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
        if let Some(name) = section_of(line) {
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

/// The key in a comment such as `# key = 1`, or the section in one such as `# [section.name]`;
/// prose is neither.
fn uncommented(line: &str) -> Option<&str> {
    line.strip_prefix("# ").filter(|rest| key_of(rest).is_some() || section_of(rest).is_some())
}

fn section_of(line: &str) -> Option<&str> {
    let name = line.strip_prefix('[')?.strip_suffix(']')?;
    name.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'.')).then_some(name)
}

fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(" = ")?;
    key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_').then_some(key)
}
