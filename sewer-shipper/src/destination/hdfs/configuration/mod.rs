//! Hadoop's configuration files, read as Hadoop's own class `Configuration` (3.4) reads them.
//!
//! In the order in which a file goes through it:
//! - [`tree`]: which files may be read, how much of them, and in which encoding
//! - [`entities`]: the document type, and its entities put in their places; [`cursor`] cuts the
//!   text
//! - [`document`]: a document's properties, those that it includes in their place
//! - here: properties of several files, of which a later one overrides an earlier one, unless that
//!   is final; and old names, which [`deprecated`] knows
//! - [`expand`]: `${…}` in values, when they are asked for; [`error`]: why all that is not possible
//!
//! A test holds all of it to Hadoop's class. Not read, on purpose: Hadoop's own defaults
//! (`core-default.xml`), and whatever lies outside of the directory or on another machine. Bounded:
//! the bytes that are read and that come of them, the depth of what refers to each other.

mod cursor;
mod deprecated;
mod document;
mod entities;
mod error;
mod expand;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub(super) use self::cursor::trim;
pub(super) use self::error::ConfigurationError;

use self::document::Item;
use self::tree::Tree;

/// The files of a client, in Hadoop's order.
const FILES: [&str; 2] = ["core-site.xml", "hdfs-site.xml"];

/// The most that all values together may have once they are expanded.
const EXPANDED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The properties of a configuration directory.
#[derive(Debug, Default)]
pub(in crate::destination) struct Configuration {
    properties: BTreeMap<String, Property>,
    finals: BTreeSet<String>,
}

#[derive(Debug)]
struct Property {
    value: String,
    file: PathBuf,
}

impl Configuration {
    /// Reads the files of a directory; one that is not there says nothing.
    pub(in crate::destination) fn read(dir: &Path) -> Result<Self, ConfigurationError> {
        let tree = Tree::new(dir)?;
        let mut configuration = Self::default();
        for file in FILES {
            for item in document::read(&tree, &dir.join(file))? {
                configuration.load(item);
            }
        }
        Ok(configuration)
    }

    fn load(&mut self, Item { name, value, is_final, file }: Item) {
        if trim(&name) != name {
            // Whoever asks for a property gives its name without blanks.
            return;
        }
        let name = deprecated::current(&name).to_owned();
        if let Some(value) = value
            && !self.finals.contains(&name)
        {
            self.properties.insert(name.clone(), Property { value, file });
        }
        if is_final {
            self.finals.insert(name);
        }
    }

    /// The expanded value of a property.
    pub(in crate::destination) fn get(
        &self,
        name: &str,
    ) -> Result<Option<String>, ConfigurationError> {
        let name = deprecated::current(name);
        let Some(property) = self.properties.get(name) else { return Ok(None) };
        let raw = |name: &str| {
            self.properties.get(deprecated::current(name)).map(|property| property.value.clone())
        };
        let expanded = expand::expand(&property.value, raw, &expand::Surroundings::of_process());
        expanded.map(Some).ok_or_else(|| ConfigurationError::Endless {
            file: property.file.clone(),
            name: name.to_owned(),
        })
    }

    /// The expanded value of a property, without blanks around it, as Hadoop takes most of them.
    pub(super) fn trimmed(&self, name: &str) -> Result<Option<String>, ConfigurationError> {
        Ok(self.get(name)?.map(|value| trim(&value).to_owned()))
    }

    /// The file that a property comes from.
    pub(super) fn file_of(&self, name: &str) -> Option<&Path> {
        self.properties.get(deprecated::current(name)).map(|property| property.file.as_path())
    }

    /// All properties, expanded. One that cannot be is left out: Hadoop has an error for who asks
    /// for it, and for nobody else.
    pub(in crate::destination) fn all(
        &self,
    ) -> Result<BTreeMap<String, String>, ConfigurationError> {
        let mut all = BTreeMap::new();
        let mut bytes = 0;
        for (name, property) in &self.properties {
            let Ok(Some(value)) = self.get(name) else { continue };
            bytes += value.len();
            if bytes > EXPANDED_BYTES_MAX {
                let (what, limit) = ("what its values refer to", EXPANDED_BYTES_MAX);
                return Err(ConfigurationError::TooLarge {
                    file: property.file.clone(),
                    what,
                    limit,
                });
            }
            all.insert(name.clone(), value);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests;
