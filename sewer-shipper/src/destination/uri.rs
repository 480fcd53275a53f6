//! Destination URIs and the paths within a destination.
//!
//! As in Hadoop's own `Path`, nothing is percent-decoded: a path is taken literally.

use super::error::{Cause, DestinationError, Result};

/// What serves a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    File,
    Hdfs,
    ViewFs,
}

impl Scheme {
    /// What stands before `://`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Hdfs => "hdfs",
            Self::ViewFs => "viewfs",
        }
    }
}

/// A destination URI, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) scheme: Scheme,
    /// Host and port, or the name of a name service; empty for `file`.
    pub(super) authority: String,
    /// The path that all paths are taken under, without a trailing `/`; empty for the root.
    pub(super) root: String,
}

impl Address {
    /// The URI without its path.
    pub(super) fn uri(&self) -> String {
        format!("{}://{}", self.scheme.name(), self.authority)
    }
}

/// Takes a destination URI apart.
pub(super) fn parse(uri: &str) -> Result<Address> {
    let fail = |why| Err(DestinationError::new("open destination", uri, Cause::Address(why)));
    let Some((scheme, rest)) = uri.split_once("://") else {
        return fail("a destination is a URI such as hdfs://namenode:8020 or file:///dir");
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let scheme = match scheme {
        "file" => Scheme::File,
        "hdfs" => Scheme::Hdfs,
        "viewfs" => Scheme::ViewFs,
        _ => return fail("only the schemes hdfs, viewfs and file are known"),
    };
    match scheme {
        Scheme::File if !authority.is_empty() => {
            return fail("a file URI has three slashes and an absolute path: file:///dir");
        }
        Scheme::Hdfs if authority.is_empty() => {
            return fail("a host and port, or a name service, is missing after hdfs://");
        }
        Scheme::Hdfs if host_and_port(authority).is_none() => {
            return fail(
                "after hdfs:// stands a host, maybe with a port (1 to 65535), or a name service",
            );
        }
        Scheme::ViewFs if authority.is_empty() => {
            return fail("the name of a mount table is missing after viewfs://");
        }
        Scheme::File | Scheme::Hdfs | Scheme::ViewFs => {}
    }
    let root = path.trim_end_matches('/');
    if !root.is_empty() && !is_plain(root) {
        return fail("its path has an empty, . or .. component");
    }
    if scheme != Scheme::File
        && let Some(why) = refused_by_hdfs(root)
    {
        return fail(why);
    }
    Ok(Address { scheme, authority: authority.to_owned(), root: root.to_owned() })
}

/// Splits the URI of a file into the URI of its destination and the path within it, for
/// [`open`](super::open) and [`Destination::read`](super::Destination::read).
pub fn split(uri: &str) -> Result<(String, String)> {
    let address = parse(uri)?;
    if address.root.is_empty() {
        let cause = Cause::Address("it names no file");
        return Err(DestinationError::new("open", uri, cause));
    }
    Ok((address.uri(), address.root))
}

/// Refuses a path that is not absolute and plain, before it reaches a file system that would
/// interpret it.
pub(super) fn check(operation: &'static str, path: &str) -> Result<()> {
    if path == "/" || is_plain(path) {
        return Ok(());
    }
    let cause = Cause::Address("a path is absolute, without empty, . or .. components");
    Err(DestinationError::new(operation, path, cause))
}

/// A host, and a port if there is one; `None` if it is neither. An IPv6 address is in brackets.
pub(super) fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.rfind(':') {
        Some(at) if !authority[at..].contains(']') => {
            (&authority[..at], Some(&authority[at + 1..]))
        }
        _ => (authority, None),
    };
    let is_address = host.starts_with('[') && host.ends_with(']');
    let is_name = host.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if host.is_empty() || !(is_address || is_name) {
        return None;
    }
    let port = match port {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|port| *port > 0)?)
        }
        Some(_) => return None,
        None => None,
    };
    Some((host, port))
}

