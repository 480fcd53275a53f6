//! How a call from the kernel is carried out: admitted or not by the control, then done in the
//! tree. Here are also the attributes of nodes, and the space that files take.

use std::ffi::OsStr;
use std::ops::Range;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use fuser::{FileAttr, FileType, INodeNo};
use nix::errno::Errno;

use super::control::{Effect, Op, Verdict};
use super::mount::{Core, Shared};
use super::tree::{Kind, Node};

pub(super) const BLOCK_BYTES: u32 = 512;

/// Answers the kernel.
pub(super) struct Handler(pub Arc<Shared>);

impl Handler {
    /// Carries out a call unless the control says otherwise. `pretend` is the answer of a call that
    /// is to do nothing.
    pub fn call<T>(
        &self,
        op: Op,
        what: impl FnOnce(&Core) -> String,
        pretend: Option<T>,
        act: impl FnOnce(&mut Core, Option<Effect>) -> Result<T, Errno>,
    ) -> Result<T, fuser::Errno> {
        let mut core = self.0.lock();
        let Core { control, .. } = &mut *core;
        // The description needs the tree, which cannot be borrowed beside the control.
        let mut control = std::mem::take(control);
        let (was_cut, counted) = (control.is_cut, control.count);
        let verdict = control.admit(op, || what(&core));
        let cut_now = control.is_cut && !was_cut;
        let went = control.count > counted;
        core.control = control;
        if went && let Some(mut history) = core.history.take() {
            history.push(core.tree.clone());
            core.history = Some(history);
        }
        if cut_now {
            self.0.tell_cut();
        }
        let result = match (verdict, pretend) {
            (Verdict::Fails(errno), _) => Err(errno),
            (Verdict::Pretends, Some(answer)) => Ok(answer),
            (Verdict::Pretends, None) => act(&mut core, None),
            (Verdict::Goes(Some(Effect::Slow(time))), _) => {
                drop(core);
                std::thread::sleep(time);
                let mut core = self.0.lock();
                if core.control.is_cut { Err(Errno::EIO) } else { act(&mut core, None) }
            }
            (Verdict::Goes(effect), _) => act(&mut core, effect),
        };
        result.map_err(to_fuse)
    }

    /// A call that changes nothing and is not counted; it fails after the cut like any other.
    pub fn look<T>(&self, act: impl FnOnce(&Core) -> Result<T, Errno>) -> Result<T, fuser::Errno> {
        let core = self.0.lock();
        if core.control.is_cut {
            return Err(fuser::Errno::EIO);
        }
        act(&core).map_err(to_fuse)
    }

    pub fn make(
        &self,
        op: Op,
        parent: INodeNo,
        name: &OsStr,
        act: impl FnOnce(&mut Core) -> Result<u64, Errno>,
    ) -> Result<FileAttr, fuser::Errno> {
        let what = |core: &Core| format!("{}/{}", title(core, parent), name.display());
        self.call(op, what, None, |core, _| {
            let node = act(core)?;
            Ok(attributes(node, core.tree.node(node)?))
        })
    }

    pub fn remove(
        &self,
        op: Op,
        parent: INodeNo,
        name: &OsStr,
        act: impl FnOnce(&mut Core) -> Result<(), Errno>,
    ) -> Result<(), fuser::Errno> {
        let what = |core: &Core| format!("{}/{}", title(core, parent), name.display());
        self.call(op, what, None, |core, _| act(core))
    }
}

fn to_fuse(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno as i32)
}

pub(super) fn title(core: &Core, node: INodeNo) -> String {
    let name = core.tree.node(node.0).map(|node| node.name.display().to_string());
    name.unwrap_or_else(|_| format!("#{}", node.0))
}

pub(super) fn attributes(number: u64, node: &Node) -> FileAttr {
    let (kind, size) = match &node.kind {
        Kind::File(content) => (FileType::RegularFile, content.seen().len() as u64),
        Kind::Dir { .. } => (FileType::Directory, 0),
    };
    FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(u64::from(BLOCK_BYTES)),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        // The file type bits are not part of it.
        perm: u16::try_from(node.mode & 0o7777).expect("four octal digits fit"),
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

pub(super) fn offset(value: u64) -> Result<usize, Errno> {
    usize::try_from(value).map_err(|_| Errno::EFBIG)
}

/// The bytes of all files that processes can see.
pub(super) fn used_bytes(core: &Core) -> u64 {
    let bytes = |node: &Node| match &node.kind {
        Kind::File(content) => content.seen().len() as u64,
        Kind::Dir { .. } => 0,
    };
    let linked = core.tree.nodes.keys().flat_map(|&dir| core.tree.names(dir).into_iter());
    let files = linked.flat_map(|names| names.values());
    files.filter_map(|&file| core.tree.node(file).ok()).map(bytes).sum()
}

pub(super) fn check_space(core: &Core, node: INodeNo, end: usize) -> Result<(), Errno> {
    let Some(capacity) = core.capacity_bytes else { return Ok(()) };
    let grows = end.saturating_sub(core.tree.file(node.0)?.seen().len()) as u64;
    if grows > 0 && used_bytes(core) + grows > capacity {
        return Err(Errno::ENOSPC);
    }
    Ok(())
}

pub(super) fn check_readable(core: &Core, node: INodeNo, bytes: Range<usize>) -> Result<(), Errno> {
    let (start, end) = (bytes.start as u64, bytes.end as u64);
    let is_bad =
        |(file, bad): &(u64, Range<u64>)| *file == node.0 && bad.start < end && start < bad.end;
    if core.unreadable.iter().any(is_bad) { Err(Errno::EIO) } else { Ok(()) }
}
