//! `--check`: would a delivery work? It is tried with a hidden file, from create to delete.

use bytes::Bytes;

use super::contract::{CreateOptions, Destination};
use super::error::{Cause, DestinationError, Result};
use super::publish::{Published, publish};

/// Content of the probe: enough to need a pipeline on HDFS, too little to matter.
const CONTENT: &[u8] = b"sewer: a probe, safe to delete\n";

/// Creates, writes, publishes, reads and deletes a hidden file in `dir` (made if missing, and
/// kept). Says what failed; leaves no file behind unless the destination stopped answering.
pub async fn probe(destination: &dyn Destination, dir: &str) -> Result<()> {
    let stem = format!("{}/.sewer-probe-{:016x}", dir.trim_end_matches('/'), rand::random::<u64>());
    let temporary = format!("{stem}.1.tmp");
    let result = deliver(destination, &temporary, &stem).await;
    // Cleaning up is best effort after a failure, which is the better message then.
    let cleaned = match destination.delete(&temporary).await {
        Ok(_) => destination.delete(&stem).await,
        Err(error) => Err(error),
    };
    result.and(cleaned.map(|_| ()))
}

async fn deliver(destination: &dyn Destination, temporary: &str, stem: &str) -> Result<()> {
    let mut output = destination.create(temporary, CreateOptions::default()).await?;
    output.write(Bytes::from_static(CONTENT)).await?;
    let length = output.close().await?;
    let published = publish(destination, temporary, stem, length).await?;
    debug_assert_eq!(published, Published::Now, "a random name is not taken");
    let mut chunks = destination.read(stem).await?;
    let mut found = 0;
    while let Some(chunk) = chunks.next().await {
        found += chunk?.len() as u64;
    }
    if found == length {
        return Ok(());
    }
    let cause = Cause::Length { expected: length, found };
    Err(DestinationError::new("read back", stem, cause))
}
