//! The shipper's log as an operator reads it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Lines that a fault may cost beside those of its retries.
const ALARMS_PER_FAULT: u64 = 30;
/// Lines per second while it lasts: two shipments, each tried again a little more than once.
const ALARMS_PER_SECOND: u64 = 4;

/// The log of one shipper.
#[derive(Debug)]
pub struct Log(PathBuf);

impl Log {
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The lines that call for attention: warnings and errors.
    pub fn alarms(&self) -> Vec<String> {
        self.lines().into_iter().filter(|line| is_alarm(line)).collect()
    }

    /// Holds the log to what an operator needs: a reason out of `reasons` (if there are any), no
    /// flood in `duration`, no panic, no stack trace.
    pub fn check(&self, reasons: &[&str], faults: u32, duration: Duration) -> Result<(), String> {
        let panics = |line: &&String| line.contains("panicked at");
        if let Some(line) = self.lines().iter().find(panics) {
            return Err(format!("the shipper panicked: {line}"));
        }
        if let Some(line) = self.lines().iter().find(|line| line.starts_with("\tat ")) {
            return Err(format!("a stack trace tells an operator nothing: {line}"));
        }
        let alarms = self.alarms();
        let tells = |line: &String| reasons.iter().any(|reason| has_reason(line, reason));
        if !reasons.is_empty() && !alarms.iter().any(tells) {
            let tail = tail(&alarms);
            return Err(format!("no warning of the shipper has a reason of {reasons:?}: {tail}"));
        }
        let most = u64::from(faults) * ALARMS_PER_FAULT + ALARMS_PER_SECOND * duration.as_secs();
        if alarms.len() as u64 > most {
            let (count, tail) = (alarms.len(), tail(&alarms));
            return Err(format!("{count} warnings in {duration:?}, more than {most}: {tail}"));
        }
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        // Missing before the first start.
        let log = fs::read(&self.0).unwrap_or_default();
        String::from_utf8_lossy(&log).lines().map(str::to_owned).collect()
    }
}

/// `2030-01-01T00:00:00.000000Z  WARN what happened reason="…"`
fn is_alarm(line: &str) -> bool {
    matches!(line.split_whitespace().nth(1), Some("WARN" | "ERROR"))
}

fn has_reason(line: &str, reason: &str) -> bool {
    line.contains(&format!("reason=\"{reason}\""))
}

fn tail(lines: &[String]) -> String {
    let last = &lines[lines.len().saturating_sub(20)..];
    if last.is_empty() { "there is none".to_owned() } else { format!("\n{}", last.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "2030-01-01T00:00:00.000000Z  WARN create /a: no reason=\"safe_mode\" n=1\n";

    fn check(text: &str, reasons: &[&str]) -> Result<(), String> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("log");
        fs::write(&path, text).expect("write");
        Log::new(&path).check(reasons, 1, Duration::from_secs(1))
    }

    #[test]
    fn a_reason_is_asked_for_and_a_flood_or_a_panic_refused() {
        assert_eq!(check(LINE, &["timeout", "safe_mode"]), Ok(()));
        assert_eq!(check("", &[]), Ok(()));
        for (text, reasons, told) in [
            (LINE.to_owned(), &["timeout"][..], "no warning"),
            (LINE.replace("WARN", "INFO"), &["safe_mode"], "no warning"),
            (LINE.repeat(40), &["safe_mode"], "40 warnings"),
            (format!("{LINE}\tat a.B.c(B.java:1)\n"), &["safe_mode"], "stack trace"),
            ("thread 'main' panicked at src/x.rs:1:1:\n".to_owned(), &[], "panicked"),
        ] {
            let error = check(&text, reasons).expect_err(told);
            assert!(error.contains(told), "{error}");
        }
    }
}
