//! Which files may be read, how much of them, and in which encoding.
//!
//! Whoever may write one file of a configuration must not thereby be able to have any file of this
//! machine read: what a file refers to is in the configuration's directory, wherever symbolic links
//! lead.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::error::{ConfigurationError, Refusal};

/// The most that all files of a configuration may have together, each as often as it is read.
const BYTES_MAX: usize = 2 * 1024 * 1024;

/// A configuration's directory.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    /// The same without symbolic links.
    canonical: PathBuf,
    left_bytes: Cell<usize>,
}

impl Tree {
    pub(super) fn new(root: &Path) -> Result<Self, ConfigurationError> {
        let unreadable = |error| ConfigurationError::Unreadable { file: root.to_owned(), error };
        let canonical = root.canonicalize().map_err(unreadable)?;
        Ok(Self { root: root.to_owned(), canonical, left_bytes: Cell::new(BYTES_MAX) })
    }

    /// The directory as it was given.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where a file is that another one refers to, by a path below `base` or by a `file:` URL.
    pub(super) fn place(&self, base: &Path, reference: &str) -> Result<PathBuf, Refusal> {
        let path = match reference.split_once(':') {
            Some(("file", path)) => path.strip_prefix("//").unwrap_or(path),
            Some((scheme, _)) if is_scheme(scheme) => return Err(Refusal::Remote),
            _ => reference,
        };
        let place = base.join(path);
        let found = place.canonicalize().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Refusal::Missing,
            _ => Refusal::Unreadable(error),
        })?;
        if found.starts_with(&self.canonical) { Ok(place) } else { Err(Refusal::Outside) }
    }

    /// The text of a file; `None` if there is no such file.
    pub(super) fn read(&self, file: &Path) -> Result<Option<String>, ConfigurationError> {
        let unreadable = |error| ConfigurationError::Unreadable { file: file.to_owned(), error };
        match fs::metadata(file) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Err(unreadable(io::Error::other("it is not a regular file"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        }
        let left = self.left_bytes.get();
        let mut bytes = Vec::new();
        let opened = File::open(file).map_err(unreadable)?;
        opened.take(left as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        let Some(left) = left.checked_sub(bytes.len()) else {
            let (what, limit) = ("the configuration with all that it includes", BYTES_MAX);
            return Err(ConfigurationError::TooLarge { file: file.to_owned(), what, limit });
        };
        self.left_bytes.set(left);
        decode(&bytes)
            .map(Some)
            .map_err(|encoding| ConfigurationError::Encoding { file: file.to_owned(), encoding })
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// The text of an XML file, by its byte order mark or its declaration; on failure what it claims to
/// be.
fn decode(bytes: &[u8]) -> Result<String, String> {
    match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => utf8(rest),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
        _ => match declared(bytes).as_deref() {
            None | Some("UTF-8" | "UTF8") => utf8(bytes),
            Some("US-ASCII" | "ASCII") if bytes.is_ascii() => utf8(bytes),
            Some("ISO-8859-1" | "ISO8859-1" | "LATIN1" | "LATIN-1" | "ISO_8859-1") => {
                Ok(bytes.iter().copied().map(char::from).collect())
            }
            Some(other) => Err(other.to_owned()),
        },
    }
}

fn utf8(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "UTF-8 (which its bytes are not)".to_owned())
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().copied().map(unit).collect();
    let text = String::from_utf16(&units).ok().filter(|_| rest.is_empty());
    text.ok_or_else(|| "UTF-16 (which its bytes are not)".to_owned())
}

/// The encoding that an XML declaration names, in capitals.
fn declared(bytes: &[u8]) -> Option<String> {
    let end = bytes.windows(2).position(|pair| pair == b"?>")?;
    let declaration = std::str::from_utf8(&bytes[..end]).ok()?.strip_prefix("<?xml")?;
    let (_, value) = declaration.split_once("encoding")?;
    let value = value.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    Some(value[1..].split_once(quote)?.0.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_decoded_by_its_mark_or_its_declaration() {
        let text = "<a>é</a>";
        let utf16 = |unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
            "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(unit).collect()
        };
        assert_eq!(decode(text.as_bytes()).as_deref(), Ok(text));
        assert_eq!(decode(&utf16(u16::to_be_bytes)).as_deref(), Ok(text));
        assert_eq!(decode(&utf16(u16::to_le_bytes)).as_deref(), Ok(text));
        let latin = b"<?xml version=\"1.0\" encoding='iso-8859-1'?><a>\xe9</a>";
        assert!(decode(latin).expect("known").ends_with(text));
        assert_eq!(decode(b"<?xml version='1.0' encoding='EBCDIC'?><a/>"), Err("EBCDIC".into()));
        decode(b"<a>\xe9</a>").expect_err("it is not UTF-8");
    }

    #[test]
    fn nothing_outside_of_the_directory_is_read_not_even_by_a_link() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (conf, secret) = (dir.path().join("conf"), dir.path().join("secret"));
        fs::create_dir(&conf).expect("create");
        fs::write(&secret, "s").expect("write");
        fs::write(conf.join("in.xml"), "<a/>").expect("write");
        std::os::unix::fs::symlink(&secret, conf.join("link")).expect("link");
        let tree = Tree::new(&conf).expect("it is there");
        let absolute = conf.join("in.xml").display().to_string();
        for inside in ["in.xml", "./in.xml", &absolute, &format!("file://{absolute}")] {
            tree.place(&conf, inside).unwrap_or_else(|why| panic!("{inside}: {why}"));
        }
        for outside in ["../secret", "link", &secret.display().to_string(), "/etc/passwd"] {
            let why = tree.place(&conf, outside).expect_err(outside);
            assert!(matches!(why, Refusal::Outside), "{outside}: {why}");
        }
        for remote in ["http://127.0.0.1/x", "jar:file:/x", "ftp://x/y"] {
            let why = tree.place(&conf, remote).expect_err(remote);
            assert!(matches!(why, Refusal::Remote), "{remote}: {why}");
        }
    }
}
