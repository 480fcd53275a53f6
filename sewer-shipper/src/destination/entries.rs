//! The names in a directory, one after the other: a partition can have more of them than memory
//! should hold.

use std::any::Any;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::error::Result;

/// The names that a listing may be ahead of its consumer.
const ENTRIES_AHEAD_MAX: usize = 1_000;

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The last component of its path.
    pub name: String,
    /// Length in bytes as the directory shows it; 0 for a directory.
    pub length: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// The names in a directory, in no order. An error is the last item.
#[derive(Debug)]
pub struct Entries {
    receiver: mpsc::Receiver<Result<Entry>>,
    // What must outlive the producer; the producer itself must not own it.
    _keeps: Option<Arc<dyn Any + Send + Sync>>,
}

impl Entries {
    /// A listing, and where its names go to.
    pub(super) fn channel(
        keeps: Option<Arc<dyn Any + Send + Sync>>,
    ) -> (mpsc::Sender<Result<Entry>>, Self) {
        let (sender, receiver) = mpsc::channel(ENTRIES_AHEAD_MAX);
        (sender, Self { receiver, _keeps: keeps })
    }

    /// The next name, `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Entry>> {
        self.receiver.recv().await
    }

    /// All names at once, for a directory that is known to be small.
    ///
    /// # Errors
    /// Of the listing.
    pub async fn all(mut self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        while let Some(entry) = self.next().await {
            entries.push(entry?);
        }
        Ok(entries)
    }
}
