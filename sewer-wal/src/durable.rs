//! Names and small files that survive a power cut, with modes that no umask changes: a WAL holds
//! addresses and cookies.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::error::{IoContext, WalError};

/// The mode of every file of a WAL.
pub(crate) const FILE_MODE: u32 = 0o640;
/// The mode of every directory of a WAL.
const DIR_MODE: u32 = 0o750;
/// The permissions that neither may have.
const FOREIGN_MODES: u32 = 0o027;

/// Gives an open file its mode, whatever the umask left of it.
pub(crate) fn set_file_mode(file: &File) -> io::Result<()> {
    if file.metadata()?.mode() & 0o777 == FILE_MODE {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(FILE_MODE))
}

/// Takes from everybody but the owner and its group what an earlier build gave them. A path that
/// belongs to somebody else, or that is not there, is left as it is.
pub(crate) fn restrict(path: &Path) -> Result<(), WalError> {
    let mode = match fs::metadata(path) {
        Ok(data) => data.mode() & 0o7777,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).context("stat", path),
    };
    if mode & FOREIGN_MODES == 0 {
        return Ok(());
    }
    match fs::set_permissions(path, Permissions::from_mode(mode & !FOREIGN_MODES)) {
        Err(e) if e.kind() == ErrorKind::PermissionDenied => Ok(()),
        result => result.context("set the mode of", path),
    }
}

/// Makes what was renamed, made or removed in `dir` survive a power cut.
pub fn sync_dir(dir: &Path) -> Result<(), WalError> {
    File::open(dir).and_then(|dir| dir.sync_all()).context("sync directory", dir)
}

/// The directory that holds `path`.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes `dir`, unless it is there, and its name durable. Not its parents: a missing parent is
/// usually a disk that is not mounted.
///
/// A name that is there is synced, too: the process that made it may have been killed before it
/// could. Where the parent cannot be opened, somebody else has made the name.
pub fn create_dir_durably(dir: &Path) -> Result<(), WalError> {
    match DirBuilder::new().mode(DIR_MODE).create(dir) {
        Ok(()) => {
            if fs::metadata(dir).context("stat", dir)?.mode() & 0o777 != DIR_MODE {
                let mode = Permissions::from_mode(DIR_MODE);
                fs::set_permissions(dir, mode).context("set the mode of", dir)?;
            }
            sync_dir(parent(dir))
        }
        Err(e) if e.kind() == ErrorKind::AlreadyExists && dir.is_dir() => {
            match sync_dir(parent(dir)) {
                Err(WalError::Io { source, .. })
                    if source.kind() == ErrorKind::PermissionDenied =>
                {
                    Ok(())
                }
                synced => synced,
            }
        }
        Err(e) => Err(e).context("create directory", dir),
    }
}

/// Writes a small file so that after a crash it is there whole or not at all: temporary file,
/// sync, rename, sync of the directory.
pub fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), WalError> {
    write_durably_with(path, |_| bytes)
}

/// Writes a small file as [`write_durably`] does, with a content that the file itself decides.
pub(crate) fn write_durably_with<B: AsRef<[u8]>>(
    path: &Path,
    content: impl FnOnce(&Metadata) -> B,
) -> Result<(), WalError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let mut file = create_file(&temporary).context("create", &temporary)?;
    let bytes = content(&file.metadata().context("stat", &temporary)?);
    file.write_all(bytes.as_ref()).context("write", &temporary)?;
    file.sync_all().context("sync", &temporary)?;
    fs::rename(&temporary, path).context("rename into place", path)?;
    sync_dir(parent(path))
}

/// Makes an empty file, in the place of one that is there.
pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    create_file_with(path, 0)
}

/// Makes an empty file as [`create_file`] does, opened with these flags besides.
pub(crate) fn create_file_with(path: &Path, flags: i32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(FILE_MODE);
    let file = options.custom_flags(flags).open(path)?;
    set_file_mode(&file)?;
    Ok(file)
}

/// Removes a file and makes that durable; `false` if it was not there.
pub fn remove_durably(path: &Path) -> Result<bool, WalError> {
    match fs::remove_file(path) {
        Ok(()) => sync_dir(parent(path)).map(|()| true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e).context("remove", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_a_wal_and_older_ones_are_restricted() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        let (below, file) = (dir.path().join("below"), dir.path().join("file"));
        create_dir_durably(&below).unwrap();
        write_durably(&file, b"x").unwrap();
        assert_eq!((mode(&below), mode(&file)), (DIR_MODE, FILE_MODE));
        for (path, old) in [(&below, 0o755), (&file, 0o666)] {
            fs::set_permissions(path, Permissions::from_mode(old)).unwrap();
            restrict(path).unwrap();
        }
        assert_eq!((mode(&below), mode(&file)), (DIR_MODE, FILE_MODE));
    }
}
