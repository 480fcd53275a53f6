//! Programs that some suites need and that are not ours: `tests/run` installs them where it can.

use std::path::PathBuf;

use crate::hadoop::skip;

/// Where a program is, if it is in one of the directories of `PATH`; says so on standard error if
/// the tests of `suite` are skipped for want of it.
///
/// # Panics
/// If it is missing and `SEWERTEST_REQUIRE_TOOLS=1` says that it must not be.
pub fn find_or_skip(program: &str, package: &str, suite: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|p| p.is_file());
    if found.is_none() {
        let why = format!("there is no {program} (Debian: apt-get install {package})");
        let required = std::env::var_os("SEWERTEST_REQUIRE_TOOLS").is_some_and(|v| v == "1");
        assert!(!required, "{suite} must run (SEWERTEST_REQUIRE_TOOLS=1): {why}");
        skip(suite, &why);
    }
    found
}
