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
    let mut keys = Vec::new();
    for section in known_beside::<T>(UNKNOWN) {
        let in_section = known_beside::<T>(&format!("{section}.{UNKNOWN}"));
        keys.extend(in_section.iter().map(|key| format!("{section}.{key}")));
    }
    keys
}

/// The keys that the daemon offers instead of an unknown one.
fn known_beside<T: Serialize + DeserializeOwned + Default + Debug>(unknown: &str) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let answer = load::<T>(&directory.path().join("absent"), None, &[format!("{unknown}=1")])
        .expect_err("nobody knows this key")
        .to_string();
    let (_, known) = answer.split_once("; known here: ").unwrap_or_else(|| panic!("{answer}"));
    known.split(", ").map(|key| key.trim_matches('`').to_owned()).collect()
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
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
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

/// The key in a comment such as `# key = 1`; prose is no key.
fn uncommented(line: &str) -> Option<&str> {
    line.strip_prefix("# ").filter(|rest| key_of(rest).is_some())
}

fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(" = ")?;
    key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_').then_some(key)
}
