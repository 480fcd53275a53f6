//! What the destination holds: final files, by their names and headers.

use anyhow::bail;

use super::Look;
use crate::destination::Destination;
use crate::hadoop::sequence_file::{ReadError, Reader};
use crate::plan::FileName;

/// Give up on a tree with more directories.
const DIRECTORIES_MAX: usize = 1_000_000;

/// Looks at every file below `root`.
pub(super) async fn look_at_destination(
    destination: &dyn Destination,
    root: &str,
    look: &mut Look,
) -> anyhow::Result<()> {
    let mut directories = vec![root.to_owned()];
    let mut visited = 0;
    while let Some(directory) = directories.pop() {
        visited += 1;
        if visited > DIRECTORIES_MAX {
            bail!("{root} has more than {DIRECTORIES_MAX} directories below it");
        }
        let mut entries = destination.list(&directory).await?;
        while let Some(entry) = entries.next().await.transpose()? {
            if entry.is_dir {
                directories.push(format!("{}/{}", directory.trim_end_matches('/'), entry.name));
            } else {
                look_at_file(destination, &directory, &entry.name, look).await?;
            }
        }
    }
    Ok(())
}

async fn look_at_file(
    destination: &dyn Destination,
    directory: &str,
    name: &str,
    look: &mut Look,
) -> anyhow::Result<()> {
    let path = format!("{}/{name}", directory.trim_end_matches('/'));
    if name.starts_with('.') {
        if look.wals.keys().any(|id| name.contains(&format!("-{id}-"))) {
            look.notes.push(format!("hidden, not counted: {path}"));
        }
        return Ok(());
    }
    let Some(shipment) = FileName::parse(name) else { return Ok(()) };
    let Some(seen) = look.wals.get_mut(&shipment.wal_id) else { return Ok(()) };
    match records(destination, &path, &shipment).await? {
        Ok(records) => {
            let files = seen.shipments.entry(shipment).or_default();
            files.count += 1;
            files.records = files.records.saturating_add(records);
            files.directories.insert(directory.to_owned());
        }
        Err(why) => look.problems.push(format!("NOT COUNTED {path}: {why}")),
    }
    Ok(())
}

/// The records that a file's header tells, or why they cannot be counted.
async fn records(
    destination: &dyn Destination,
    path: &str,
    shipment: &FileName,
) -> anyhow::Result<Result<u64, String>> {
    let mut chunks = destination.read(path).await?;
    let mut head = Vec::new();
    let header = loop {
        let more = chunks.next().await.transpose()?;
        let is_end = more.is_none();
        head.extend_from_slice(&more.unwrap_or_default());
        // A header is below 1 MiB, so that this ends with the second chunk at the latest.
        match Reader::new(&head[..]) {
            Ok(reader) => break reader.header().clone(),
            Err(ReadError::Truncated { .. }) if !is_end => {}
            Err(error) => return Ok(Err(error.to_string())),
        }
    };
    let told = |name: &str| header.metadata.get(name).map_or("", String::as_str);
    let FileName { wal_id, first, last, .. } = shipment;
    let expected = [wal_id.to_string(), first.to_string(), last.to_string()];
    let found = ["sewer.wal_id", "sewer.first_lsn", "sewer.last_lsn"].map(told);
    if found != expected {
        let found = found.join(" ");
        return Ok(Err(format!("its header is that of another file (WAL and LSNs {found})")));
    }
    Ok(told("sewer.records").parse().map_err(|_| "its header tells no number of records".into()))
}
