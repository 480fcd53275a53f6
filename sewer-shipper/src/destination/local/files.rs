//! The file system calls that make names durable, blocking, without a destination around them.
//!
//! A name is durable once its directory has been synced, and a directory is a name too.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::destination::error::{Backend, Cause, Kind};

/// The directory of a destination is not there.
#[derive(Debug, Error)]
#[error(
    "the directory {} is not there. Mount the file system that it is on, or make it, for the user \
     of the shipper. It is not made here, where it would stand in for one that is not mounted",
    .0.display()
)]
struct NoRoot(PathBuf);

impl Backend for NoRoot {
    fn classify(&self) -> (Kind, &'static str) {
        (Kind::Stuck, "missing_directory")
    }

    fn timed_out(&self) -> Option<Duration> {
        None
    }
}

/// Refuses a destination whose directory is not there. Whatever is looked for in it would otherwise
/// be absent, and whatever is written would go to another file system than the one meant.
pub(super) fn check_root(root: &Path) -> Result<(), Cause> {
    match fs::metadata(root) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(io::Error::from(io::ErrorKind::NotADirectory).into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Cause::Backend(Box::new(NoRoot(root.to_owned()))))
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes `dir` and what is missing between it and `root`, which is there, durably.
///
/// All below `root` are synced even when they exist: the process that made them may have died
/// before it could.
pub(super) fn make_dirs(root: &Path, dir: &Path) -> io::Result<()> {
    let below = || dir.ancestors().take_while(|path| *path != root && path.starts_with(root));
    let missing: Vec<&Path> = below().take_while(|path| !path.is_dir()).collect();
    for path in missing.iter().rev() {
        match fs::create_dir(path) {
            Ok(()) => {}
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            // Another writer made it meanwhile.
            Err(_) if path.is_dir() => {}
            // Not to be taken for "the file exists".
            Err(_) => return Err(io::ErrorKind::NotADirectory.into()),
        }
        sync_parent(path)?;
    }
    below().try_for_each(sync_parent)
}

/// Makes the names in the directory of `path` durable.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// Renames without overwriting, then makes both directories durable.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match rename_no_replace(from, to) {
        Err(error) if not_offered(&error) => link_then_unlink(from, to)?,
        other => other?,
    }
    sync_parent(to)?;
    if from.parent() != to.parent() {
        sync_parent(from)?;
    }
    Ok(())
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn rename_no_replace(from: &Path, to: &Path) -> io::Result<()> {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    let flags = RenameFlags::RENAME_NOREPLACE;
    renameat2(AT_FDCWD, from, AT_FDCWD, to, flags).map_err(io::Error::from)
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn rename_no_replace(_from: &Path, _to: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether the kernel or the file system does not know a rename that refuses to overwrite.
fn not_offered(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

/// A link never overwrites. A crash in between leaves both names on the same file, which
/// publishing recognises by the final name's length.
fn link_then_unlink(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fallback_rename_never_overwrites() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, "from").expect("write");
        fs::write(&to, "to").expect("write");
        let error = link_then_unlink(&from, &to).expect_err("the name is taken");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&to).expect("read"), b"to");
        assert_eq!(fs::read(&from).expect("read"), b"from");
        fs::remove_file(&to).expect("remove");
        link_then_unlink(&from, &to).expect("the name is free");
        assert_eq!(fs::read(&to).expect("read"), b"from");
        assert!(!from.exists());
    }

    #[test]
    fn a_file_in_the_way_of_a_directory_is_an_error() {
        let root = tempfile::tempdir().expect("a temporary directory");
        fs::write(root.path().join("a"), "").expect("write");
        make_dirs(root.path(), &root.path().join("a/b")).expect_err("a is a file");
        make_dirs(root.path(), &root.path().join("b/c")).expect("nothing is in the way");
        assert!(root.path().join("b/c").is_dir());
    }

    #[test]
    fn the_directory_of_a_destination_is_never_made() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let root = parent.path().join("mount");
        make_dirs(&root, &root.join("a")).expect_err("it is not mounted");
        check_root(&root).expect_err("nor is it there now");
        fs::write(&root, "").expect("write");
        check_root(&root).expect_err("a file is no directory");
        check_root(parent.path()).expect("it is there");
    }
}
