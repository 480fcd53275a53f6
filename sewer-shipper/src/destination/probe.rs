//! `--check`: would a delivery work? It is tried with a hidden file, from create to delete.

use bytes::Bytes;

use super::contract::{CreateOptions, Destination};
use super::error::Result;
use super::fingerprint::Fingerprint;
use super::publish::{Published, is_published, publish};

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
    output.close().await?;
    let content = Fingerprint::of(CONTENT);
    let published = publish(destination, temporary, stem, content).await?;
    debug_assert_eq!(published, Published::Now, "a random name is not taken");
    // Reads it back.
    is_published(destination, stem, content).await.map(drop)
}
