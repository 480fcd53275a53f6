//! `hdfs://`: output in HDFS, without a JVM, by the crate hdfs-native.
//!
//! The client is good at talking to HDFS and not to be trusted with promises: seen here, it has
//! no timeout towards the `NameNode`, closes a truncated file with `Ok`, blocks for ever on a
//! frozen `DataNode`, and never releases the sockets of a writer that was not closed. Around it:
//!
//! - [`session`]: a client and its runtime, thrown away together after a failure; every call runs
//!   there, under a limit;
//! - [`output`]: a writer that no failure survives, and a close that looks at the length;
//! - [`kerberos`]: who to be in a secured cluster, and what a failed login means;
//! - [`site`]: the operator's XML, and the client's settings where it is silent;
//! - [`classify`]: what an error of the client or of a Hadoop server means.

mod classify;
mod kerberos;
mod list;
mod output;
mod read;
mod session;
mod site;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hdfs_native::client::FileStatus;
use hdfs_native::{Client, HdfsError, WriteOptions};

pub(super) use self::classify::classify;
pub(super) use self::kerberos::Failure;
pub use self::kerberos::Kerberos;
pub(super) use self::session::Session;

use self::list::Listing;
use self::output::HdfsOutput;
use self::session::Sessions;
use super::error::{CREATE, Cause, DestinationError, Result};
use super::uri::{Address, check};
use super::{Chunks, CreateOptions, Destination, Entries, Kind, Lowered, Options, Output};

/// How often an unfinished lease recovery is asked about.
const LEASE_POLL: Duration = Duration::from_millis(250);

/// An HDFS, by one `NameNode` or by a name service.
#[derive(Debug)]
pub(super) struct HdfsDestination {
    sessions: Arc<Sessions>,
    root: String,
    options: Options,
}

impl HdfsDestination {
    pub(super) fn new(address: &Address, options: Options) -> Self {
        let sessions = Arc::new(Sessions::new(&address.authority, &options));
        Self { sessions, root: address.root.clone(), options }
    }

    /// The path on the server.
    fn place(&self, operation: &'static str, path: &str) -> Result<String> {
        check(operation, path)?;
        match (self.root.as_str(), path) {
            ("", _) => Ok(path.to_owned()),
            (root, "/") => Ok(root.to_owned()),
            (root, _) => Ok(format!("{root}{path}")),
        }
    }

