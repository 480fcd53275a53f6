//! A process that must not outlive the test process, however that ends.
//!
//! A shell reads from a pipe that only the test process holds open; when that closes, the shell
//! kills the process it watches. Signals that end a terminal's job do not reach it.

use std::process::{Child, Command, Stdio};

/// Kills a process when the test process ends.
#[derive(Debug)]
pub struct Watch(Child);

impl Watch {
    /// Watches a child of ours. Drop it when the child has ended: its number is then free.
    pub fn over(pid: u32) -> Self {
        Self::start(pid.to_string())
    }

    /// Watches the process group that a child of ours leads: what it has started, too, in one go.
    pub fn over_group(pid: u32) -> Self {
        Self::start(format!("-{pid}"))
    }

    fn start(target: String) -> Self {
        let shell = Command::new("/bin/sh")
            .arg("-c")
            .arg("trap '' HUP INT TERM; read -r line; kill -KILL \"$0\"")
            .arg(target)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start a shell");
        Self(shell)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Killed before its pipe closes, or it would do what it is there for.
        self.0.kill().expect("kill a child of ours");
        self.0.wait().expect("reap a child of ours");
    }
}
