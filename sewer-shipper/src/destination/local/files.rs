//! The file system calls that make names durable, blocking, without a destination around them.
//!
//! A name is durable once its directory has been synced, and a directory is a name too.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Makes `dir` and its missing ancestors, durably.
///
/// `root` and the directories below are synced even when they exist: the process that made them may
/// have died before it could. Those above were there before us or are made, and synced, here. In a
/// parent that cannot be read no process of ours has made `root`.
pub(super) fn make_dirs(root: &Path, dir: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|path| !path.is_dir()).collect();
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
    for path in dir.ancestors().take_while(|path| path.starts_with(root)) {
        match sync_parent(path) {
            Err(error) if path == root && error.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
    }
    Ok(())
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
}
