//! Listing a directory, a bounded number of names ahead of the consumer.

use std::sync::{Arc, Weak};
use std::time::Duration;

use hdfs_native::client::{FileStatus, ListStatusIterator};
use tokio::sync::mpsc;

use super::cause::{HdfsCause, Told};
use super::session::{Session, Sessions};
use crate::destination::entries::{Entries, Entry};
use crate::destination::error::{Cause, DestinationError, Result};

/// A directory being listed.
pub(super) struct Listing {
    /// The first name, which came with the first answer.
    pub first: Option<FileStatus>,
    pub names: ListStatusIterator,
    pub sessions: Arc<Sessions>,
    /// The longest that the `NameNode` may take for some of the names.
    pub limit: Duration,
    /// The directory in the destination, and on the server.
    pub dir: String,
    pub place: String,
}

/// Starts a task on the session's runtime that lists until the end, an error, or the consumer's
/// leaving. The consumer keeps the session alive; the task must not, as it runs on it.
pub(super) fn start(listing: Listing, session: Arc<Session>) -> Entries {
    let (kept, asked) = (Arc::downgrade(&session), session.asked());
    let handle = session.handle().clone();
    let (sender, entries) = Entries::channel(Some(session));
    handle.spawn(async move { listing.run(&kept, &asked, &sender).await });
    entries
}

impl Listing {
    async fn run(
        mut self,
        session: &Weak<Session>,
        asked: &Arc<str>,
        sender: &mpsc::Sender<Result<Entry>>,
    ) {
        let mut next = Ok(self.first.take());
        loop {
            let item = match next {
                Ok(None) => return,
                Ok(Some(status)) => entry(&status, &self.place),
                Err(cause) => {
                    if let Some(session) = session.upgrade() {
                        self.sessions.after_failure(&session, &cause);
                    }
                    Err(Told::new(cause, Some(Arc::clone(asked))).into())
                }
            };
            let item = item.map_err(|cause| DestinationError::new("list", &self.dir, cause));
            let last = item.is_err();
            if sender.send(item).await.is_err() || last {
                return;
            }
            next = self.next().await;
        }
    }

    async fn next(&self) -> std::result::Result<Option<FileStatus>, HdfsCause> {
        let limit = self.limit;
        let next = tokio::time::timeout(limit, self.names.next()).await;
        Ok(next.map_err(|_| HdfsCause::TimedOut { limit })?.transpose()?)
    }
}

/// A name of a listing. The server lists a file as itself, which is no directory.
fn entry(status: &FileStatus, place: &str) -> std::result::Result<Entry, Cause> {
    match status.path.rsplit_once('/') {
        Some((_, name)) if status.path != place => {
            let (length, is_dir) = (status.length as u64, status.isdir);
            Ok(Entry { name: name.to_owned(), length, is_dir })
        }
        _ => Err(Cause::Address("it is a file, not a directory")),
    }
}
