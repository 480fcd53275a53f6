//! The room that a WAL has and takes.
//!
//! The last bytes of a file system are worth more than the next event: with them a segment can be
//! sealed, a shipment planned, and an operator can work. So nothing is prepared ahead out of the
//! reserve that [`crate::WalOptions::min_free_bytes`] names.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::error::{IoContext, WalError};
use crate::format::BLOCK;
use crate::layout::Layout;

/// The bytes that an unprivileged process can still use on the file system of `path`.
pub fn free_bytes(path: &Path) -> Result<u64, WalError> {
    let stat = statvfs(path).context("ask for the free space of", path)?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

/// The bytes that a WAL takes on disk: logs with all that is prepared in them, sealed segments,
/// and what is in quarantine.
pub fn used_bytes(layout: &Layout) -> Result<u64, WalError> {
    let mut bytes = files_in(&layout.sealed_dir())? + files_in(&layout.quarantine_dir())?;
    for number in layout.log_numbers()? {
        bytes += files_in(&layout.log_dir(number))?;
    }
    Ok(bytes)
}

fn files_in(dir: &Path) -> Result<u64, WalError> {
    let gone = |e: &std::io::Error| e.kind() == ErrorKind::NotFound;
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if gone(&e) => return Ok(0),
        Err(e) => return Err(e).context("list", dir),
    };
    let mut bytes = 0;
    for entry in entries {
        let path = entry.context("list", dir)?.path();
        match fs::symlink_metadata(&path) {
            Ok(data) => bytes += data.blocks() * 512,
            Err(e) if gone(&e) => {}
            Err(e) => return Err(e).context("stat", &path),
        }
    }
    Ok(bytes)
}

/// The room of a log that needs to hold no more than the next LSN, twice.
pub(crate) const SMALL_LOG_BYTES: u64 = 2 * BLOCK as u64;

/// The size that a log can have without touching the reserve: `wanted`, less, or `None` if there is
/// no room for a log worth having.
pub(crate) fn room_for_log(
    layout: &Layout,
    wanted: u64,
    min_free_bytes: u64,
) -> Result<Option<u64>, WalError> {
    /// Below this a log is full before the next one is prepared.
    const WORTH_HAVING: u64 = 64 << 10;
    let room = free_bytes(layout.root())?.saturating_sub(min_free_bytes);
    Ok((room >= wanted.min(WORTH_HAVING)).then_some(room.min(wanted)))
}
