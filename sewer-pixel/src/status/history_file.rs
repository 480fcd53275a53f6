//! The file that lets the history survive a restart.
//!
//! One JSON object: `{"version": 1, "rings": […]}`, replaced as a whole by a rename. It is never
//! synced, so that it adds nothing to the disk's work beside the WAL: a power cut may lose it, or
//! damage it, and then the history begins anew.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::status::history::History;

/// A larger file is none of ours: a full one has some 90 KB.
const BYTES_MAX: u64 = 1 << 20;

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    rings: History,
}

/// Where the history is kept.
#[derive(Debug)]
pub struct HistoryFile {
    path: PathBuf,
    is_failing: bool,
}

impl HistoryFile {
    /// It need not be there yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, is_failing: false }
    }

    /// What an earlier process left. What cannot be used is passed over with a warning.
    #[must_use]
    pub fn load(&self) -> History {
        match read(&self.path) {
            Ok(history) => history,
            Err(reason) => {
                let path = self.path.display();
                tracing::warn!(%path, reason, "the dashboard's history cannot be used; it begins anew");
                History::default()
            }
        }
    }

    /// Replaces the file. If that fails the history stays in memory; it is said once.
    pub fn save(&mut self, history: &History) {
        let result = write(&self.path, history);
        if let Err(error) = &result
            && !self.is_failing
        {
            let path = self.path.display();
            tracing::warn!(
                %path, %error,
                "cannot write the dashboard's history (key `status.history`); it will not survive a restart"
            );
        }
        self.is_failing = result.is_err();
    }
}

fn read(path: &Path) -> Result<History, String> {
    let mut text = String::new();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(History::default()),
        Err(e) => return Err(e.to_string()),
    };
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(|e| e.to_string())?;
    let content: Content = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    if content.version != VERSION {
        return Err(format!("it is of version {}, this is {VERSION}", content.version));
    }
    if !content.rings.is_sound() {
        return Err("its points are not in order".into());
    }
    Ok(content.rings)
}

fn write(path: &Path, history: &History) -> std::io::Result<()> {
    let content = Content { version: VERSION, rings: history.clone() };
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    fs::write(&temporary, serde_json::to_vec(&content)?)?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::history::Point;

    #[test]
    fn what_was_saved_is_loaded_and_what_is_damaged_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history");
        let mut file = HistoryFile::new(path.clone());
        assert_eq!(file.load(), History::default(), "there is none yet");
        let mut history = History::default();
        for at_s in [60, 120] {
            history.add(&Point { at_s, watched_s: 5.0, requests: 3, ..Point::default() });
        }
        file.save(&history);
        assert_eq!(file.load(), history);
        let text = fs::read_to_string(&path).unwrap();
        for damaged in [
            String::new(),
            text[..text.len() / 2].to_owned(),
            "\0".repeat(text.len()),
            text.replacen("\"version\":1", "\"version\":2", 1),
            text.replacen("\"at_s\":60,", "\"at_s\":61,", 1),
            text.replacen("\"at_s\":120,", "\"at_s\":60,", 1),
            text.replacen("\"step_s\":60,", "\"step_s\":0,", 1),
            text.replacen("\"watched_s\":5.0", "\"watched_s\":-5.0", 1),
        ] {
            assert_ne!(damaged, text);
            fs::write(&path, damaged).unwrap();
            assert_eq!(file.load(), History::default());
        }
        file.save(&history);
        assert_eq!(file.load(), history, "the next save mends it");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_no_error() {
        let mut file = HistoryFile::new("/proc/no/such/history".into());
        file.save(&History::default());
        assert_eq!(file.load(), History::default());
    }
}
