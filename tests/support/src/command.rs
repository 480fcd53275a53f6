//! A program run to its end, with a bound.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often an end is looked for.
const POLL: Duration = Duration::from_millis(5);

/// What a program that has ended leaves.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    /// Standard output, of a program that must have succeeded.
    ///
    /// # Panics
    /// If it has not, with all that it wrote.
    pub fn expect_success(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// Runs a command to its end without input. Its output goes to files: a pipe could fill up unread.
///
/// # Errors
/// If it cannot be started or is not done after `limit`; it is killed then.
pub fn run(command: &mut Command, limit: Duration) -> Result<Finished, String> {
    let fail = |e| format!("prepare its output: {e}");
    let (mut out, mut err) =
        (tempfile::tempfile().map_err(fail)?, tempfile::tempfile().map_err(fail)?);
    command.stdin(Stdio::null());
    command.stdout(out.try_clone().map_err(fail)?).stderr(err.try_clone().map_err(fail)?);
    let mut child = command.spawn().map_err(|e| format!("start it: {e}"))?;
    let status = wait(&mut child, limit);
    if status.is_none() {
        child.kill().expect("kill a child of ours");
        child.wait().expect("reap a child of ours");
    }
    let (stdout, stderr) = (text(&mut out), text(&mut err));
    match status {
        Some(status) => Ok(Finished { code: status.code(), stdout, stderr }),
        None => Err(format!("not done after {limit:?}, killed\n{stdout}{stderr}")),
    }
}

/// The variables of the daemons and of the tests are not for the programs under test: these see
/// what a test gives them and nothing from outside.
pub fn without_own_variables(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("SEWER_") || text.starts_with("SEWERTEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Waits for a child; `None` if it is still there after `limit`.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("wait for a child of ours") {
            return Some(status);
        }
        if start.elapsed() > limit {
            return None;
        }
        std::thread::sleep(POLL);
    }
}

fn text(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("read back a temporary file");
    String::from_utf8_lossy(&bytes).into_owned()
}
