//! A document's properties, and those of the documents that it includes in their place.
//!
//! What decides is the order in which elements begin and end, not how they are nested: so does
//! Hadoop's class, and a `<value>` in a place of its own is a value to it.

use std::path::{Path, PathBuf};

use roxmltree::{Document, Node, ParsingOptions};

use super::cursor::trim;
use super::entities;
use super::error::{ConfigurationError, Refusal};
use super::tree::Tree;

/// How deep a document may be within others.
const DEPTH_MAX: usize = 16;
/// What is parsed is a tree in memory: a document of small elements is many times its size there.
const NODES_MAX: u32 = 250_000;

/// A property as a file has it.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) name: String,
    /// An element without text has none, and then only `is_final` counts.
    pub(super) value: Option<String>,
    pub(super) is_final: bool,
    pub(super) file: PathBuf,
}

/// The properties of a file; none if there is no such file.
pub(super) fn read(tree: &Tree, file: &Path) -> Result<Vec<Item>, ConfigurationError> {
    let mut items = Vec::new();
    if let Some(text) = tree.read(file)? {
        read_text(tree, file, &text, 0, &mut items)?;
    }
    Ok(items)
}

fn read_text(
    tree: &Tree,
    file: &Path,
    text: &str,
    depth: usize,
    items: &mut Vec<Item>,
) -> Result<(), ConfigurationError> {
    let text = entities::replace(tree, file, text)?;
    let options = ParsingOptions { nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    let parsed = Document::parse_with_options(&text, options);
    let document =
        parsed.map_err(|error| ConfigurationError::Xml { file: file.to_owned(), error })?;
    let mut reader = Reader::new(tree, file, depth, items);
    let root = document.root_element();
    let mut node = root;
    loop {
        reader.begin(node)?;
        if let Some(child) = node.first_child() {
            node = child;
            continue;
        }
        loop {
            reader.end(node)?;
            if node == root {
                return Ok(());
            }
            if let Some(next) = node.next_sibling() {
                node = next;
                break;
            }
            node = node.parent().expect("what is below the root has a parent");
        }
    }
}

/// What has been seen so far of a document.
struct Reader<'a> {
    tree: &'a Tree,
    file: &'a Path,
    depth: usize,
    items: &'a mut Vec<Item>,
    name: Option<String>,
    value: Option<String>,
    is_final: bool,
    /// The text since the last `<name>`, `<value>` or `<final>` began.
    token: String,
    takes_text: bool,
    /// What an `<xi:include>` refers to, if it is not there and a `<xi:fallback>` may stand in.
    missing: Option<String>,
    in_fallback: bool,
}

impl<'a> Reader<'a> {
    fn new(tree: &'a Tree, file: &'a Path, depth: usize, items: &'a mut Vec<Item>) -> Self {
        Self {
            tree,
            file,
            depth,
            items,
            name: None,
            value: None,
            is_final: false,
            token: String::new(),
            takes_text: false,
            missing: None,
            in_fallback: false,
        }
    }

    /// An element begins, or a text is there.
    fn begin(&mut self, node: Node<'_, '_>) -> Result<(), ConfigurationError> {
        if node.is_text() && self.takes_text {
            self.token.push_str(node.text().unwrap_or_default());
        }
        match node.tag_name().name() {
            "property" => {
                // The short form has all of it here.
                self.name = attribute(node, "name");
                self.value = attribute(node, "value");
                self.is_final = attribute(node, "final").is_some_and(|text| text == "true");
            }
            "name" | "value" | "final" | "source" | "tag" => {
                self.takes_text = true;
                self.token.clear();
            }
            "include" => {
                if let Some(reference) = attribute(node, "href") {
                    self.include(reference)?;
                }
            }
            "fallback" => self.in_fallback = true,
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, node: Node<'_, '_>) -> Result<(), ConfigurationError> {
        match node.tag_name().name() {
            "name" if !self.token.is_empty() => self.name = Some(trim(&self.token).to_owned()),
            "value" if !self.token.is_empty() => self.value = Some(self.token.clone()),
            "final" => self.is_final = self.token == "true",
            "include" => {
                if let Some(reference) = self.missing.take()
                    && !self.in_fallback
                {
                    return Err(self.refused(reference, Refusal::Missing));
                }
                self.in_fallback = false;
            }
            "property" => self.property(),
            _ => {}
        }
        Ok(())
    }

    fn property(&mut self) {
        if self.in_fallback && self.missing.is_none() {
            return;
        }
        // It stays until another property begins: Hadoop's class does not forget it either.
        if let Some(name) = self.name.clone() {
            let (value, is_final) = (self.value.clone(), self.is_final);
            self.items.push(Item { name, value, is_final, file: self.file.to_owned() });
        }
    }

    /// Reads what is included. Whatever includes it, its place is told from the configuration's
    /// directory, which Hadoop has on its classpath.
    fn include(&mut self, reference: String) -> Result<(), ConfigurationError> {
        if self.depth == DEPTH_MAX {
            return Err(self.refused(reference, Refusal::Endless));
        }
        let place = match self.tree.place(self.tree.root(), &reference) {
            Ok(place) => place,
            Err(Refusal::Missing) => {
                self.missing = Some(reference);
                return Ok(());
            }
            Err(why) => return Err(self.refused(reference, why)),
        };
        match self.tree.read(&place)? {
            Some(text) => read_text(self.tree, &place, &text, self.depth + 1, self.items),
            None => Err(self.refused(reference, Refusal::Missing)),
        }
    }

    fn refused(&self, reference: String, why: Refusal) -> ConfigurationError {
        ConfigurationError::Reference { file: self.file.to_owned(), reference, why }
    }
}

fn attribute(node: Node<'_, '_>, name: &str) -> Option<String> {
    let found = node.attributes().rfind(|attribute| attribute.name() == name);
    found.map(|attribute| attribute.value().to_owned())
}
