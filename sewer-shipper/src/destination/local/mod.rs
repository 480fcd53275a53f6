//! `file://`: output on a local, or mounted, file system.
//!
//! Data is synced when an output closes, names when they are made: `create` leaves durable
//! directories, `rename` and `delete` sync the directories they change. All calls run on the
//! runtime's blocking threads, and waiting for them is bounded; a call that hangs (a dead NFS
//! server) keeps its thread, which nothing can take back. The directory of the URI has to be there,
//! and every call looks for it first: where it is missing, a file system is not mounted.

mod files;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::contract::{CHUNK_BYTES, CHUNKS_AHEAD_MAX, Chunks, CreateOptions, Destination, Output};
use super::entries::{Entries, Entry};
use super::error::{CLOSE, Cause, DestinationError, Kind, Result, WRITE};
use super::uri::{Address, check};

/// A directory that takes files.
#[derive(Debug)]
pub(super) struct LocalDestination {
    root: PathBuf,
    limit: Duration,
}

impl LocalDestination {
    pub(super) fn new(address: &Address, limit: Duration) -> Self {
        let root = if address.root.is_empty() { "/" } else { &address.root };
        Self { root: PathBuf::from(root), limit }
    }

    /// Where a path of the destination is on disk.
    fn place(&self, operation: &'static str, path: &str) -> Result<PathBuf> {
        check(operation, path)?;
        Ok(self.root.join(path.trim_start_matches('/')))
    }

    /// Runs a blocking call in the directory, if that is there.
    async fn run<T, F>(&self, call: F) -> std::result::Result<T, Cause>
    where
        T: Send + 'static,
        F: FnOnce() -> std::result::Result<T, Cause> + Send + 'static,
    {
        let root = self.root.clone();
        run(self.limit, move || {
            files::check_root(&root)?;
            call()
        })
        .await
    }
}

#[async_trait]
impl Destination for LocalDestination {
    async fn create(&self, path: &str, _options: CreateOptions) -> Result<Box<dyn Output>> {
        let place = self.place("create", path)?;
        let root = self.root.clone();
        let made = self.run(move || {
            files::make_dirs(&root, place.parent().unwrap_or(&root))?;
            Ok(OpenOptions::new().write(true).create_new(true).open(&place)?)
        });
        let file = made.await.map_err(|cause| DestinationError::new("create", path, cause))?;
        Ok(Box::new(LocalOutput {
            file: Some(file),
            target: path.to_owned(),
            written: 0,
            first: "cancelled",
            limit: self.limit,
        }))
    }

    async fn length(&self, path: &str) -> Result<Option<u64>> {
        let place = self.place("look at", path)?;
        let length = self.run(move || file_length(&place)).await;
        absent_is_none(length.map_err(|cause| DestinationError::new("look at", path, cause)))
    }

    async fn settle(&self, path: &str) -> Result<()> {
        // A writer's process is gone or has given the file up; nothing else can hold it open. But
        // it may have been killed between a rename and the sync of the name.
        let place = self.place("settle", path)?;
        let settled = self.run(move || {
            file_length(&place)?;
            Ok(files::sync_parent(&place)?)
        });
        let settled = settled.await.map_err(|cause| DestinationError::new("settle", path, cause));
        absent_is_none(settled)?
            .ok_or_else(|| DestinationError::new("settle", path, Cause::Missing))
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (source, target) = (self.place("rename", from)?, self.place("rename", to)?);
        let renamed = self.run(move || Ok(files::rename(&source, &target)?)).await;
        renamed.map_err(|cause| DestinationError::new("rename", format!("{from} to {to}"), cause))
    }

    async fn delete(&self, path: &str) -> Result<bool> {
        let place = self.place("delete", path)?;
        let deleted = self.run(move || {
            file_length(&place)?;
            fs::remove_file(&place)?;
            Ok(files::sync_parent(&place)?)
        });
        let deleted = deleted.await.map_err(|cause| DestinationError::new("delete", path, cause));
        Ok(absent_is_none(deleted)?.is_some())
    }

    async fn list(&self, dir: &str) -> Result<Entries> {
        let place = self.place("list", dir)?;
        let opened = self.run(move || Ok(fs::read_dir(&place)?)).await;
        let opened = opened.map_err(|cause| DestinationError::new("list", dir, cause));
        let (sender, entries) = Entries::channel(None);
        if let Some(names) = absent_is_none(opened)? {
            let target = dir.to_owned();
            tokio::task::spawn_blocking(move || send_entries(names, &target, &sender));
        }
        Ok(entries)
    }

