//! The names: directories and files as processes see them, and as a power cut would leave them.
//!
//! A change of a name is an entry in the journal until a sync covers it. [`Rules`] say which sync
//! covers what. Nodes are never removed while the tree lives, since a name that a process has
//! removed may be one that survives.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use nix::errno::Errno;

use super::content::Content;

/// The node of the root directory, as FUSE has it.
pub(super) const ROOT: u64 = 1;

/// Which sync makes which names durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rules {
    /// What POSIX promises: a name is durable after fsync of the directory that holds it, and each
    /// directory goes its own way: a file renamed elsewhere is lost if only its old directory was
    /// synced.
    #[default]
    Strict,
    /// What ext4 does: there is one journal. Names survive in the order in which they were changed,
    /// a rename as a whole, and every sync that writes metadata writes all of it.
    Ext4,
}

pub(super) type Names = BTreeMap<OsString, u64>;

/// A change of one name in one directory.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub dir: u64,
    pub name: OsString,
    /// What the name stands for from now on.
    pub node: Option<u64>,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    File(Content),
    Dir { seen: Names, durable: Names },
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub kind: Kind,
    pub mode: u32,
    /// The name that it was last given, for the trace.
    pub name: OsString,
}

/// All nodes, and the changes of names that no sync has covered, each operation's together.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub nodes: BTreeMap<u64, Node>,
    pub journal: Vec<Vec<Change>>,
    next: u64,
}

impl Default for Tree {
    fn default() -> Self {
        let kind = Kind::Dir { seen: Names::new(), durable: Names::new() };
        let root = Node { kind, mode: 0o755, name: OsString::new() };
        Self { nodes: BTreeMap::from([(ROOT, root)]), journal: Vec::new(), next: ROOT + 1 }
    }
}

impl Tree {
    pub fn node(&self, node: u64) -> Result<&Node, Errno> {
        self.nodes.get(&node).ok_or(Errno::ENOENT)
    }

    pub fn file(&self, node: u64) -> Result<&Content, Errno> {
        match &self.node(node)?.kind {
            Kind::File(content) => Ok(content),
            Kind::Dir { .. } => Err(Errno::EISDIR),
        }
    }

    pub fn file_mut(&mut self, node: u64) -> Result<&mut Content, Errno> {
        match &mut self.nodes.get_mut(&node).ok_or(Errno::ENOENT)?.kind {
            Kind::File(content) => Ok(content),
            Kind::Dir { .. } => Err(Errno::EISDIR),
        }
    }

    /// The names that processes see in a directory.
    pub fn names(&self, dir: u64) -> Result<&Names, Errno> {
        match &self.node(dir)?.kind {
            Kind::Dir { seen, .. } => Ok(seen),
            Kind::File(_) => Err(Errno::ENOTDIR),
        }
    }

    pub fn lookup(&self, dir: u64, name: &OsStr) -> Result<u64, Errno> {
        self.names(dir)?.get(name).copied().ok_or(Errno::ENOENT)
    }

    pub fn create(&mut self, dir: u64, name: &OsStr, mode: u32) -> Result<u64, Errno> {
        self.add(dir, name, mode, Kind::File(Content::default()))
    }

    pub fn mkdir(&mut self, dir: u64, name: &OsStr, mode: u32) -> Result<u64, Errno> {
        self.add(dir, name, mode, Kind::Dir { seen: Names::new(), durable: Names::new() })
    }

    /// A node that no name leads to yet.
    pub fn insert(&mut self, name: &OsStr, mode: u32, kind: Kind) -> u64 {
        let node = self.next;
        self.next += 1;
        self.nodes.insert(node, Node { kind, mode, name: name.to_owned() });
        node
    }

    fn add(&mut self, dir: u64, name: &OsStr, mode: u32, kind: Kind) -> Result<u64, Errno> {
        if self.names(dir)?.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let node = self.insert(name, mode, kind);
        self.change(vec![Change { dir, name: name.to_owned(), node: Some(node) }]);
        Ok(node)
    }

