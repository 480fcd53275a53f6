//! Whole files at a destination, in one line each.

use bytes::Bytes;
use sewer_shipper::destination::{CreateOptions, Destination, Entry, Fingerprint, Output, Result};

/// Every entry of a directory.
pub async fn list(destination: &dyn Destination, dir: &str) -> Result<Vec<Entry>> {
    destination.list(dir).await?.all().await
}

/// Writes a whole file and returns what it is to be published with.
pub async fn write(destination: &dyn Destination, path: &str, content: &[u8]) -> Fingerprint {
    let length = put(destination, path, content).await.expect("write");
    assert_eq!(length, content.len() as u64);
    Fingerprint::of(content)
}

/// Writes a whole file in pieces and returns its confirmed length.
pub async fn put(destination: &dyn Destination, path: &str, content: &[u8]) -> Result<u64> {
    let mut output = begin(destination, path).await?;
    for piece in content.chunks(100_000) {
        output.write(Bytes::copy_from_slice(piece)).await?;
    }
    output.close().await
}

/// Begins a file with the options of the destination.
pub async fn begin(destination: &dyn Destination, path: &str) -> Result<Box<dyn Output>> {
    destination.create(path, CreateOptions::default()).await
}

/// The whole content of a file.
pub async fn get(destination: &dyn Destination, path: &str) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut chunks = destination.read(path).await?;
    while let Some(chunk) = chunks.next().await {
        content.extend_from_slice(&chunk?);
    }
    Ok(content)
}

/// The names in a directory, in order.
pub async fn names(destination: &dyn Destination, dir: &str) -> Vec<String> {
    let entries = list(destination, dir).await.expect("list");
    let mut names: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
    names.sort();
    names
}

/// Bytes that no shifted, repeated or zeroed block equals.
pub fn content(length: u32) -> Vec<u8> {
    let words = (0..=length / 4).map(|i| i.wrapping_mul(0x9e37_79b9).to_le_bytes());
    words.flatten().take(length as usize).collect()
}
