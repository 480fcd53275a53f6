//! The pieces of an XML text, one after the other, without judging what they are for.

/// What is left of a text.
pub(super) struct Cursor<'a>(pub(super) &'a str);

impl<'a> Cursor<'a> {
    /// The next so many bytes, or as many as are left; they end where a character does.
    pub(super) fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(super) fn until_any(&mut self, ends: &[char]) -> &'a str {
        self.take(self.0.find(ends).unwrap_or(self.0.len()))
    }

    pub(super) fn space(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    /// A comment, a CDATA section or a processing instruction.
    pub(super) fn verbatim(&mut self) -> Option<&'a str> {
        let kinds = [("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>")];
        let (begin, end) = kinds.into_iter().find(|(begin, _)| self.0.starts_with(begin))?;
        let length = self.0[begin.len()..].find(end).map(|at| begin.len() + at + end.len());
        Some(self.take(length.unwrap_or(self.0.len())))
    }

    pub(super) fn quoted(&mut self) -> Option<&'a str> {
        let quote = self.0.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (text, rest) = self.0[1..].split_once(quote)?;
        self.0 = rest;
        Some(text)
    }

    /// The system identifier, behind a public one if there is that.
    pub(super) fn identifier(&mut self, is_public: bool) -> Option<&'a str> {
        if is_public {
            self.space();
            self.quoted()?;
        }
        self.space();
        self.quoted()
    }

    /// The rest of a declaration.
    pub(super) fn declaration(&mut self) {
        while !self.0.is_empty() {
            self.until_any(&['>', '"', '\'']);
            if self.quoted().is_none() {
                self.take(1);
                return;
            }
        }
    }
}

/// The text of an entity: references to characters in it are replaced when it is declared.
pub(super) fn with_characters(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("&#") {
        out.push_str(before);
        let character = after.split_once(';').and_then(|(number, after)| {
            let code = match number.strip_prefix('x') {
                Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
                None => number.parse(),
            };
            Some((char::from_u32(code.ok()?)?, after))
        });
        if let Some((character, after)) = character {
            out.push(character);
            rest = after;
        } else {
            // For the parser to refuse.
            out.push_str("&#");
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// Without blanks and control characters around it, as Java trims.
pub(in crate::destination::hdfs) fn trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}
