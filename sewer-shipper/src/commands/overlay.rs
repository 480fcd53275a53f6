//! `--journal DIR`: a WAL on a disk that takes no writes, shipped by way of a directory elsewhere.
//!
//! The directory becomes a WAL of its own: its sealed segments are symbolic links to those on the
//! disk, its logs and plans are copies. So everything that shipping writes, renames and deletes is
//! there. `taken.json` remembers what was taken in, also after it is shipped and gone: the same
//! directory given again goes on where it was, and ships nothing twice.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use sewer_ops::say;
use sewer_wal::durable::{create_dir_durably, sync_dir, write_durably};
use sewer_wal::{Layout, SegmentName, look_up_identity};

use crate::plan::{decode, encode};
use crate::ship::open::lock;

/// The piece in which a log is copied where the disk has bad sectors.
const BLOCK_BYTES: usize = 4096;

/// Everything that was ever taken in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Taken {
    segments: BTreeSet<SegmentName>,
    logs: BTreeSet<u64>,
    plans: BTreeSet<String>,
}

/// The directory that stands for the WAL.
#[derive(Debug)]
pub struct Overlay {
    layout: Layout,
    /// Nobody else ships the WAL meanwhile.
    _lock: Flock<File>,
}

impl Overlay {
    /// Takes in what `source` holds and `dir` has not had yet. Blocks.
    ///
    /// # Errors
    /// If either cannot be read, `dir` cannot be written, or it stands for another WAL.
    pub fn open(source: &Layout, dir: &Path) -> anyhow::Result<Self> {
        let source = Layout::new(
            fs::canonicalize(source.root())
                .with_context(|| format!("there is no WAL in {}", source.root().display()))?,
        );
        let lock = lock(&source)?;
        let layout = Layout::new(dir);
        let needed = [layout.sealed_dir(), layout.active_dir(), layout.shipments_dir()];
        for dir in [dir.to_owned(), layout.quarantine_dir()].iter().chain(&needed) {
            create_dir_durably(dir)?;
        }
        let overlay = Self { layout, _lock: lock };
        overlay.take_identity(&source)?;
        let mut taken = overlay.taken()?;
        let before = taken.clone();
        overlay.take_segments(&source, &mut taken)?;
        overlay.take_plans(&source, &mut taken)?;
        overlay.take_logs(&source, &mut taken)?;
        needed.iter().try_for_each(|dir| sync_dir(dir))?;
        if taken != before {
            overlay.store(&taken)?;
        }
        Ok(overlay)
    }

    /// The directory, as a WAL.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Remembers what was sealed here, so that it is not taken in once its own disk has it sealed.
    ///
    /// # Errors
    /// If the directory cannot be read or written.
    pub fn remember_sealed(&self) -> anyhow::Result<()> {
        let mut taken = self.taken()?;
        taken.segments.extend(self.layout.sealed_names()?);
        self.store(&taken)
    }

    fn path(&self) -> PathBuf {
        self.layout.root().join("taken.json")
    }

    fn taken(&self) -> anyhow::Result<Taken> {
        let path = self.path();
        match fs::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Taken::default()),
            Err(e) => Err(e).with_context(|| format!("read {}", path.display())),
            Ok(bytes) => decode(&bytes).map_err(|problem| {
                anyhow::anyhow!(
                    "{}: {problem}; nothing tells what was shipped from here: put back a copy, or \
                     give an empty directory, and what is at the destination is looked for there",
                    path.display()
                )
            }),
        }
    }

    fn store(&self, taken: &Taken) -> anyhow::Result<()> {
        Ok(write_durably(&self.path(), &encode(taken))?)
    }

    fn take_identity(&self, source: &Layout) -> anyhow::Result<()> {
        let Some(identity) = look_up_identity(source)? else {
            bail!("there is no WAL in {}", source.root().display());
        };
        let id_file = self.layout.id_file();
        if !id_file.exists() {
            match fs::read(source.id_file()) {
                Ok(bytes) => write_durably(&id_file, &bytes)?,
                // The logs and segments tell it.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => Err(e).with_context(|| format!("read {}", source.id_file().display()))?,
            }
            return Ok(());
        }
        match look_up_identity(&self.layout)? {
            Some(own) if own.id != identity.id => bail!(
                "{} stands for the WAL {}, not for {}: give another directory",
                self.layout.root().display(),
                own.id,
                identity.id
            ),
            _ => Ok(()),
        }
    }

    fn take_segments(&self, source: &Layout, taken: &mut Taken) -> anyhow::Result<()> {
        for name in source.sealed_names()? {
            if taken.segments.insert(name) {
                let (from, to) = (source.sealed_file(name), self.layout.sealed_file(name));
                match symlink(&from, &to) {
                    Err(e) if e.kind() != ErrorKind::AlreadyExists => {
                        return Err(e).with_context(|| format!("link {}", to.display()));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn take_plans(&self, source: &Layout, taken: &mut Taken) -> anyhow::Result<()> {
        let entries = match fs::read_dir(source.shipments_dir()) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries.context("list the plans")?,
        };
        for entry in entries {
            let path = entry.context("list the plans")?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_json = path.extension().is_some_and(|extension| extension == "json");
            if is_json && taken.plans.insert(name.clone()) {
                let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
                write_durably(&self.layout.shipments_dir().join(name), &bytes)?;
            }
        }
        Ok(())
    }

    fn take_logs(&self, source: &Layout, taken: &mut Taken) -> anyhow::Result<()> {
        if is_in_use(source)? {
            say!("a pixel is running: its active segment is left to it");
            return Ok(());
        }
        for number in source.log_numbers()? {
            if !taken.logs.insert(number) {
                continue;
            }
            let from = source.log_file(number);
            let Some(bytes) =
                read_log(&from).with_context(|| format!("read {}", from.display()))?
            else {
                continue;
            };
            create_dir_durably(&self.layout.log_dir(number))?;
            write_durably(&self.layout.log_file(number), &bytes)?;
        }
        Ok(())
    }
}

/// Tells whether a process appends to the WAL.
fn is_in_use(source: &Layout) -> anyhow::Result<bool> {
    let path = source.lock_file();
    let file = match File::open(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        file => file.with_context(|| format!("open {}", path.display()))?,
    };
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_) => Ok(false),
        Err((_, Errno::EWOULDBLOCK)) => Ok(true),
        Err((_, errno)) => Err(errno).with_context(|| format!("lock {}", path.display())),
    }
}

/// The bytes of a log; where the disk cannot read them, zeros, which are damage to every reader.
/// None if there is no such file.
fn read_log(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => return Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) if e.raw_os_error() == Some(Errno::EIO as i32) => {}
        Err(e) => return Err(e),
    }
    let file = File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    for (index, block) in bytes.chunks_mut(BLOCK_BYTES).enumerate() {
        match file.read_exact_at(block, (index * BLOCK_BYTES) as u64) {
            Err(e) if e.raw_os_error() == Some(Errno::EIO as i32) => block.fill(0),
            read => read?,
        }
    }
    Ok(Some(bytes))
}