    /// One call to the `NameNode`.
    async fn call<T, F, Fut>(&self, operation: &'static str, target: &str, call: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Client) -> Fut + Send,
        Fut: Future<Output = std::result::Result<T, HdfsError>> + Send + 'static,
    {
        let fail = |cause| DestinationError::new(operation, target, cause);
        let session = self.sessions.get().await.map_err(fail)?;
        let result = session.run(self.options.rpc_timeout, call(session.client())).await;
        result.map_err(|cause| {
            self.sessions.after_failure(&session, &cause);
            DestinationError::new(operation, target, cause)
        })
    }

    async fn status(&self, operation: &'static str, path: &str) -> Result<Option<FileStatus>> {
        let place = self.place(operation, path)?;
        let found = self
            .call(operation, path, move |client| async move { client.get_file_info(&place).await });
        match found.await {
            Ok(status) if status.isdir => {
                Err(DestinationError::new(operation, path, Cause::IsADirectory))
            }
            Ok(status) => Ok(Some(status)),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks for lease recovery until the file is closed. This ends any writer it still has.
    async fn recover_lease(
        &self,
        operation: &'static str,
        path: &str,
        limit: Duration,
    ) -> Result<()> {
        let place = self.place(operation, path)?;
        let start = Instant::now();
        loop {
            let place = place.clone();
            let asked = self.call(operation, path, move |client| async move {
                client.recover_lease(&place).await
            });
            if asked.await? {
                return Ok(());
            }
            if start.elapsed() >= limit {
                return Err(DestinationError::new(operation, path, Cause::LeaseHeld { limit }));
            }
            tokio::time::sleep(LEASE_POLL).await;
        }
    }
}

#[async_trait]
impl Destination for HdfsDestination {
    async fn create(&self, path: &str, options: CreateOptions) -> Result<Box<dyn Output>> {
        let place = self.place(CREATE, path)?;
        let fail = |cause| DestinationError::new(CREATE, path, cause);
        let session = self.sessions.get().await.map_err(fail)?;
        let mut how = WriteOptions::default().overwrite(false).create_parent(true);
        how.replication =
            options.replication.or(self.options.replication).or(session.site().replication);
        how.block_size = self.options.block_size;
        let client = session.client();
        let server_path = place.clone();
        let created = session
            .run(self.options.rpc_timeout, async move { client.create(&server_path, how).await });
        let writer = created.await.map_err(|cause| {
            self.sessions.after_failure(&session, &cause);
            DestinationError::new(CREATE, path, cause)
        })?;
        let sessions = Arc::clone(&self.sessions);
        let limits = (self.options.rpc_timeout, self.options.data_timeout);
        Ok(Box::new(HdfsOutput::new(writer, sessions, session, path, place, limits)))
    }

    async fn length(&self, path: &str) -> Result<Option<u64>> {
        Ok(self.status("look at", path).await?.map(|status| status.length as u64))
    }

    async fn settle(&self, path: &str) -> Result<()> {
        self.recover_lease("settle", path, self.options.data_timeout).await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (source, target) = (self.place("rename", from)?, self.place("rename", to)?);
        let both = format!("{from} to {to}");
        self.call("rename", &both, move |client| async move {
            client.rename(&source, &target, false).await
        })
        .await
    }

    async fn delete(&self, path: &str) -> Result<bool> {
        if self.status("delete", path).await?.is_none() {
            return Ok(false);
        }
        // Without recovering its lease first, which takes long while the file's DataNodes are away:
        // the NameNode drops the lease together with the file, and whoever still writes to it finds
        // that out.
        let place = self.place("delete", path)?;
        self.call("delete", path, move |client| async move { client.delete(&place, false).await })
            .await
    }

    async fn list(&self, dir: &str) -> Result<Entries> {
        let place = self.place("list", dir)?;
        let fail = |cause| DestinationError::new("list", dir, cause);
        let session = self.sessions.get().await.map_err(fail)?;
        let names = session.client().list_status_iter(&place, false);
        let begun = session.run(self.options.rpc_timeout, async move {
            let first = names.next().await.transpose()?;
            Ok((first, names))
        });
        let (first, names) = match begun.await {
            Ok(begun) => begun,
            Err(cause) => {
                self.sessions.after_failure(&session, &cause);
                let error = fail(cause);
                let is_missing = error.kind() == Kind::NotFound;
                return if is_missing { Ok(Entries::channel(None).1) } else { Err(error) };
            }
        };
        let sessions = Arc::clone(&self.sessions);
        let (dir, limit) = (dir.to_owned(), self.options.rpc_timeout);
        Ok(list::start(Listing { first, names, sessions, limit, dir, place }, session))
    }

    async fn read(&self, path: &str) -> Result<Chunks> {
        let place = self.place("read", path)?;
        let fail = |cause| DestinationError::new("read", path, cause);
        let session = self.sessions.get().await.map_err(fail)?;
        let client = session.client();
        let opened =
            session.run(self.options.rpc_timeout, async move { client.read(&place).await }).await;
        let reader = opened.map_err(|cause| {
            self.sessions.after_failure(&session, &cause);
            DestinationError::new("read", path, cause)
        })?;
        Ok(read::chunks(reader, session, path, self.options.data_timeout))
    }

    async fn lower_replication(&self, failed: &str) -> Result<Option<Lowered>> {
        let Some(status) = self.status("look at", failed).await? else {
            return Err(DestinationError::new("look at", failed, Cause::Missing));
        };
        Ok(status.replication.and_then(|from| lower(from, self.options.min_replication)))
    }

    async fn restore_replication(&self, path: &str, replication: u32) -> Result<()> {
        let place = self.place("set replication of", path)?;
        let set = self.call("set replication of", path, move |client| async move {
            client.set_replication(&place, replication).await
        });
        if set.await? {
            return Ok(());
        }
        Err(DestinationError::new("set replication of", path, Cause::Missing))
    }

    fn describe(&self) -> String {
        format!("hdfs://{}{}", self.sessions.authority(), self.root)
    }
}

fn lower(from: u32, min: u32) -> Option<Lowered> {
    let to = from.checked_sub(1)?;
    (to >= min.max(1)).then_some(Lowered { from, to })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replication_is_lowered_by_one_down_to_the_minimum() {
        assert_eq!(lower(3, 1), Some(Lowered { from: 3, to: 2 }));
        assert_eq!(lower(2, 2), None);
        assert_eq!(lower(1, 0), None);
        assert_eq!(lower(0, 1), None);
    }

    #[test]
    fn paths_are_taken_under_the_root_of_the_uri() {
        let open = |root: &str| {
            let address = super::super::uri::parse(&format!("hdfs://nn:8020{root}"));
            HdfsDestination::new(&address.expect("a valid URI"), Options::default())
        };
        assert_eq!(open("/base/").place("look at", "/a/b").expect("valid"), "/base/a/b");
        assert_eq!(open("/base").place("look at", "/").expect("valid"), "/base");
        assert_eq!(open("").place("look at", "/a").expect("valid"), "/a");
        assert!(open("/base").place("look at", "/../a").is_err());
        assert_eq!(open("/base").describe(), "hdfs://nn:8020/base");
    }
}
