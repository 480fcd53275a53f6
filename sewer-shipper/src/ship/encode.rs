//! One output of a plan, from segments to the bytes of a file. A pure function: doing it again
//! gives the same bytes. Blocks, and holds no more than a block of records and a chunk of output.

use bytes::Bytes;
use sewer_wal::{Event, Layout};
use thiserror::Error;

use crate::destination::Fingerprint;
use crate::hadoop::sequence_file::{RecordTooLarge, Writer};
use crate::plan::{OutputPlan, Plan, PlanError, open_segment, read_events};

/// The size of the pieces in which output is handed on.
const CHUNK_BYTES: usize = 1 << 20;

/// Why an output was not encoded to its end.
#[derive(Debug, Error)]
pub enum EncodeError {
    /// A segment cannot be read.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// An event does not fit a record. The limits of the WAL rule that out.
    #[error(transparent)]
    Record(#[from] RecordTooLarge),
    /// The segments no longer hold what they held when the plan was made.
    #[error(
        "{path} was planned with {planned} records, but its segments now hold {found}: they were damaged since"
    )]
    Changed {
        /// The output.
        path: String,
        /// The records in the plan.
        planned: u64,
        /// The records found.
        found: u64,
    },
    /// Nobody takes the output any more.
    #[error("writing was given up")]
    Abandoned,
}

/// Encodes an output into chunks and returns its length and checksum. `sink` says whether it still
/// wants more.
///
/// # Errors
/// [`EncodeError`]; what was handed on so far is no file.
pub fn encode(
    layout: &Layout,
    plan: &Plan,
    output: &OutputPlan,
    mut sink: impl FnMut(Bytes) -> bool,
) -> Result<Fingerprint, EncodeError> {
    let mut writer = Writer::new(&plan.header(output));
    let mut partitions = plan.partitions()?;
    let (mut key, mut value) = (Vec::new(), Vec::new());
    let mut records = 0;
    let mut content = Fingerprint::default();
    let mut drain = |writer: &mut Writer| {
        let chunk = Bytes::from(writer.take());
        content.add(&chunk);
        if sink(chunk) { Ok(()) } else { Err(EncodeError::Abandoned) }
    };
    let mut append = |event: Event<'_>| -> Result<(), EncodeError> {
        if partitions.directory(event.timestamp_ms) != output.directory {
            return Ok(());
        }
        plan.format.encode(&event, &mut key, &mut value);
        writer.append(&key, &value)?;
        records += 1;
        if writer.output().len() >= CHUNK_BYTES { drain(&mut writer) } else { Ok(()) }
    };
    for &name in &plan.segments {
        let mut reader = open_segment(layout, plan, name)?;
        read_events(&mut reader, name, &mut append, |_| {})?;
    }
    if records != output.records {
        let (path, planned) = (output.final_path(), output.records);
        return Err(EncodeError::Changed { path, planned, found: records });
    }
    writer.finish();
    drain(&mut writer)?;
    debug_assert_eq!(content.bytes, writer.encoded_bytes(), "all of it was handed on");
    Ok(content)
}
