//! The lines of `--check`: what would work here, and what would not.

use std::io::Write as _;
use std::path::Path;

use nix::unistd::{AccessFlags, access};

/// Prints a line per thing that must work, that of the configuration first; `true` if all do.
pub fn print(results: &[(&str, Result<String, String>)]) -> bool {
    let mut out = std::io::stdout().lock();
    // Whoever has seen enough may close the pipe; the exit code says it all.
    let _ = writeln!(out, "ok    configuration");
    for (what, result) in results {
        let _ = match result {
            Ok(found) => writeln!(out, "ok    {what}: {found}"),
            Err(problem) => writeln!(out, "FAIL  {what}: {problem}"),
        };
    }
    results.iter().all(|(_, result)| result.is_ok())
}

/// Whether files can be made in a directory that exists.
///
/// # Errors
/// A line for the operator.
pub fn writable(dir: &Path) -> Result<(), String> {
    access(dir, AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(|e| format!("{}: {}", dir.display(), e.desc()))
}

/// Whether a directory that does not exist could be made; `key` is the one that names it.
///
/// # Errors
/// A line for the operator.
pub fn can_be_made(dir: &Path, key: &str) -> Result<String, String> {
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    writable(parent).map_err(|e| format!("{e}; make it, or set {key}"))?;
    Ok(format!("{} will be made", dir.display()))
}
