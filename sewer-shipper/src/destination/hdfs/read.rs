//! Reading a whole file, a bounded number of chunks ahead of the consumer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hdfs_native::file::FileReader;
use hdfs_native::{HdfsError, Result as HdfsResult};
use tokio::sync::mpsc;

use super::cause::{HdfsCause, Told};
use super::session::Session;
use crate::destination::contract::{CHUNK_BYTES, CHUNKS_AHEAD_MAX, Chunks};
use crate::destination::error::{DestinationError, Result};

/// Starts a task on the session's runtime that reads until the end, an error, or the consumer's
/// leaving. The consumer keeps the session alive; the task must not, as it runs on it.
pub(super) fn chunks(
    mut reader: FileReader,
    session: Arc<Session>,
    target: &str,
    limit: Duration,
) -> Chunks {
    let asked = session.asked();
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD_MAX);
    let target = target.to_owned();
    session.handle().spawn(async move {
        while reader.remaining() > 0 {
            let item = next(&mut reader, limit).await;
            let item = item.map_err(|cause| {
                let told = Told::new(cause, Some(Arc::clone(&asked)));
                DestinationError::new("read", &target, told)
            });
            let last = item.is_err();
            if !send(&sender, item).await || last {
                return;
            }
        }
    });
    Chunks::new(receiver, Some(session))
}

async fn next(reader: &mut FileReader, limit: Duration) -> std::result::Result<Bytes, HdfsCause> {
    let expected = reader.remaining().min(CHUNK_BYTES);
    let read: HdfsResult<Bytes> = tokio::time::timeout(limit, reader.read_bytes(expected))
        .await
        .map_err(|_| HdfsCause::TimedOut { limit })?;
    let data = read?;
    if data.len() == expected {
        return Ok(data);
    }
    Err(HdfsError::DataTransferError("a block is shorter than the file says".to_owned()).into())
}

async fn send(sender: &mpsc::Sender<Result<Bytes>>, item: Result<Bytes>) -> bool {
    sender.send(item).await.is_ok()
}
