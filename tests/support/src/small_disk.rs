//! A real file system that is small enough to fill: ext4 in an image, mounted by loop-back.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::command;

/// How long making, mounting and unmounting may take.
const MOUNT_WAIT: Duration = Duration::from_secs(30);

/// A mounted file system; it is unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    mount: PathBuf,
}

impl SmallDisk {
    /// Makes a file system of `bytes` and mounts it on `mount`, which is made.
    ///
    /// # Errors
    /// Why that cannot be done here: it takes root and the tools of ext4.
    pub fn mount(mount: &Path, bytes: u64) -> Result<Self, String> {
        let image = mount.with_extension("image");
        let say = |e: std::io::Error| format!("make {}: {e}", image.display());
        File::create(&image).and_then(|file| file.set_len(bytes)).map_err(say)?;
        fs::create_dir(mount).map_err(say)?;
        // No reserve for root: the tests are root, and are to be refused like anybody else.
        run("mkfs.ext4", &[Path::new("-q"), Path::new("-m"), Path::new("0"), &image])?;
        run("mount", &[Path::new("-o"), Path::new("loop"), &image, mount])?;
        Ok(Self { mount: mount.to_owned() })
    }

    /// Fills what is free, to the last byte, and returns the file that does.
    ///
    /// # Panics
    /// If that fails for another reason than a full disk.
    pub fn fill(&self) -> PathBuf {
        let path = self.mount.join("ballast");
        let mut file = File::create(&path).expect("create the ballast");
        for size in [1 << 20, 4096, 1] {
            let piece = vec![0xa5; size];
            while file.write(&piece).is_ok_and(|written| written > 0) {}
        }
        // What could not be written cannot be synced either.
        let _ = file.sync_all();
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a daemon of a failed test may still be ending.
        if let Err(why) = run("umount", &[Path::new("-l"), &self.mount]) {
            eprintln!("{why}");
        }
    }
}

fn run(program: &str, args: &[&Path]) -> Result<(), String> {
    let done = command::run(Command::new(program).args(args), MOUNT_WAIT)
        .map_err(|why| format!("{program}: {why}"))?;
    if done.code == Some(0) { Ok(()) } else { Err(format!("{program}: {}", done.stderr.trim())) }
}
