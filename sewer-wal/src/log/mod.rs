//! A log being written, and the two engines that write it, byte for byte the same.

pub(crate) mod active;
#[cfg(test)]
mod conformance;
mod direct;
mod okaywal;
pub(crate) mod summary;

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use self::direct::DirectLog;
use self::okaywal::OkaywalLog;
use crate::batch::Batch;
use crate::format::batch::BatchPlace;
use crate::format::header::{Descriptor, LogHeader};

/// The way in which logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// `direct` where the file system allows it, else `okaywal`.
    #[default]
    Auto,
    /// Whole blocks past the page cache.
    Direct,
    /// The okaywal crate, through the page cache.
    Okaywal,
}

/// The writer of one log.
#[derive(Debug)]
enum Writer {
    Direct(Box<DirectLog>),
    Okaywal(OkaywalLog),
}

impl Writer {
    /// Makes the log at `path`, of at least `bytes` bytes, with its header and descriptor. What it
    /// takes from the disk it has when this returns, and all of it but its name is durable.
    fn create(
        engine: Engine,
        path: &Path,
        header: &LogHeader,
        descriptor: Descriptor,
        bytes: u64,
    ) -> io::Result<Self> {
        match engine {
            Engine::Direct => {
                let log = DirectLog::create(path, header, descriptor, bytes)?;
                Ok(Self::Direct(Box::new(log)))
            }
            Engine::Okaywal => {
                OkaywalLog::create(path, header, descriptor, bytes).map(Self::Okaywal)
            }
            Engine::Auto => match Self::create(Engine::Direct, path, header, descriptor, bytes) {
                Err(e) if direct::is_refused(&e) => {
                    Self::create(Engine::Okaywal, path, header, descriptor, bytes)
                }
                result => result,
            },
        }
    }

    fn engine(&self) -> Engine {
        match self {
            Self::Direct(_) => Engine::Direct,
            Self::Okaywal(_) => Engine::Okaywal,
        }
    }

    /// Writes a batch in its place, and returns once it is on stable storage: the bytes that were
    /// written, if the engine tells. After an error it must not be called again.
    fn append(&mut self, place: BatchPlace, batch: &Batch) -> io::Result<Option<&[u8]>> {
        match self {
            Self::Direct(log) => log.append(place, batch).map(Some),
            Self::Okaywal(log) => log.append(place, batch).map(|()| None),
        }
    }
}