    pub fn link(&mut self, node: u64, dir: u64, name: &OsStr) -> Result<(), Errno> {
        self.file(node)?;
        if self.names(dir)?.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        self.change(vec![Change { dir, name: name.to_owned(), node: Some(node) }]);
        Ok(())
    }

    pub fn unlink(&mut self, dir: u64, name: &OsStr) -> Result<(), Errno> {
        self.file(self.lookup(dir, name)?)?;
        self.change(vec![Change { dir, name: name.to_owned(), node: None }]);
        Ok(())
    }

    pub fn rmdir(&mut self, dir: u64, name: &OsStr) -> Result<(), Errno> {
        if !self.names(self.lookup(dir, name)?)?.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.change(vec![Change { dir, name: name.to_owned(), node: None }]);
        Ok(())
    }

    pub fn rename(
        &mut self,
        (from, old): (u64, &OsStr),
        (to, new): (u64, &OsStr),
        no_replace: bool,
    ) -> Result<(), Errno> {
        let node = self.lookup(from, old)?;
        let is_dir = self.names(node).is_ok();
        match self.lookup(to, new) {
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
            Ok(_) if no_replace => return Err(Errno::EEXIST),
            Ok(there) if there == node => return Ok(()),
            Ok(there) => match self.names(there) {
                Ok(names) if is_dir && names.is_empty() => {}
                Ok(_) if is_dir => return Err(Errno::ENOTEMPTY),
                Ok(_) => return Err(Errno::EISDIR),
                Err(_) if is_dir => return Err(Errno::ENOTDIR),
                Err(_) => {}
            },
        }
        self.change(vec![
            Change { dir: to, name: new.to_owned(), node: Some(node) },
            Change { dir: from, name: old.to_owned(), node: None },
        ]);
        if let Some(node) = self.nodes.get_mut(&node) {
            new.clone_into(&mut node.name);
        }
        Ok(())
    }

    fn change(&mut self, changes: Vec<Change>) {
        for Change { dir, name, node } in &changes {
            if let Some(Node { kind: Kind::Dir { seen, .. }, .. }) = self.nodes.get_mut(dir) {
                match node {
                    Some(node) => seen.insert(name.clone(), *node),
                    None => seen.remove(name),
                };
            }
        }
        self.journal.push(changes);
    }

    /// fsync or fdatasync of a file.
    pub fn sync_file(&mut self, node: u64, data_only: bool, rules: Rules) -> Result<(), Errno> {
        let content = self.file_mut(node)?;
        let with_metadata = !data_only || content.has_new_size();
        content.sync(data_only);
        if rules == Rules::Ext4 && with_metadata {
            self.commit(|_| true);
        }
        Ok(())
    }

    /// fsync of a directory.
    pub fn sync_dir(&mut self, dir: u64, rules: Rules) -> Result<(), Errno> {
        self.names(dir)?;
        self.commit(|change| rules == Rules::Ext4 || change.dir == dir);
        Ok(())
    }

    /// A sync of a directory that failed: its changes are taken for written and never are.
    pub fn forget_dir(&mut self, dir: u64) {
        self.journal.iter_mut().for_each(|changes| changes.retain(|change| change.dir != dir));
        self.journal.retain(|changes| !changes.is_empty());
    }

    fn commit(&mut self, covered: impl Fn(&Change) -> bool) {
        for mut changes in std::mem::take(&mut self.journal) {
            for change in changes.extract_if(.., |change| covered(change)) {
                self.make_durable(&change);
            }
            if !changes.is_empty() {
                self.journal.push(changes);
            }
        }
    }

    pub fn make_durable(&mut self, change: &Change) {
        let node = self.nodes.get_mut(&change.dir);
        if let Some(Node { kind: Kind::Dir { durable, .. }, .. }) = node {
            match change.node {
                Some(node) => durable.insert(change.name.clone(), node),
                None => durable.remove(&change.name),
            };
        }
    }
}
