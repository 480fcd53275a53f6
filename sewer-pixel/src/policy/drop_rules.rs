//! `[[event.drop]]`: requests that are answered and not recorded, such as those of monitors.
//!
//! A rule looks at a field as it came, before `[privacy]` takes anything away. What is absent
//! matches nothing. Matching takes time linear in the text, whatever the expression.

use std::collections::BTreeSet;

use regex::bytes::{Regex, RegexBuilder};
use sewer_wal::Event;
use sewer_wal::event::FIELD_NAMES;

use crate::config::DropConfig;

/// The memory that one compiled expression may take.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// The rules, compiled.
#[derive(Debug)]
pub struct DropRules(Box<[Rule]>);

#[derive(Debug)]
struct Rule {
    field: Field,
    regex: Regex,
}

#[derive(Debug)]
enum Field {
    /// One of the seven texts, by its place.
    Text(usize),
    Extra(String),
}

impl DropRules {
    /// The rules of a configuration whose events have fields of these names.
    ///
    /// # Errors
    /// One line that names the key.
    pub fn new(rules: &[DropConfig], names: &BTreeSet<String>) -> Result<Self, String> {
        let compile = |rule: &DropConfig| {
            let name = &rule.field;
            if !names.contains(name) {
                let known = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
                let known = known.join(", ");
                return Err(format!(
                    "key `event.drop.field`: events have no field \"{name}\"; they have {known}"
                ));
            }
            let regex = RegexBuilder::new(&rule.regex).size_limit(REGEX_BYTES_MAX).build();
            let regex = regex.map_err(|e| {
                let why = e.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
                format!("key `event.drop.regex`: {why}")
            })?;
            let place = FIELD_NAMES.iter().position(|text| text == name);
            Ok(Rule { field: place.map_or_else(|| Field::Extra(name.clone()), Field::Text), regex })
        };
        rules.iter().map(compile).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a rule says that the event is not to be recorded.
    #[must_use]
    pub fn matches(&self, event: &Event<'_>) -> bool {
        self.0.iter().any(|rule| {
            let value = match &rule.field {
                Field::Text(place) => event.fields()[*place],
                Field::Extra(wanted) => {
                    event.extra.iter().find_map(|(name, value)| (name == wanted).then_some(*value))
                }
            };
            value.is_some_and(|value| rule.regex.is_match(value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(field: &str, regex: &str) -> Result<DropRules, String> {
        let names = FIELD_NAMES.iter().chain(&["method"]).map(|&name| name.to_owned()).collect();
        DropRules::new(&[DropConfig { field: field.into(), regex: regex.into() }], &names)
    }

    #[test]
    fn a_rule_matches_anywhere_in_its_field_and_never_in_what_is_absent() {
        let event = Event {
            user_agent: Some(b"Mozilla/5.0 (compatible; Examplebot/1.0) \xff"),
            query_string: Some(b""),
            extra: vec![("method", b"HEAD")],
            ..Event::default()
        };
        for (field, regex, matches) in [
            ("user_agent", "(?i)examplebot", true),
            ("user_agent", "^Examplebot", false),
            ("user_agent", r"(?-u)\xff$", true),
            ("query_string", "^$", true),
            ("referer", "^$", false),
            ("referer", "", false),
            ("method", "^HEAD$", true),
            ("method", "^GET$", false),
        ] {
            assert_eq!(rules(field, regex).unwrap().matches(&event), matches, "{field} {regex}");
        }
    }

    #[test]
    fn a_rule_that_could_never_work_is_refused() {
        for (field, regex, key) in [
            ("scheme", "x", "event.drop.field"),
            ("ip", "(", "event.drop.regex"),
            ("ip", "(a{1000}){1000}", "event.drop.regex"),
        ] {
            let error = rules(field, regex).unwrap_err();
            assert!(error.starts_with(&format!("key `{key}`: ")), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
