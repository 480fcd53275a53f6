//! Destination URIs and the paths within a destination.
//!
//! As in Hadoop's own `Path`, nothing is percent-decoded: a path is taken literally.

use super::error::{Cause, DestinationError, Result};

/// What serves a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    File,
    Hdfs,
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
        _ => return fail("only the schemes hdfs and file are known"),
    };
    match scheme {
        Scheme::File if !authority.is_empty() => {
            return fail("a file URI has three slashes and an absolute path: file:///dir");
        }
        Scheme::Hdfs if authority.is_empty() => {
            return fail("a host and port, or a name service, is missing after hdfs://");
        }
        Scheme::File | Scheme::Hdfs => {}
    }
    let root = path.trim_end_matches('/');
    if !root.is_empty() && !is_plain(root) {
        return fail("its path has an empty, . or .. component");
    }
    Ok(Address { scheme, authority: authority.to_owned(), root: root.to_owned() })
}

/// Splits the URI of a file into the URI of its destination and the path within it, for
/// [`open`](super::open) and [`Destination::read`](super::Destination::read).
pub fn split(uri: &str) -> Result<(String, String)> {
    let address = parse(uri)?;
    let scheme = match address.scheme {
        Scheme::File => "file",
        Scheme::Hdfs => "hdfs",
    };
    if address.root.is_empty() {
        let cause = Cause::Address("it names no file");
        return Err(DestinationError::new("open", uri, cause));
    }
    Ok((format!("{scheme}://{}", address.authority), address.root))
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
        ] {
            let address = parse(uri).expect("a valid URI");
            let expected = (scheme, authority.to_owned(), root.to_owned());
            assert_eq!((address.scheme, address.authority, address.root), expected, "{uri}");
        }
    }

    #[test]
    fn unusable_uris_are_configuration_errors() {
        for uri in ["s3://b/x", "/var/out", "file://host/x", "hdfs:///x", "file:///a/../b", ""] {
            let error = parse(uri).expect_err(uri);
            assert_eq!(error.reason(), "configuration", "{uri}");
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
