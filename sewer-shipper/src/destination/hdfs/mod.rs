//! `hdfs://`: output in HDFS, without a JVM, by the crate hdfs-native.
//!
//! The client is good at talking to HDFS and not to be trusted with promises: seen here, it has
//! no timeout towards the `NameNode`, closes a truncated file with `Ok`, blocks for ever on a
//! frozen `DataNode`, and never releases the sockets of a writer that was not closed. Around it:
//!
//! - [`session`]: a client and its runtime, thrown away together after a failure; every call runs
//!   there, under a limit;
//! - [`output`]: a writer that no failure survives, and a close that looks at the length;
//! - [`kerberos`]: who to be in a secured cluster; [`login`]: what a failed login means;
//! - [`configuration`]: the operator's Hadoop configuration, read as Hadoop reads it;
//! - [`site`]: the settings of a client by it; [`namenodes`]: who is asked;
//! - [`reach`]: why nobody could be talked to;
//! - [`cause`]: why a call failed; [`classify`]: what an error of the client or of a Hadoop server
//!   means.

mod cause;
mod classify;
mod configuration;
mod kerberos;
mod list;
mod login;
mod namenodes;
mod output;
mod reach;
mod read;
mod session;
mod site;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hdfs_native::client::FileStatus;
use hdfs_native::{Client, HdfsError, WriteOptions};

use self::cause::{HdfsCause, Told};
use self::configuration::{Configuration, ConfigurationError};
use self::list::Listing;
use self::output::HdfsOutput;
use self::session::{Session, Sessions};
use super::contract::{Chunks, CreateOptions, Destination, Lowered, Output};
use super::entries::Entries;
use super::error::{CREATE, Cause, DestinationError, Kind, Result};
use super::options::Options;
use super::uri::{Address, check};

/// See [`hadoop_properties`](super::hadoop_properties).
pub(super) fn properties(dir: &Path) -> std::result::Result<BTreeMap<String, String>, Cause> {
    let told = |error: ConfigurationError| Cause::from(Told::new(error.into(), None));
    Configuration::read(dir).and_then(|configuration| configuration.all()).map_err(told)
}

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
        let sessions = Arc::new(Sessions::new(address, &options));
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
        let session = self.session(operation, target).await?;
        let result = session.run(self.options.rpc_timeout, call(session.client())).await;
        result.map_err(|cause| self.failed(operation, target, &session, cause))
    }

    async fn session(&self, operation: &'static str, target: &str) -> Result<Arc<Session>> {
        let made = self.sessions.get().await;
        made.map_err(|cause| DestinationError::new(operation, target, self.sessions.told(cause)))
    }

    /// Opens a file, by a call that may also ask a key server.
    async fn opening<T, F, Fut>(
        &self,
        operation: &'static str,
        target: &str,
        call: F,
    ) -> Result<(T, Arc<Session>)>
    where
        T: Send + 'static,
        F: FnOnce(Client, &Session) -> Fut + Send,
        Fut: Future<Output = std::result::Result<T, HdfsError>> + Send + 'static,
    {
        let session = self.session(operation, target).await?;
        let limit = self.options.rpc_timeout;
        let fail = |cause| self.failed(operation, target, &session, cause);
        session.greet(limit).await.map_err(fail)?;
        let opened = session.run(limit, call(session.client(), &session)).await;
        let opened = opened.map_err(|cause| fail(session.explain_opening(cause)))?;
        Ok((opened, session))
    }

    /// The error of a call, after which later calls may need another session.
    fn failed(
        &self,
        operation: &'static str,
        target: &str,
        session: &Arc<Session>,
        cause: HdfsCause,
    ) -> DestinationError {
        self.sessions.after_failure(session, &cause);
        DestinationError::new(operation, target, Told::new(cause, Some(session.asked())))
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
                let held = self.sessions.told(HdfsCause::LeaseHeld { limit });
                return Err(DestinationError::new(operation, path, held));
            }
            tokio::time::sleep(LEASE_POLL).await;
        }
    }
}

#[async_trait]
impl Destination for HdfsDestination {
    async fn create(&self, path: &str, options: CreateOptions) -> Result<Box<dyn Output>> {
        let place = self.place(CREATE, path)?;
        let mut how = WriteOptions::default().overwrite(false).create_parent(true);
        how.block_size = self.options.block_size;
        let replication = options.replication.or(self.options.replication);
        let server_path = place.clone();
        let opened = self.opening(CREATE, path, move |client, session| {
            how.replication = replication.or(session.site().replication);
            async move { client.create(&server_path, how).await }
        });
        let (writer, session) = opened.await?;
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
        let session = self.session("list", dir).await?;
        let names = session.client().list_status_iter(&place, false);
        let begun = session.run(self.options.rpc_timeout, async move {
            let first = names.next().await.transpose()?;
            Ok((first, names))
        });
        let (first, names) = match begun.await {
            Ok(begun) => begun,
            Err(cause) => {
                let error = self.failed("list", dir, &session, cause);
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
        let opened =
            self.opening("read", path, move |client, _| async move { client.read(&place).await });
        let (reader, session) = opened.await?;
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
        format!("{}{}", self.sessions.uri(), self.root)
    }

    fn doubts(&self) -> Vec<String> {
        self.sessions.doubts()
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
