//! The contract that every destination keeps.
//!
//! The contract is small because exactly-once delivery rests on it. A file is written under a
//! temporary name ([`Destination::create`], [`Output::write`]), confirmed ([`Output::close`]) and
//! then given its final name ([`publish`](super::publish)). What holds for every destination:
//!
//! - nothing ever overwrites: neither `create` nor `rename`;
//! - only "not found" means absent; whatever else goes wrong is an error, not a `None`;
//! - every wait is bounded; a call that ran out of time has an *unknown outcome*
//!   ([`DestinationError::outcome_unknown`]) and the caller looks before it acts;
//! - an output that failed once is poisoned: it can be dropped and its file deleted, no more;
//! - nothing is retried in here. The caller owns backoff, and asks the error what can help.
//!
//! Paths are absolute within the destination (`/sewer/2030-01-01/00/x.seq`), separated by `/`,
//! without `.`, `..` or empty components.
//!
//! Not here: naming, formats, plans, and the deletion of segments.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::entries::Entries;
use super::error::Result;
#[cfg(doc)]
use super::error::{DestinationError, Kind};

/// How one file is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct CreateOptions {
    /// Replication of this file instead of the configured one; see
    /// [`Destination::lower_replication`].
    pub replication: Option<u32>,
}

/// A replication that a failed pipeline suggests for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lowered {
    /// What the failed file had; what [`Destination::restore_replication`] is to restore.
    pub from: u32,
    /// What the next attempt should ask for.
    pub to: u32,
}

/// A place that takes files. The module documentation says what all of them promise.
#[async_trait]
pub trait Destination: Send + Sync + fmt::Debug {
    /// Begins a new file, making missing parent directories. An existing name, be it a finished
    /// file or one still being written, is [`Kind::AlreadyExists`].
    async fn create(&self, path: &str, options: CreateOptions) -> Result<Box<dyn Output>>;

    /// The length of a file, `None` only when there is none. A directory is an error.
    ///
    /// This is what the directory shows, not a confirmation: a file still being written has a
    /// length too. On HDFS that length lags behind what was written, yet it can already be the
    /// full one while the close is still pending; only [`Self::settle`] tells the two apart.
    async fn length(&self, path: &str) -> Result<Option<u64>>;

    /// Returns once nobody can write to the file any more: it ends whatever writer an earlier
    /// process, or an abandoned [`Output`], left behind. Its length may change by that. Its name is
    /// durable then, too, whoever gave it.
    async fn settle(&self, path: &str) -> Result<()>;

    /// Gives a file another name, durably; an existing `to` is [`Kind::AlreadyExists`] and stays
    /// as it is.
    async fn rename(&self, from: &str, to: &str) -> Result<()>;

    /// Removes a file, open or not; says whether there was one. No lease outlives it.
    async fn delete(&self, path: &str) -> Result<bool>;

    /// The names in a directory, in no order, however many; a missing directory has none. Names
    /// that are not UTF-8 are left out: Sewer never creates such a name.
    async fn list(&self, dir: &str) -> Result<Entries>;

    /// Reads a whole file as it is now.
    async fn read(&self, path: &str) -> Result<Chunks>;

    /// What to ask for after `failed`, a temporary file, could not be written with an error for
    /// which [`DestinationError::fewer_replicas_may_help`]; `None` when there is nothing lower.
    async fn lower_replication(&self, _failed: &str) -> Result<Option<Lowered>> {
        Ok(None)
    }

    /// Undoes [`Self::lower_replication`] for a file that has been published.
    async fn restore_replication(&self, _path: &str, _replication: u32) -> Result<()> {
        Ok(())
    }

    /// The destination's URI, for logs.
    fn describe(&self) -> String;

    /// What calls survive and an operator should mend, in sentences; known once something was
    /// called.
    fn doubts(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A file being written. Dropping it abandons the file, which keeps its temporary name and
/// whatever has arrived.
#[async_trait]
pub trait Output: Send {
    /// Adds data. Any failure, and also cancelling this future, poisons the output.
    async fn write(&mut self, data: Bytes) -> Result<()>;

    /// Makes the file durable and confirms its length: what the destination shows afterwards is
    /// exactly what was written, or this is an error.
    async fn close(self: Box<Self>) -> Result<u64>;
}

/// How many chunks a read may be ahead of its consumer.
pub(super) const CHUNKS_AHEAD_MAX: usize = 4;
/// The size of one chunk of a read.
pub(super) const CHUNK_BYTES: usize = 1024 * 1024;

/// The content of a file, in order. An error is the last item.
#[derive(Debug)]
pub struct Chunks {
    receiver: mpsc::Receiver<Result<Bytes>>,
    // What must outlive the producer; the producer itself must not own it.
    _keeps: Option<Arc<dyn Any + Send + Sync>>,
}

impl Chunks {
    /// Hands on what a producer sends, and keeps alive what it needs.
    pub(super) fn new(
        receiver: mpsc::Receiver<Result<Bytes>>,
        keeps: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Self {
        Self { receiver, _keeps: keeps }
    }

    /// The next chunk, `None` at the end of the file.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        self.receiver.recv().await
    }
}
