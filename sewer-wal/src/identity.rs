//! Which WAL this is, and who may append to it.
//!
//! `ID` holds 16 hex digits and a newline. It is made once, after the first log is durable, and
//! then names every segment and every output file. `LOCK` is flock'ed by the process that appends;
//! the kernel lets go of it when that process ends, however it ends.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::str::FromStr;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::error::{IoContext, WalError};
use crate::layout::{Layout, write_durably};

/// A WAL's identity: 64 random bits, written as 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct WalId(pub u64);

impl WalId {
    /// A new identity.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Reads the WAL's identity; `None` if it has none yet.
    ///
    /// # Errors
    /// [`WalError::BadIdentity`] if the file holds something else.
    pub fn load(layout: &Layout) -> Result<Option<Self>, WalError> {
        let path = layout.id_file();
        let mut text = String::new();
        // One byte more than a valid file has, so that a longer one is noticed.
        match File::open(&path).and_then(|file| file.take(18).read_to_string(&mut text)) {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) if e.kind() == ErrorKind::InvalidData => {
                return Err(WalError::BadIdentity { path });
            }
            Err(e) => return Err(e).context("read", &path),
        }
        let id = text.strip_suffix('\n').and_then(|digits| digits.parse().ok());
        id.map(Some).ok_or(WalError::BadIdentity { path })
    }

    pub(crate) fn store(self, layout: &Layout) -> Result<(), WalError> {
        write_durably(&layout.id_file(), format!("{self}\n").as_bytes())
    }
}

impl fmt::Display for WalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for WalId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 16 || !text.bytes().all(hex) {
            return Err("an identity is 16 lower-case hex digits");
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| "an identity is 16 hex digits")
    }
}

impl From<WalId> for String {
    fn from(id: WalId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for WalId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The right to append to a WAL; held until dropped.
#[derive(Debug)]
pub struct WalLock {
    _file: Flock<File>,
}

impl WalLock {
    /// Takes the lock at once or not at all.
    ///
    /// # Errors
    /// [`WalError::Locked`] if another process holds it.
    pub fn acquire(layout: &Layout) -> Result<Self, WalError> {
        let path = layout.lock_file();
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .context("open", &path)?;
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((_, Errno::EWOULDBLOCK)) => {
                let dir = layout.root().to_path_buf();
                return Err(WalError::Locked { dir, holder: holder(&path) });
            }
            Err((_, errno)) => return Err(errno).context("lock", &path),
        };
        // Only for the message that a second process prints: nothing depends on it.
        file.set_len(0).context("truncate", &path)?;
        writeln!(file, "{}", std::process::id()).context("write", &path)?;
        Ok(Self { _file: file })
    }
}

fn holder(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(20).read_to_string(&mut text).ok()?;
    let pid = text.trim();
    (!pid.is_empty()).then(|| pid.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_sixteen_hex_digits() {
        assert_eq!("00000000000000ff".parse(), Ok(WalId(255)));
        assert_eq!(WalId(255).to_string(), "00000000000000ff");
        for wrong in ["ff", "00000000000000FF", "+0000000000000ff", "00000000000000fg"] {
            assert!(wrong.parse::<WalId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_second_appender_is_told_who_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let _held = WalLock::acquire(&layout).unwrap();
        let error = WalLock::acquire(&layout).unwrap_err().to_string();
        assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
    }

    #[test]
    fn a_damaged_identity_is_not_taken_for_an_absent_one() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        assert_eq!(WalId::load(&layout).unwrap(), None);
        WalId(7).store(&layout).unwrap();
        assert_eq!(WalId::load(&layout).unwrap(), Some(WalId(7)));
        for wrong in [&b""[..], b"0000000000000007", b"0000000000000007\nx", b"\xff\n"] {
            std::fs::write(layout.id_file(), wrong).unwrap();
            assert!(matches!(WalId::load(&layout), Err(WalError::BadIdentity { .. })));
        }
    }
}
