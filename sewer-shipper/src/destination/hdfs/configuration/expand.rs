//! `${name}` in values: a variable of the environment, a system property of Java, or another
//! property.
//!
//! As in Hadoop, the leftmost reference is replaced first, what replaces it may refer again, a
//! reference to nothing leaves the value as it is from there on, and one that comes back to itself
//! leaves the value as it was written.

use std::path::Path;

use nix::unistd::{Uid, User};

/// How many references one value may take.
const REFERENCES_MAX: usize = 20;

/// The most that a value may become: no setting of a client is longer.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// What a reference finds outside of the configuration.
pub(super) struct Surroundings<'a> {
    environment: &'a dyn Fn(&str) -> Option<String>,
    system: &'a dyn Fn(&str) -> Option<String>,
}

impl Surroundings<'static> {
    /// Those of this process.
    pub(super) fn of_process() -> Self {
        Self { environment: &|name| std::env::var(name).ok(), system: &system_property }
    }
}

/// The system properties of Java that configurations refer to.
fn system_property(name: &str) -> Option<String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let user = || User::from_uid(Uid::current()).ok().flatten();
    match name {
        "user.name" => user().map(|user| user.name),
        "user.home" => user().map(|user| text(&user.dir)),
        "user.dir" => std::env::current_dir().ok().map(|dir| text(&dir)),
        "java.io.tmpdir" => Some("/tmp".to_owned()),
        "file.separator" => Some("/".to_owned()),
        "path.separator" => Some(":".to_owned()),
        _ => None,
    }
}

/// Replaces the references in a value; `raw` is a property's value as it was written. `None` if
/// that does not end.
pub(super) fn expand(
    written: &str,
    raw: impl Fn(&str) -> Option<String>,
    surroundings: &Surroundings<'_>,
) -> Option<String> {
    let mut value = written.to_owned();
    for _ in 0..REFERENCES_MAX {
        let Some((start, end)) = find_reference(&value) else { return Some(value) };
        let name = &value[start..end];
        let outside = match name.strip_prefix("env.") {
            Some(variable) if !variable.is_empty() => {
                from_environment(variable, surroundings.environment)
            }
            _ => (surroundings.system)(name),
        };
        let Some(found) = outside.or_else(|| raw(name)) else { return Some(value) };
        let reference = start - "${".len()..end + "}".len();
        if found.contains(&value[reference.clone()]) {
            return Some(written.to_owned());
        }
        value.replace_range(reference, &found);
        if value.len() > VALUE_BYTES_MAX {
            return None;
        }
    }
    None
}

/// `NAME`, `NAME-value if there is none`, or `NAME:-value if there is none or it is empty`.
fn from_environment(
    variable: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Option<String> {
    let bytes = variable.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b':' if bytes.get(at + 1) == Some(&b'-') => {
                let set = environment(&variable[..at]).filter(|value| !value.is_empty());
                return set.or_else(|| Some(variable[at + 2..].to_owned()));
            }
            b'-' => {
                return environment(&variable[..at])
                    .or_else(|| Some(variable[at + 1..].to_owned()));
            }
            _ => {}
        }
    }
    environment(variable)
}

/// Where the name in the leftmost `${name}` begins and ends. A name has no blank, `$` or `}` in it,
/// and is not empty.
fn find_reference(value: &str) -> Option<(usize, usize)> {
    let bytes = value.as_bytes();
    let mut from = 1;
    'brace: while let Some(found) = bytes.get(from..)?.iter().position(|byte| *byte == b'{') {
        let start = from + found + 1;
        if bytes[start - 2] != b'$' {
            from = start;
            continue;
        }
        for (length, byte) in bytes[start..].iter().enumerate() {
            match byte {
                b'}' if length > 0 => return Some((start, start + length)),
                b'}' | b' ' | b'$' => {
                    from = start + length + 1;
                    continue 'brace;
                }
                _ => {}
            }
        }
        return None;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(value: &str) -> Option<String> {
        let properties = |name: &str| {
            let value = match name {
                "host" => "nn1",
                "port" => "8020",
                "address" => "${host}:${port}",
                "self" => "a${self}b",
                "ping" => "${pong}",
                "pong" => "${ping}",
                "more" => "${host}${host}",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let environment = |name: &str| match name {
            "NODE" => Some("n".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let system = |name: &str| (name == "user.name").then(|| "u".to_owned());
        let surroundings = Surroundings { environment: &environment, system: &system };
        expand(value, properties, &surroundings)
    }

    #[test]
    fn references_are_replaced_as_hadoop_replaces_them() {
        for (value, expected) in [
            ("plain", "plain"),
            ("${address}/x", "nn1:8020/x"),
            ("${env.NODE}.${user.name}", "n.u"),
            ("${env.GONE:-d}${env.EMPTY:-e}${env.NODE:-f}", "den"),
            ("${env.GONE-d}${env.EMPTY-e}|", "d|"),
            ("${env.GONE}", "${env.GONE}"),
            ("${gone}${host}", "${gone}${host}"),
            ("${self}", "${self}"),
            ("${}${host}", "${}nn1"),
            ("${a b}${host}", "${a b}nn1"),
            ("${${host}}", "${nn1}"),
            ("{host}$${host}", "{host}$nn1"),
            ("${host", "${host"),
            ("é${host}é", "énn1é"),
        ] {
            assert_eq!(expanded(value).as_deref(), Some(expected), "{value}");
        }
    }

    #[test]
    fn what_does_not_end_has_no_value() {
        assert_eq!(expanded("${ping}").as_deref(), None);
        assert_eq!(expanded(&"${host}".repeat(20)).as_deref(), None, "as in Hadoop");
        assert_eq!(expanded(&"${host}".repeat(19)), Some("nn1".repeat(19)));
    }
}
