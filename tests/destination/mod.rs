//! The contract of a destination, as a suite that runs against each implementation.

pub mod contract;
pub mod publishing;

use std::sync::Arc;

use bytes::Bytes;
use sewer_shipper::destination::{CreateOptions, Destination, Output, Result};

/// Runs every case, each in a directory of its own below `base`. `open` makes a new instance, as
/// another process would have it.
pub async fn all(open: &dyn Fn() -> Arc<dyn Destination>, base: &str) {
    let destination = open();
    let of = |case: &str| format!("{base}/{case}");
    contract::create_makes_parents(&*destination, &of("parents")).await;
    contract::create_never_overwrites(&*destination, &of("create")).await;
    contract::written_bytes_read_back(&*destination, &of("bytes")).await;
    contract::length_is_exact_and_none_only_when_missing(&*destination, &of("length")).await;
    contract::rename_never_overwrites(&*destination, &of("rename")).await;
    contract::delete_says_whether_there_was_something(&*destination, &of("delete")).await;
    contract::list_names_what_is_there(&*destination, &of("list")).await;
    contract::paths_stay_inside(&*destination).await;
    contract::an_abandoned_output_can_be_removed_by_another_process(open, &of("abandoned")).await;
    publishing::a_file_is_published_once(&*destination, &of("once")).await;
    publishing::another_file_under_the_final_name_is_a_conflict(&*destination, &of("conflict"))
        .await;
    publishing::nothing_to_publish_is_an_error(&*destination, &of("nothing")).await;
    publishing::both_names_with_the_expected_length_are_published(&*destination, &of("both")).await;
    publishing::a_file_of_another_length_is_not_published(&*destination, &of("short")).await;
    publishing::an_open_file_is_closed_before_it_is_published(open, &of("open")).await;
    publishing::the_probe_leaves_nothing_behind(&*destination, &of("probe")).await;
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
    let entries = destination.list(dir).await.expect("list");
    let mut names: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
    names.sort();
    names
}

/// Bytes that no shifted, repeated or zeroed block equals.
pub fn content(length: u32) -> Vec<u8> {
    let words = (0..=length / 4).map(|i| i.wrapping_mul(0x9e37_79b9).to_le_bytes());
    words.flatten().take(length as usize).collect()
}