    async fn read(&self, path: &str) -> Result<Chunks> {
        let place = self.place("read", path)?;
        let opened = self.run(move || {
            file_length(&place)?;
            Ok(File::open(&place)?)
        });
        let file = opened.await.map_err(|cause| DestinationError::new("read", path, cause))?;
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD_MAX);
        let target = path.to_owned();
        tokio::task::spawn_blocking(move || send_chunks(file, &target, &sender));
        Ok(Chunks::new(receiver, None))
    }

    fn describe(&self) -> String {
        format!("file://{}", self.root.display())
    }
}

/// A local file being written. The file is taken out for every call and put back only after
/// success, so that a failed, timed-out or cancelled call leaves a poisoned output.
struct LocalOutput {
    file: Option<File>,
    target: String,
    written: u64,
    first: &'static str,
    limit: Duration,
}

impl LocalOutput {
    fn take(&mut self, operation: &'static str) -> Result<File> {
        let poisoned = Cause::Poisoned { first: self.first };
        self.file.take().ok_or_else(|| DestinationError::new(operation, &self.target, poisoned))
    }
}

#[async_trait]
impl Output for LocalOutput {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        let mut file = self.take(WRITE)?;
        let added = data.len() as u64;
        let written = run(self.limit, move || {
            file.write_all(&data)?;
            Ok(file)
        });
        match written.await {
            Ok(file) => {
                self.file = Some(file);
                self.written += added;
                Ok(())
            }
            Err(cause) => {
                let error = DestinationError::new(WRITE, &self.target, cause);
                self.first = error.reason();
                Err(error)
            }
        }
    }

    async fn close(mut self: Box<Self>) -> Result<u64> {
        let file = self.take(CLOSE)?;
        let expected = self.written;
        let closed = run(self.limit, move || {
            file.sync_all()?;
            match file.metadata()?.len() {
                found if found == expected => Ok(()),
                found => Err(Cause::Length { expected, found }),
            }
        });
        closed.await.map_err(|cause| DestinationError::new(CLOSE, &self.target, cause))?;
        Ok(expected)
    }
}

/// Runs a blocking call on a thread for such calls and waits for it, but not for ever.
async fn run<T, F>(limit: Duration, call: F) -> std::result::Result<T, Cause>
where
    T: Send + 'static,
    F: FnOnce() -> std::result::Result<T, Cause> + Send + 'static,
{
    match tokio::time::timeout(limit, tokio::task::spawn_blocking(call)).await {
        Ok(ended) => ended?,
        Err(_) => Err(Cause::TimedOut { limit }),
    }
}

fn absent_is_none<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn file_length(path: &Path) -> std::result::Result<u64, Cause> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(Cause::IsADirectory);
    }
    Ok(metadata.len())
}

/// Lists to the end, an error or the consumer's leaving, whichever is first.
fn send_entries(names: fs::ReadDir, target: &str, sender: &mpsc::Sender<Result<Entry>>) {
    for name in names {
        let item = match name.and_then(|name| entry(&name)) {
            Ok(None) => continue,
            Ok(Some(entry)) => Ok(entry),
            Err(error) => Err(DestinationError::new("list", target, error)),
        };
        let last = item.is_err();
        if sender.blocking_send(item).is_err() || last {
            return;
        }
    }
}

fn entry(found: &fs::DirEntry) -> io::Result<Option<Entry>> {
    let Ok(name) = found.file_name().into_string() else { return Ok(None) };
    match found.metadata() {
        Ok(data) if data.is_dir() => Ok(Some(Entry { name, length: 0, is_dir: true })),
        Ok(data) => Ok(Some(Entry { name, length: data.len(), is_dir: false })),
        // Deleted or renamed since the directory was read.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads to the end, an error or the consumer's leaving, whichever is first.
fn send_chunks(mut file: File, target: &str, sender: &mpsc::Sender<Result<Bytes>>) {
    loop {
        let mut buffer = Vec::with_capacity(CHUNK_BYTES);
        let read = (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut buffer);
        let (item, last) = match read {
            Ok(0) => return,
            Ok(_) => (Ok(Bytes::from(buffer)), false),
            Err(error) => (Err(DestinationError::new("read", target, error)), true),
        };
        if sender.blocking_send(item).is_err() || last {
            return;
        }
    }
}
