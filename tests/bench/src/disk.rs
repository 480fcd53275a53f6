//! What the disk can do: a bare write and fdatasync.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use crate::cpu;
use crate::stats::median;

/// As large as the pixel's segments are.
const FILE_BYTES: usize = 64 << 20;

/// How often it is written and synced for one median.
const WRITES: usize = 300;

/// A zero-filled file that is on the disk as a whole, as the WAL's segments are.
#[derive(Debug)]
pub struct Disk {
    file: File,
    at: u64,
}

impl Disk {
    /// Makes the file in `directory`.
    pub fn new(directory: &Path) -> Self {
        let path = directory.join("bare");
        let file = File::create(&path).expect("make a file");
        file.write_all_at(&vec![0; FILE_BYTES], 0).expect("fill a file");
        file.sync_all().expect("sync a file");
        Self { file, at: 0 }
    }

    /// The median time in milliseconds to write and fdatasync so many bytes after the last ones, on
    /// the servers' core.
    pub fn write_and_sync_ms(&mut self, bytes: usize) -> f64 {
        let data = vec![b'u'; bytes.clamp(1, FILE_BYTES)];
        let mut times = Vec::with_capacity(WRITES);
        cpu::on_core(cpu::SERVER_CORE, || {
            for _ in 0..WRITES {
                if self.at + data.len() as u64 > FILE_BYTES as u64 {
                    self.at = 0;
                }
                let begun = Instant::now();
                self.file.write_all_at(&data, self.at).expect("write into a file");
                self.file.sync_data().expect("sync a file");
                times.push(begun.elapsed().as_secs_f64() * 1e3);
                self.at += data.len() as u64;
            }
        });
        median(times)
    }
}
