//! File descriptors: as many as the system allows, and some kept for what must go on.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit of this process as far as it may, and returns it.
///
/// # Errors
/// A line for the operator.
pub fn raise() -> Result<u64, String> {
    let why = |e: nix::Error| format!("the limit of open files: {}", e.desc());
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(why)?;
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() {
        return Ok(hard);
    }
    Ok(soft)
}
