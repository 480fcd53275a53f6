//! A document without its document type: each entity that it declares is put where it is named.
//!
//! Done before the document is parsed, so that what comes of it is bounded exactly: by bytes, and
//! by the number of references, for entities can also multiply without a byte. Names within
//! comments, CDATA sections and processing instructions are no references. Declarations of anything
//! but entities say nothing that a configuration needs.

use std::collections::HashMap;
use std::path::Path;

use super::cursor::{Cursor, with_characters};
use super::error::{ConfigurationError, Refusal};
use super::tree::Tree;

/// The most that a document may have once its entities are in their places.
const BYTES_MAX: usize = 2 * 1024 * 1024;
/// How many references may be followed in one document.
const REFERENCES_MAX: usize = 10_000;
/// How deep an entity may be within others.
const DEPTH_MAX: usize = 16;

/// The entities that every document has; the parser replaces them.
const PREDEFINED: [&str; 5] = ["lt", "gt", "amp", "apos", "quot"];

/// Puts the entities of a document in their places.
pub(super) fn replace(tree: &Tree, file: &Path, text: &str) -> Result<String, ConfigurationError> {
    let mut document = Document {
        tree,
        file,
        general: HashMap::new(),
        parameter: HashMap::new(),
        references: 0,
        out: String::with_capacity(text.len()),
    };
    document.content(text, 0)?;
    Ok(document.out)
}

/// What an entity stands for.
#[derive(Clone, Debug)]
enum Entity {
    Text(String),
    /// The system identifier of a file.
    File(String),
}

struct Document<'a> {
    tree: &'a Tree,
    file: &'a Path,
    general: HashMap<String, Entity>,
    parameter: HashMap<String, Entity>,
    references: usize,
    out: String,
}

type Done<T = ()> = Result<T, ConfigurationError>;

