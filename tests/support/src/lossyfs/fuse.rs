//! What the kernel asks, answered from the tree.
//!
//! Nothing is cached in the kernel: files are opened for direct I/O and attributes and names expire
//! at once, so that every call arrives here, in the order in which it was made.

use std::ffi::OsStr;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use nix::errno::Errno;

use super::calls::{
    BLOCK_BYTES, Handler, attributes, check_readable, check_space, offset, title, used_bytes,
};
use super::control::{Effect, Op};
use super::mount::Core;

const EXPIRED: Duration = Duration::ZERO;
const GENERATION: Generation = Generation(0);
const HANDLE: FileHandle = FileHandle(0);

/// What statfs says where there is no limit.
const UNLIMITED_BYTES: u64 = 1 << 40;

impl Filesystem for Handler {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.look(|core| {
            let node = core.tree.lookup(parent.0, name)?;
            Ok(attributes(node, core.tree.node(node)?))
        });
        entry(found, reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.look(|core| Ok(attributes(ino.0, core.tree.node(ino.0)?))) {
            Ok(found) => reply.attr(&EXPIRED, &found),
            Err(errno) => reply.error(errno),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let resized = size.map_or(Ok(()), |size| {
            let what = |core: &Core| format!("{} to {size}", title(core, ino));
            self.call(Op::Resize, what, None, |core, _| {
                let size = offset(size)?;
                check_space(core, ino, size)?;
                core.tree.file_mut(ino.0)?.resize(size);
                Ok(())
            })
        });
        let set = resized.and_then(|()| {
            let mut core = self.0.lock();
            if core.control.is_cut {
                return Err(fuser::Errno::EIO);
            }
            let node = core.tree.nodes.get_mut(&ino.0).ok_or(fuser::Errno::ENOENT)?;
            node.mode = mode.unwrap_or(node.mode);
            Ok(attributes(ino.0, node))
        });
        match set {
            Ok(found) => reply.attr(&EXPIRED, &found),
            Err(errno) => reply.error(errno),
        }
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let mode = mode & !umask;
        let node = self.make(Op::Mkdir, parent, name, |core| core.tree.mkdir(parent.0, name, mode));
        entry(node, reply);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let mode = mode & !umask;
        let node =
            self.make(Op::Create, parent, name, |core| core.tree.create(parent.0, name, mode));
        match node {
            Ok(node) => {
                reply.created(&EXPIRED, &node, GENERATION, HANDLE, FopenFlags::FOPEN_DIRECT_IO);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn link(&self, _: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let made = self.make(Op::Link, parent, name, |core| {
            core.tree.link(ino.0, parent.0, name).map(|()| ino.0)
        });
        entry(made, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.remove(Op::Unlink, parent, name, |core| core.tree.unlink(parent.0, name));
        empty(done, reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.remove(Op::Rmdir, parent, name, |core| core.tree.rmdir(parent.0, name));
        empty(done, reply);
    }

    fn rename(
        &self,
        _: &Request,
        from: INodeNo,
        old: &OsStr,
        to: INodeNo,
        new: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let no_replace = flags == RenameFlags::RENAME_NOREPLACE;
        if !no_replace && !flags.is_empty() {
            return reply.error(fuser::Errno::EINVAL);
        }
        let what = |core: &Core| {
            let (from, to) = (title(core, from), title(core, to));
            format!("{from}/{} to {to}/{}", old.display(), new.display())
        };
        let done = self.call(Op::Rename, what, None, |core, _| {
            core.tree.rename((from.0, old), (to.0, new), no_replace)
        });
        empty(done, reply);
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let opened = self.call(
            Op::Open,
            |core| title(core, ino),
            None,
            |core, _| core.tree.file(ino.0).map(drop),
        );
        match opened {
            Ok(()) => reply.opened(HANDLE, FopenFlags::FOPEN_DIRECT_IO),
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        at: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.call(
            Op::Read,
            |core| title(core, ino),
            None,
            |core, effect| {
                let seen = core.tree.file(ino.0)?.seen();
                let start = offset(at)?.min(seen.len());
                let end = start.saturating_add(offset(size.into())?).min(seen.len());
                check_readable(core, ino, start..end)?;
                let mut data = seen[start..end].to_vec();
                if let (Some(Effect::Flips(bit)), false) = (effect, data.is_empty()) {
                    let bit = bit % (data.len() * 8);
                    data[bit / 8] ^= 1 << (bit % 8);
                }
                Ok(data)
            },
        );
        match read {
            Ok(data) => reply.data(&data),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        at: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let what = |core: &Core| format!("{} at {at}, {} bytes", title(core, ino), data.len());
        let written = self.call(Op::Write, what, None, |core, effect| {
            let taken = match effect {
                Some(Effect::Short(bytes)) => bytes.min(data.len()),
                _ => data.len(),
            };
            let at = offset(at)?;
            check_space(core, ino, at + taken)?;
            core.tree.file_mut(ino.0)?.write(at, &data[..taken]);
            u32::try_from(taken).map_err(|_| Errno::EINVAL)
        });
        match written {
            Ok(bytes) => reply.written(bytes),
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        empty(self.look(|_| Ok(())), reply);
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, data_only: bool, reply: ReplyEmpty) {
        let what = |core: &Core| title(core, ino);
        let done = self.call(Op::Sync, what, Some(()), |core, effect| {
            if effect == Some(Effect::FailsAndForgets) {
                core.tree.file_mut(ino.0)?.forget();
                return Err(Errno::EIO);
            }
            core.tree.sync_file(ino.0, data_only, core.rules)
        });
        empty(done, reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let what = |core: &Core| format!("{}/", title(core, ino));
        let done = self.call(Op::SyncDir, what, Some(()), |core, effect| {
            if effect == Some(Effect::FailsAndForgets) {
                core.tree.forget_dir(ino.0);
                return Err(Errno::EIO);
            }
            core.tree.sync_dir(ino.0, core.rules)
        });
        empty(done, reply);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        skip: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = self.look(|core| {
            let names = core.tree.names(ino.0)?;
            let entries = names.iter().filter_map(|(name, node)| {
                let kind = attributes(*node, core.tree.node(*node).ok()?).kind;
                Some((*node, kind, name.clone()))
            });
            let own = [".", ".."].map(|name| (ino.0, FileType::Directory, name.into()));
            Ok(own.into_iter().chain(entries).collect::<Vec<_>>())
        });
        let entries = match listed {
            Ok(entries) => entries,
            Err(errno) => return reply.error(errno),
        };
        let rest = (1..).zip(entries).filter(|(place, _)| *place > skip);
        for (place, (node, kind, name)) in rest {
            if reply.add(INodeNo(node), place, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let space = self.look(|core| {
            let capacity = core.capacity_bytes.unwrap_or(UNLIMITED_BYTES);
            Ok((capacity, capacity.saturating_sub(used_bytes(core))))
        });
        match space {
            Ok((capacity, free)) => {
                let block = u64::from(BLOCK_BYTES);
                let (all, free) = (capacity / block, free / block);
                reply.statfs(all, free, free, 0, 0, BLOCK_BYTES, 255, BLOCK_BYTES);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        at: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        // Only the plain kind, which makes the file longer: it is all that programs here use.
        if mode != 0 {
            return reply.error(fuser::Errno::EOPNOTSUPP);
        }
        let what = |core: &Core| format!("{} at {at}, {length} bytes", title(core, ino));
        let done = self.call(Op::Allocate, what, None, |core, _| {
            let end = offset(at.saturating_add(length))?;
            check_space(core, ino, end)?;
            let file = core.tree.file_mut(ino.0)?;
            file.resize(end.max(file.seen().len()));
            Ok(())
        });
        empty(done, reply);
    }
}

fn entry(found: Result<FileAttr, fuser::Errno>, reply: ReplyEntry) {
    match found {
        Ok(found) => reply.entry(&EXPIRED, &found, GENERATION),
        Err(errno) => reply.error(errno),
    }
}

fn empty(done: Result<(), fuser::Errno>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}
