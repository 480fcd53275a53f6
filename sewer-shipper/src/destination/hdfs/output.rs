//! A file being written in HDFS: no failure is survived, no close is believed.
//!
//! Invariant: `writer` is there exactly while everything so far has succeeded. Each call takes it
//! out and only success puts it back, so a failed, timed-out or cancelled call leaves an output
//! that refuses everything. That matters: after a failed write hdfs-native's own `close` answers
//! `Ok` for a truncated file.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hdfs_native::file::FileWriter;

use super::cause::HdfsCause;
use super::session::{Session, Sessions};
use crate::destination::contract::Output;
use crate::destination::error::{
    Backend as _, CLOSE, Cause, DestinationError, Kind, Result, WRITE,
};

/// A file being written.
pub(super) struct HdfsOutput {
    writer: Option<FileWriter>,
    sessions: Arc<Sessions>,
    session: Arc<Session>,
    target: String,
    place: String,
    written: u64,
    first: &'static str,
    closed: bool,
    rpc_timeout: Duration,
    data_timeout: Duration,
}

impl HdfsOutput {
    /// `place` is the path on the server, `limits` those of an RPC and of a call with data.
    pub(super) fn new(
        writer: FileWriter,
        sessions: Arc<Sessions>,
        session: Arc<Session>,
        target: &str,
        place: String,
        (rpc_timeout, data_timeout): (Duration, Duration),
    ) -> Self {
        Self {
            writer: Some(writer),
            sessions,
            session,
            target: target.to_owned(),
            place,
            written: 0,
            first: "cancelled",
            closed: false,
            rpc_timeout,
            data_timeout,
        }
    }

    fn take(&mut self, operation: &'static str) -> Result<FileWriter> {
        let poisoned = Cause::Poisoned { first: self.first };
        self.writer.take().ok_or_else(|| DestinationError::new(operation, &self.target, poisoned))
    }

    fn fail(&mut self, operation: &'static str, cause: HdfsCause) -> DestinationError {
        self.sessions.retire(&self.session, cause.timed_out().is_some());
        let is_of_the_pipeline = cause.is_of_the_pipeline();
        let error = DestinationError::new(operation, &self.target, self.sessions.told(cause));
        self.first = error.reason();
        if is_of_the_pipeline { error.with_kind(Kind::Pipeline) } else { error }
    }
}

#[async_trait]
impl Output for HdfsOutput {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        let mut writer = self.take(WRITE)?;
        let added = data.len() as u64;
        let written = self.session.run(self.data_timeout, async move {
            // The client's futures are large: 16 KB that need not be moved about.
            Box::pin(writer.write_bytes(data)).await?;
            Ok(writer)
        });
        match written.await {
            Ok(writer) => {
                self.writer = Some(writer);
                self.written += added;
                Ok(())
            }
            Err(cause) => Err(self.fail(WRITE, cause)),
        }
    }

    async fn close(mut self: Box<Self>) -> Result<u64> {
        let mut writer = self.take(CLOSE)?;
        let closed =
            self.session.run(self.data_timeout, async move { Box::pin(writer.close()).await });
        if let Err(cause) = closed.await {
            return Err(self.fail(CLOSE, cause));
        }
        let (client, place) = (self.session.client(), self.place.clone());
        let looked =
            self.session.run(self.rpc_timeout, async move { client.get_file_info(&place).await });
        match looked.await {
            Ok(status) if status.length as u64 == self.written => {
                self.closed = true;
                Ok(self.written)
            }
            Ok(status) => {
                self.sessions.retire(&self.session, false);
                let cause = Cause::Length { expected: self.written, found: status.length as u64 };
                Err(DestinationError::new(CLOSE, &self.target, cause))
            }
            Err(cause) => Err(self.fail(CLOSE, cause)),
        }
    }
}

impl Drop for HdfsOutput {
    fn drop(&mut self) {
        // The client would keep the sockets of this writer for as long as it lives.
        if !self.closed {
            self.sessions.retire(&self.session, false);
        }
    }
}
