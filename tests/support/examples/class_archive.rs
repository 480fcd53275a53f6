//! Makes JVMs with Hadoop's classes start faster. `tests/run` runs it once.

use std::process::ExitCode;

fn main() -> ExitCode {
    match sewer_test_support::class_archive::make() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