/// Why HDFS would refuse a path, or hide it; `None` if it takes it. Held to by every destination,
/// so that what is written to one can be copied to the other.
pub fn refused_by_hdfs(path: &str) -> Option<&'static str> {
    /// `dfs.namenode.fs-limits.max-component-length`.
    const NAME_BYTES_MAX: usize = 255;
    /// The `NameNode`'s own limit; what is left is for a file's name.
    const PATH_CHARS_MAX: usize = 8000 - NAME_BYTES_MAX;
    let mut names = path.split('/').skip(1);
    if path.contains(':') {
        return Some("HDFS allows no colon in a name");
    }
    if path.contains('\0') {
        return Some("HDFS allows no NUL in a name");
    }
    if names.clone().next() == Some(".reserved") {
        return Some("HDFS keeps /.reserved to itself");
    }
    if names.clone().any(|name| name == ".snapshot") {
        return Some("HDFS keeps the name .snapshot to itself");
    }
    if names.any(|name| name.len() > NAME_BYTES_MAX) {
        return Some("HDFS allows at most 255 bytes in a name");
    }
    (path.chars().count() > PATH_CHARS_MAX)
        .then_some("HDFS allows at most 8000 characters in a path")
}

fn is_plain(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|rest| {
        rest.split('/').all(|part| !matches!(part, "" | "." | "..")) && !path.contains('\0')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_taken_apart() {
        for (uri, scheme, authority, root) in [
            ("file:///var/out/", Scheme::File, "", "/var/out"),
            ("file:///", Scheme::File, "", ""),
            ("hdfs://nn:8020", Scheme::Hdfs, "nn:8020", ""),
            ("hdfs://nn:8020/", Scheme::Hdfs, "nn:8020", ""),
            ("hdfs://cluster/a%20b", Scheme::Hdfs, "cluster", "/a%20b"),
            ("viewfs://table/a", Scheme::ViewFs, "table", "/a"),
        ] {
            let address = parse(uri).expect("a valid URI");
            let expected = (scheme, authority.to_owned(), root.to_owned());
            assert_eq!((address.scheme, address.authority, address.root), expected, "{uri}");
        }
    }

    #[test]
    fn unusable_uris_are_configuration_errors() {
        for uri in [
            "s3://b/x",
            "/var/out",
            "file://host/x",
            "hdfs:///x",
            "viewfs:///x",
            "file:///a/../b",
            "",
            "hdfs://nn:port",
            "hdfs://nn:0",
            "hdfs://nn:70000",
            "hdfs://:8020",
            "hdfs://n n",
            "hdfs://nn/a:b",
            "viewfs://t/.reserved",
        ] {
            let error = parse(uri).expect_err(uri);
            assert_eq!(error.reason(), "configuration", "{uri}");
        }
    }

    #[test]
    fn an_authority_is_a_host_with_or_without_a_port() {
        for (authority, expected) in [
            ("nn", Some(("nn", None))),
            ("nn:8020", Some(("nn", Some(8020)))),
            ("[::1]:8020", Some(("[::1]", Some(8020)))),
            ("[::1]", Some(("[::1]", None))),
            ("::1", None),
            ("nn:", None),
            ("user@nn", None),
        ] {
            assert_eq!(host_and_port(authority), expected, "{authority}");
        }
    }

    #[test]
    fn what_hdfs_refuses_is_known_beforehand() {
        let long = format!("/{}", "x".repeat(256));
        let deep = "/abcdefgh".repeat(1000);
        for path in ["/a:b", "/.reserved/x", "/a/.snapshot", &long, &deep, "/a\0"] {
            assert!(refused_by_hdfs(path).is_some(), "{path}");
        }
        for path in ["", "/", "/a/.reserved", "/a b/%/\u{e9}/.x", &long[..256]] {
            assert_eq!(refused_by_hdfs(path), None, "{path}");
        }
    }

    #[test]
    fn the_uri_of_a_file_splits_into_destination_and_path() {
        let (destination, path) = split("hdfs://nn:8020/a/b.seq").expect("a valid URI");
        assert_eq!((destination.as_str(), path.as_str()), ("hdfs://nn:8020", "/a/b.seq"));
        let (destination, path) = split("file:///a/b.seq").expect("a valid URI");
        assert_eq!((destination.as_str(), path.as_str()), ("file://", "/a/b.seq"));
        assert!(split("hdfs://nn:8020/").is_err());
    }

    #[test]
    fn a_path_that_leaves_the_destination_is_refused() {
        for path in ["a/b", "/a/../b", "/a//b", "/./a", "", "/a/"] {
            assert!(check("look at", path).is_err(), "{path}");
        }
        assert!(check("look at", "/a/.b.1.tmp").is_ok());
    }
}
