//! A mounted file system and the handle by which a test rules it.

use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fuser::{BackgroundSession, Config, MountOption, Session};
use nix::mount::{MntFlags, umount2};
use tempfile::TempDir;

use super::calls::Handler;
use super::control::{Control, Fault, Op};
use super::survive::{Image, Moment, Survival};
use super::tree::{ROOT, Rules, Tree};

/// How long the last processes may take to let go of the mount.
const UNMOUNT_WAIT: Duration = Duration::from_secs(10);

/// Threads that answer the kernel: a slow call must not hold up the others.
const THREADS: usize = 3;

/// What the handle and the threads that answer the kernel share.
#[derive(Debug)]
pub(super) struct Shared {
    core: Mutex<Core>,
    cut: Condvar,
}

#[derive(Debug)]
pub(super) struct Core {
    pub tree: Tree,
    pub control: Control,
    pub rules: Rules,
    /// The bytes that the file system holds; `None` is as many as there is memory.
    pub capacity_bytes: Option<u64>,
    /// The tree before each operation, if it is kept.
    pub history: Option<Vec<Tree>>,
    /// Bytes that cannot be read: of which file, and where.
    pub unreadable: Vec<(u64, Range<u64>)>,
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn tell_cut(&self) {
        self.cut.notify_all();
    }
}

/// A mounted lossy file system; unmounted when dropped.
#[derive(Debug)]
pub struct LossyFs {
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
    dir: Option<TempDir>,
}

impl LossyFs {
    /// Mounts what an image holds.
    ///
    /// # Errors
    /// If the kernel does not let us.
    pub fn mount(image: &Image, rules: Rules) -> std::io::Result<Self> {
        let (tree, control) = (image.tree.clone(), Control::default());
        let core = Core {
            tree,
            control,
            rules,
            capacity_bytes: None,
            history: None,
            unreadable: Vec::new(),
        };
        let core = Mutex::new(core);
        let shared = Arc::new(Shared { core, cut: Condvar::new() });
        let dir = tempfile::tempdir()?;
        let mut config = Config::default();
        let name = MountOption::FSName("lossyfs".into());
        config.mount_options = vec![name, MountOption::NoAtime, MountOption::NoDev];
        config.n_threads = Some(THREADS);
        let handler = Handler(Arc::clone(&shared));
        let session = Session::new(handler, dir.path(), &config)?.spawn()?;
        Ok(Self { shared, session: Some(session), dir: Some(dir) })
    }

    /// Where it is mounted.
    ///
    /// # Panics
    /// Never: the directory is there until the handle is dropped.
    pub fn path(&self) -> &Path {
        self.dir.as_ref().expect("taken only when dropped").path()
    }

    /// The operations carried out so far.
    pub fn operations(&self) -> u64 {
        self.shared.lock().control.count
    }

    /// The calls of one kind so far.
    pub fn calls(&self, op: Op) -> u64 {
        self.shared.lock().control.calls(op)
    }

    /// Cuts the power before operation `number`, which may be the next one or a later one.
    pub fn cut_before(&self, number: u64) {
        self.shared.lock().control.cut_before = Some(number);
    }

    /// Cuts the power now.
    pub fn cut(&self) {
        self.shared.lock().control.is_cut = true;
        self.shared.tell_cut();
    }

    /// Whether the power is cut.
    pub fn is_cut(&self) -> bool {
        self.shared.lock().control.is_cut
    }

    /// Waits for the cut; `false` if it has not come after `patience`.
    pub fn wait_for_cut(&self, patience: Duration) -> bool {
        let waiting = |core: &mut Core| !core.control.is_cut;
        let waited = self.shared.cut.wait_timeout_while(self.shared.lock(), patience, waiting);
        waited.unwrap_or_else(PoisonError::into_inner).0.control.is_cut
    }

    /// Makes a call fail, or do worse.
    pub fn add_fault(&self, fault: Fault) {
        self.shared.lock().control.faults.push(fault);
    }

    /// From now on, every read that touches these bytes of a file fails with EIO, whatever the file
    /// is called later and whatever is written there: a bad sector that the disk does not replace.
    ///
    /// # Panics
    /// If there is no such file below the mount.
    pub fn make_unreadable(&self, path: &Path, bytes: Range<u64>) {
        let mut core = self.shared.lock();
        let below = path.strip_prefix(self.path()).expect("a path below the mount");
        let node = below.iter().try_fold(ROOT, |dir, name| core.tree.lookup(dir, name));
        core.unreadable.push((node.expect("a file that is there"), bytes));
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.shared.lock().control.faults.clear();
    }

    /// From now on, calls of that kind report success and do nothing, as if a program did not make
    /// them: to see that a test notices.
    pub fn drop_calls(&self, op: Op) {
        self.shared.lock().control.dropped.push(op);
    }

    /// How many bytes of files it holds; a write beyond is refused with ENOSPC.
    pub fn limit_bytes(&self, capacity_bytes: u64) {
        self.shared.lock().capacity_bytes = Some(capacity_bytes);
    }

    /// From now on, keeps every state between two operations.
    pub fn keep_history(&self) {
        self.shared.lock().history = Some(Vec::new());
    }

    /// The states since [`Self::keep_history`]: the first before the first operation, the last now.
    pub fn history(&self) -> Vec<Moment> {
        let core = self.shared.lock();
        let states = core.history.iter().flatten().chain([&core.tree]);
        states.map(|tree| Moment::new(tree.clone(), core.rules)).collect()
    }

    /// The last operations, oldest first, at most `count`.
    pub fn trace(&self, count: usize) -> String {
        let core = self.shared.lock();
        let trace = &core.control.trace;
        trace[trace.len().saturating_sub(count)..].join("\n")
    }

    /// What a power cut at this moment leaves.
    pub fn survivors(&self, survival: Survival) -> Image {
        let core = self.shared.lock();
        Image::after_cut(&core.tree, core.rules, survival)
    }
}

impl Drop for LossyFs {
    fn drop(&mut self) {
        // Detached, the mount goes when the last process has closed its files. The file system's
        // threads end then; they are waited for, but not for ever.
        if umount2(self.path(), MntFlags::MNT_DETACH).is_err() {
            return;
        }
        let Some(session) = self.session.take() else { return };
        let deadline = Instant::now() + UNMOUNT_WAIT;
        while !session.guard.is_finished() {
            if Instant::now() > deadline {
                let path = self.path().display();
                let _ = writeln!(std::io::stderr(), "lossyfs: {path} is still in use");
                // Joining it would wait for ever.
                std::mem::forget(session);
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // How the session ended is of no consequence once it has.
        let _ = session.join();
    }
}

/// Whether the tests of `suite` can mount a file system; says so on standard error if not.
///
/// # Panics
/// If they cannot and `SEWERTEST_REQUIRE_FUSE=1` says that they must.
pub fn available_or_skip(suite: &str) -> bool {
    match LossyFs::mount(&Image::default(), Rules::Strict) {
        Ok(_) => true,
        Err(why) => {
            let required = std::env::var_os("SEWERTEST_REQUIRE_FUSE").is_some_and(|v| v == "1");
            assert!(!required, "{suite} must run (SEWERTEST_REQUIRE_FUSE=1): mount FUSE: {why}");
            crate::hadoop::skip(suite, &format!("cannot mount through /dev/fuse: {why}"));
            false
        }
    }
}
