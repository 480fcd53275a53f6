//! The layers of a configuration: file and flags, and what is left out of one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider, Source};
use toml::de::{DeTable, DeValue};

use super::ConfigError;

/// A layer without some of its keys.
pub(super) struct Without<'a, P>(pub &'a P, pub &'a [Vec<String>]);

impl<P: Provider> Provider for Without<'_, P> {
    fn metadata(&self) -> Metadata {
        self.0.metadata()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut data = self.0.data()?;
        for dict in data.values_mut() {
            for path in self.1 {
                remove(dict, path);
            }
        }
        Ok(data)
    }
}

/// Removes the value of a key, if it is there.
fn remove(dict: &mut Dict, path: &[String]) {
    let Some((name, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        dict.remove(name);
        return;
    }
    match (dict.get_mut(name), rest) {
        (Some(Value::Dict(_, inner)), rest) => remove(inner, rest),
        (Some(Value::Array(_, items)), [index, rest @ ..]) => {
            let item = index.parse().ok().and_then(|index: usize| items.get_mut(index));
            match item {
                Some(Value::Dict(_, inner)) if !rest.is_empty() => remove(inner, rest),
                // What is wrong with a part of a list is wrong with the list.
                Some(_) => drop(dict.remove(name)),
                None => {}
            }
        }
        _ => {}
    }
}

/// The configuration file, already read, so that errors name it and never another file.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub path: PathBuf,
    pub text: String,
}

impl Provider for File {
    fn metadata(&self) -> Metadata {
        Metadata::from("file", Source::File(self.path.clone()))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Toml::string(&self.text).data()
    }
}

impl File {
    /// The line on which a key stands, or the nearest section above it.
    pub fn line_of(&self, key: &[String]) -> Option<usize> {
        let table = DeTable::parse(&self.text).ok()?;
        let mut at = None;
        let mut within = Some(table.get_ref());
        let mut parts = key.iter();
        while let (Some(table), Some(part)) = (within, parts.next()) {
            let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == part) else {
                break;
            };
            at = Some(name.span().start);
            within = match value.get_ref() {
                DeValue::Table(table) => Some(table),
                DeValue::Array(items) => {
                    let item =
                        parts.next().and_then(|index| items.get(index.parse::<usize>().ok()?));
                    at = item.map(|item| item.span().start).or(at);
                    item.and_then(|item| item.get_ref().as_table())
                }
                _ => None,
            };
        }
        Some(1 + self.text.get(..at?)?.matches('\n').count())
    }
}

/// The layer of `--set section.key=value`.
#[derive(Clone, Debug)]
pub(super) struct Flags(String);

impl Flags {
    pub fn parse(sets: &[String]) -> Result<Self, ConfigError> {
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
