//! `--cat`: finished files back to JSON lines, from a path or from a URI.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};

use anyhow::Context;
use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use crate::config::Config;
use crate::destination;
use crate::record::rows::{CatError, cat};

/// Prints the rows of files. A closed pipe ends it quietly.
///
/// # Errors
/// With the file that cannot be read to its end.
pub async fn run(config: &Config, files: &[String]) -> anyhow::Result<()> {
    for file in files {
        let shown = if file.contains("://") {
            show_uri(config, file).await
        } else {
            let open = File::open(file).with_context(|| format!("open {file}"))?;
            tokio::task::spawn_blocking(move || show(BufReader::new(open))).await?
        };
        match shown {
            Ok(()) => {}
            Err(error) if is_closed_pipe(&error) => return Ok(()),
            Err(error) => return Err(error.context(file.clone())),
        }
    }
    Ok(())
}

async fn show_uri(config: &Config, uri: &str) -> anyhow::Result<()> {
    let (root, path) = destination::split(uri)?;
    let destination = destination::open(&root, config.destination_options())?;
    let length = destination.length(&path).await?.context("there is no such file")?;
    let mut chunks = destination.read(&path).await?;
    let (sender, receiver) = mpsc::channel(1);
    let printer = tokio::task::spawn_blocking(move || {
        show(ChunkReader { receiver, current: Bytes::new(), left: length })
    });
    while let Some(chunk) = chunks.next().await {
        if sender.send(chunk.map_err(io::Error::other)).await.is_err() {
            break;
        }
    }
    drop(sender);
    printer.await?
}

fn show(file: impl Read) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    cat(file, &mut out)?;
    out.flush().map_err(CatError::Write)?;
    Ok(())
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<CatError>(),
        Some(CatError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe
    )
}

/// The chunks of a destination as a blocking reader.
struct ChunkReader {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
    /// The bytes that the file still has: an early end is an error, not the end.
    left: u64,
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None if self.left == 0 => return Ok(0),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let length = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        self.left = self.left.saturating_sub(length as u64);
        Ok(length)
    }
}
