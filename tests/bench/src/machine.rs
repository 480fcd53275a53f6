//! What a run ran on: figures mean nothing without it.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use sewer_test_support::command;

use crate::cpu;
use crate::settings::{self, Settings};

/// How long a program may take to say its version.
const PATIENCE: Duration = Duration::from_secs(20);

/// The machine and the versions of all that takes part.
pub fn describe(settings: &Settings) -> Value {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let cores = cpu::cores();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    let flume = fs::read_dir(&settings.flume_lib).into_iter().flatten().filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        Some(name.strip_prefix("flume-ng-core-")?.strip_suffix(".jar")?.to_owned())
    });
    let root = settings::workspace().display().to_string();
    json!({
        "date": said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        "processor": format!("{cores} cores, {}", field("model name").unwrap_or_default()),
        "memory": format!("{} MiB", memory.unwrap_or(0) / 1024),
        "kernel": said("uname", &["-sr"]),
        "file system": said("findmnt", &["-no", "FSTYPE,OPTIONS", "-T", &root]),
        "sewer": said("git", &["-C", &root, "describe", "--always", "--dirty"]),
        "rustc": said("rustc", &["--version"]),
        "nginx": said("nginx", &["-v"]),
        "wrk": said("wrk", &["-v"]),
        "ab": said("ab", &["-V"]),
        "Java": said("java", &["-version"]),
        "Flume": flume.last().unwrap_or_else(|| "none".to_owned()),
    })
}

/// The first line of what a program says about itself.
fn said(program: &str, arguments: &[&str]) -> String {
    match command::run(Command::new(program).args(arguments), PATIENCE) {
        Ok(done) => {
            let text = done.stdout + &done.stderr;
            text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
        }
        Err(_) => "none".to_owned(),
    }
}