impl Document<'_> {
    fn problem(&self, problem: impl Into<String>) -> ConfigurationError {
        ConfigurationError::DocumentType { file: self.file.to_owned(), problem: problem.into() }
    }

    fn push(&mut self, text: &str) -> Done {
        if self.out.len() + text.len() > BYTES_MAX {
            let (what, limit) = ("the document with its entities", BYTES_MAX);
            return Err(ConfigurationError::TooLarge { file: self.file.to_owned(), what, limit });
        }
        self.out.push_str(text);
        Ok(())
    }

    /// Copies what can stand between tags, and tags.
    fn content(&mut self, text: &str, depth: usize) -> Done {
        let mut cursor = Cursor(text);
        while !cursor.0.is_empty() {
            let plain = cursor.until_any(&['<', '&']);
            self.push(plain)?;
            if cursor.0.starts_with('&') {
                self.reference(&mut cursor, depth, |document, text, depth| {
                    document.content(text, depth)
                })?;
            } else if depth == 0 && cursor.0.starts_with("<!DOCTYPE") {
                let before = cursor.0;
                self.document_type(&mut cursor)?;
                // Errors of the parser name lines.
                let lines = before[..before.len() - cursor.0.len()].matches('\n').count();
                self.push(&"\n".repeat(lines))?;
            } else if let Some(verbatim) = cursor.verbatim() {
                self.push(verbatim)?;
            } else {
                self.tag(&mut cursor)?;
            }
        }
        Ok(())
    }

    /// Copies one tag.
    fn tag(&mut self, cursor: &mut Cursor<'_>) -> Done {
        loop {
            let plain = cursor.until_any(&['>', '"', '\'']);
            self.push(plain)?;
            let Some(quote) = cursor.0.chars().next() else { return Ok(()) };
            self.push(cursor.take(1))?;
            if quote == '>' {
                return Ok(());
            }
            let value = cursor.until_any(&[quote]);
            self.attribute(value, 0)?;
            self.push(cursor.take(1))?;
        }
    }

    /// Copies the value of an attribute, in which a quote of an entity is no end of it.
    fn attribute(&mut self, text: &str, depth: usize) -> Done {
        let mut cursor = Cursor(text);
        while !cursor.0.is_empty() {
            let plain = cursor.until_any(&['&']);
            if depth == 0 {
                self.push(plain)?;
            } else {
                self.push(&plain.replace('"', "&quot;").replace('\'', "&apos;"))?;
            }
            if !cursor.0.is_empty() {
                self.reference(&mut cursor, depth, |document, text, depth| {
                    document.attribute(text, depth)
                })?;
            }
        }
        Ok(())
    }

    /// Follows, or copies, the reference at the cursor.
    fn reference(
        &mut self,
        cursor: &mut Cursor<'_>,
        depth: usize,
        copy: impl FnOnce(&mut Self, &str, usize) -> Done,
    ) -> Done {
        let Some(end) = cursor.0.find(';') else { return self.push(cursor.take(1)) };
        let name = &cursor.0[1..end];
        if name.starts_with('#') || PREDEFINED.contains(&name) {
            return self.push(cursor.take(end + 1));
        }
        let Some(entity) = self.general.get(name).cloned() else {
            return Err(self.problem(format!("the entity &{name}; is not declared")));
        };
        let text = self.text_of(name, &entity, depth)?;
        cursor.take(end + 1);
        copy(self, &text, depth + 1)
    }

    fn text_of(&mut self, name: &str, entity: &Entity, depth: usize) -> Done<String> {
        self.references += 1;
        if depth == DEPTH_MAX || self.references > REFERENCES_MAX {
            return Err(self.problem(format!("the entity {name} refers to others without end")));
        }
        match entity {
            Entity::Text(text) => Ok(text.clone()),
            Entity::File(reference) => self.load(reference),
        }
    }

    /// The text of an external entity, without the declaration that it may begin with.
    fn load(&self, reference: &str) -> Done<String> {
        let refused = |why| ConfigurationError::Reference {
            file: self.file.to_owned(),
            reference: reference.to_owned(),
            why,
        };
        let base = self.file.parent().unwrap_or(self.tree.root());
        let place = self.tree.place(base, reference).map_err(refused)?;
        let text = self.tree.read(&place)?.ok_or_else(|| refused(Refusal::Missing))?;
        let declared = text.strip_prefix("<?xml").and_then(|rest| rest.split_once("?>"));
        Ok(match declared {
            Some((_, rest)) => rest.to_owned(),
            None => text,
        })
    }

    /// Reads a document type; declarations within the document come before those of its file.
    fn document_type(&mut self, cursor: &mut Cursor<'_>) -> Done {
        cursor.take("<!DOCTYPE".len());
        let head = cursor.until_any(&['[', '>', '"', '\'']);
        let mut head = head.trim();
        let mut external = None;
        if let Some(rest) = head.strip_suffix("SYSTEM").or_else(|| head.strip_suffix("PUBLIC")) {
            let is_public = head.ends_with("PUBLIC");
            head = rest;
            external = cursor.identifier(is_public);
            cursor.space();
        }
        if head.trim().is_empty() {
            return Err(self.problem("its document type has no name"));
        }
        if cursor.0.starts_with('[') {
            cursor.take(1);
            self.declarations(cursor, 0)?;
            if !cursor.0.starts_with(']') {
                return Err(self.problem("its document type does not end"));
            }
            cursor.take(1);
            cursor.space();
        }
        if !cursor.0.starts_with('>') {
            return Err(self.problem("its document type does not end"));
        }
        cursor.take(1);
        if let Some(reference) = external {
            let text = self.load(reference)?;
            let mut cursor = Cursor(&text);
            self.declarations(&mut cursor, 0)?;
        }
        Ok(())
    }

    /// Reads declarations up to a `]` or the end.
    fn declarations(&mut self, cursor: &mut Cursor<'_>, depth: usize) -> Done {
        loop {
            cursor.space();
            if cursor.0.is_empty() || cursor.0.starts_with(']') {
                return Ok(());
            }
            if cursor.0.starts_with('%') {
                cursor.take(1);
                let name = cursor.until_any(&[';']).to_owned();
                cursor.take(1);
                let Some(entity) = self.parameter.get(&name).cloned() else {
                    return Err(self.problem(format!("the entity %{name}; is not declared")));
                };
                let text = self.text_of(&name, &entity, depth)?;
                self.declarations(&mut Cursor(&text), depth + 1)?;
            } else if cursor.0.starts_with("<!ENTITY") {
                cursor.take("<!ENTITY".len());
                self.entity(cursor)?;
            } else if cursor.verbatim().is_none() {
                if !cursor.0.starts_with("<!") || cursor.0.starts_with("<![") {
                    return Err(self.problem("its document type cannot be read"));
                }
                cursor.declaration();
            }
        }
    }

    /// Reads the rest of an entity's declaration. The first one of a name holds.
    fn entity(&mut self, cursor: &mut Cursor<'_>) -> Done {
        cursor.space();
        let is_parameter = cursor.0.starts_with('%');
        if is_parameter {
            cursor.take(1);
            cursor.space();
        }
        let name = cursor.until_any(&[' ', '\t', '\r', '\n', '"', '\'', '>']).to_owned();
        cursor.space();
        let entity = if let Some(text) = cursor.quoted() {
            Some(Entity::Text(with_characters(text)))
        } else {
            let is_public = cursor.0.starts_with("PUBLIC");
            if is_public || cursor.0.starts_with("SYSTEM") {
                cursor.take("SYSTEM".len());
                cursor.identifier(is_public).map(|id| Entity::File(id.to_owned()))
            } else {
                None
            }
        };
        let Some(entity) = entity.filter(|_| !name.is_empty()) else {
            return Err(self.problem("the declaration of an entity cannot be read"));
        };
        let declared = if is_parameter { &mut self.parameter } else { &mut self.general };
        declared.entry(name).or_insert(entity);
        cursor.declaration();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn replaced(text: &str) -> Result<String, ConfigurationError> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(dir.path().join("in.xml"), "<?xml version='1.0'?><i>&amp;</i>").expect("write");
        fs::write(dir.path().join("all.dtd"), "<!ENTITY a 'late'><!ENTITY d 'dtd'>")
            .expect("write");
        let tree = Tree::new(dir.path()).expect("it is there");
        replace(&tree, &dir.path().join("hdfs-site.xml"), text)
    }

    #[test]
    fn entities_are_put_where_they_are_named_and_nowhere_else() {
        let declared = "<!DOCTYPE c SYSTEM 'all.dtd' [<!-- &a; --><!ENTITY a \"1>'\">\n\
                        <!ENTITY b '&a;&#38;lt;'><!ENTITY f SYSTEM \"in.xml\"><!ELEMENT c ANY>\
                        <!ENTITY % p '<!ENTITY q \"from p\">'> %p; <!ENTITY a 'second'>]>";
        for (body, expected) in [
            ("<c>&a;</c>", "<c>1>'</c>"),
            ("<c>&b;&amp;&#65;</c>", "<c>1>'&lt;&amp;&#65;</c>"),
            ("<c x='&b;' y=\"&q;\">&f;</c>", "<c x='1>&apos;&lt;' y=\"from p\"><i>&amp;</i></c>"),
            (
                "<c><!--&a;--><![CDATA[&a;]]><?p &a;?></c>",
                "<c><!--&a;--><![CDATA[&a;]]><?p &a;?></c>",
            ),
            ("<c>&d;</c>", "<c>dtd</c>"),
        ] {
            let found = replaced(&format!("{declared}{body}")).expect(body);
            assert_eq!(found, format!("\n{expected}"));
        }
    }

    #[test]
    fn what_multiplies_is_stopped() {
        let bombs = [
            // Bytes, with and without depth; references without a byte; and a circle.
            format!(
                "<!DOCTYPE c [<!ENTITY a '{}'>]><c>{}</c>",
                "x".repeat(9_000),
                "&a;".repeat(900)
            ),
            bomb("lol"),
            bomb(""),
            "<!DOCTYPE c [<!ENTITY a '&b;'><!ENTITY b '&a;'>]><c>&a;</c>".to_owned(),
            "<!DOCTYPE c [<!ENTITY % a '&#37;a;'> %a;]><c/>".to_owned(),
        ];
        for bomb in bombs {
            let error = replaced(&bomb).expect_err("it has no end that anybody waits for");
            assert!(error.to_string().contains("hdfs-site.xml"), "{error}");
        }
    }

    fn bomb(seed: &str) -> String {
        let mut declared = format!("<!ENTITY a0 '{seed}'>");
        for i in 1..10 {
            let ten = format!("&a{};", i - 1).repeat(10);
            declared = format!("{declared}<!ENTITY a{i} '{ten}'>");
        }
        format!("<!DOCTYPE c [{declared}]><c>&a9;</c>")
    }

    #[test]
    fn what_is_cut_off_is_left_to_the_parser_or_refused() {
        let whole = "<!DOCTYPE c PUBLIC 'p' 'all.dtd' [<!ENTITY a 'x'>]><c n='&a;'>&a;<!--x--></c>";
        for end in 0..=whole.len() {
            // Either answer will do; it must be one.
            let _ = replaced(&whole[..end]);
        }
        for text in ["<c>&gone;</c>", "<!DOCTYPE c [%gone;]><c/>", "<!DOCTYPE [x]><c/>"] {
            replaced(text).expect_err(text);
        }
    }
}
