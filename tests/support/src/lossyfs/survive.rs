//! What is left after a power cut: a tree of its own, settled, to be mounted or looked at.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::content::Content;
use super::tree::{Kind, Names, ROOT, Rules, Tree};
use crate::random::Random;

/// How much a power cut leaves of what no sync has covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// Nothing.
    Synced,
    /// By chance, from a seed: of names each change or not (with [`Rules::Ext4`]: all up to some
    /// change), of data each 512-byte sector as it was at some time since its last sync.
    Torn(u64),
    /// All names and sizes and none of the data: what was not synced reads as zeros.
    Sizes,
    /// All names and neither sizes nor data: what was never synced is empty.
    Names,
    /// Everything, and no cut at all: a process was killed and the system goes on. What was not
    /// synced is there and can still be lost later.
    Killed,
}

/// A file system as it was at some time, from which any cut at that time can be made.
#[derive(Clone, Debug)]
pub struct Moment {
    tree: Tree,
    rules: Rules,
}

impl Moment {
    pub(super) fn new(tree: Tree, rules: Rules) -> Self {
        Self { tree, rules }
    }

    /// What a power cut at that time leaves.
    pub fn survivors(&self, survival: Survival) -> Image {
        Image::after_cut(&self.tree, self.rules, survival)
    }
}

/// What a file system can be made of. After a power cut everything in it is durable.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub(super) tree: Tree,
}

impl Image {
    /// The file system that `tree` is after a power cut.
    pub(super) fn after_cut(tree: &Tree, rules: Rules, survival: Survival) -> Self {
        let mut tree = tree.clone();
        if survival == Survival::Killed {
            return Self { tree };
        }
        let mut random = Random::new(match survival {
            Survival::Torn(seed) => seed,
            _ => 0,
        });
        let journal = std::mem::take(&mut tree.journal);
        let kept = match survival {
            Survival::Torn(_) if rules == Rules::Ext4 => random.below(journal.len() as u64 + 1),
            Survival::Synced => 0,
            _ => journal.len() as u64,
        };
        for (_, changes) in (0..kept).zip(journal) {
            let by_chance = matches!(survival, Survival::Torn(_)) && rules == Rules::Strict;
            for change in changes {
                // The new name of a rename comes first: by chance there are both, never neither,
                // for no program could rename safely on a disk that does that.
                if by_chance && random.below(2) == 0 {
                    break;
                }
                tree.make_durable(&change);
            }
        }
        for node in tree.nodes.values_mut() {
            match &mut node.kind {
                Kind::Dir { seen, durable } => seen.clone_from(durable),
                Kind::File(content) => {
                    *content = Content::settled(match survival {
                        Survival::Torn(_) => content.torn(&mut random),
                        Survival::Sizes => content.sized(),
                        _ => content.synced(),
                    });
                }
            }
        }
        Self { tree }.without_lost_nodes()
    }

    fn without_lost_nodes(mut self) -> Self {
        let mut reached = BTreeMap::new();
        let mut next = vec![ROOT];
        while let Some(node) = next.pop() {
            if let Some(found) = self.tree.nodes.remove(&node) {
                if let Kind::Dir { seen, .. } = &found.kind {
                    next.extend(seen.values());
                }
                reached.insert(node, found);
            }
        }
        self.tree.nodes = reached;
        self
    }

    /// The files and directories in `dir`, taken in as durable.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn read(dir: &Path) -> io::Result<Self> {
        let mut image = Self::default();
        image.read_into(ROOT, dir)?;
        Ok(image)
    }

    fn read_into(&mut self, node: u64, dir: &Path) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let (name, path) = (entry.file_name(), entry.path());
            let is_dir = entry.file_type()?.is_dir();
            let kind = if is_dir {
                Kind::Dir { seen: Names::new(), durable: Names::new() }
            } else {
                Kind::File(Content::settled(fs::read(&path)?))
            };
            let child = self.tree.insert(&name, if is_dir { 0o755 } else { 0o644 }, kind);
            if let Some(parent) = self.tree.nodes.get_mut(&node)
                && let Kind::Dir { seen, durable } = &mut parent.kind
            {
                seen.insert(name.clone(), child);
                durable.insert(name, child);
            }
            if is_dir {
                self.read_into(child, &path)?;
            }
        }
        Ok(())
    }

    /// Writes everything into `dir`, which must exist and be empty.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        self.write_from(ROOT, dir)
    }

    fn write_from(&self, node: u64, dir: &Path) -> io::Result<()> {
        for (name, child) in self.tree.names(node).map_err(io::Error::from)? {
            let path = dir.join(name);
            match &self.tree.node(*child).map_err(io::Error::from)?.kind {
                Kind::File(content) => fs::write(path, content.seen())?,
                Kind::Dir { .. } => {
                    fs::create_dir(&path)?;
                    self.write_from(*child, &path)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    fn names(tree: &Tree, rules: Rules, survival: Survival) -> Vec<String> {
        let image = Image::after_cut(tree, rules, survival);
        let mut found = Vec::new();
        let mut next = vec![(ROOT, String::new())];
        while let Some((dir, prefix)) = next.pop() {
            for (name, node) in image.tree.names(dir).unwrap() {
                let path = format!("{prefix}{}", name.display());
                match &image.tree.node(*node).unwrap().kind {
                    Kind::File(content) => found.push(format!("{path}:{}", content.seen().len())),
                    Kind::Dir { .. } => next.push((*node, format!("{path}/"))),
                }
            }
        }
        found.sort();
        found
    }

    fn renamed() -> (Tree, u64, u64) {
        let mut tree = Tree::default();
        let (a, b) = (OsStr::new("a"), OsStr::new("b"));
        let from = tree.mkdir(ROOT, a, 0).unwrap();
        let to = tree.mkdir(ROOT, b, 0).unwrap();
        let file = tree.create(from, a, 0).unwrap();
        tree.file_mut(file).unwrap().write(0, b"data");
        for dir in [ROOT, from] {
            tree.sync_dir(dir, Rules::Strict).unwrap();
        }
        tree.rename((from, a), (to, b), true).unwrap();
        (tree, from, to)
    }

    #[test]
    fn a_rename_survives_in_each_directory_for_itself() {
        let (tree, from, to) = renamed();
        assert_eq!(names(&tree, Rules::Strict, Survival::Synced), ["a/a:0"]);
        assert_eq!(names(&tree, Rules::Strict, Survival::Names), ["b/b:0"]);
        assert_eq!(names(&tree, Rules::Strict, Survival::Sizes), ["b/b:4"]);
        let (mut only_to, mut only_from) = (tree.clone(), tree);
        only_to.sync_dir(to, Rules::Strict).unwrap();
        assert_eq!(names(&only_to, Rules::Strict, Survival::Synced), ["a/a:0", "b/b:0"]);
        only_from.sync_dir(from, Rules::Strict).unwrap();
        assert_eq!(names(&only_from, Rules::Strict, Survival::Synced), [""; 0]);
        only_from.sync_dir(from, Rules::Ext4).unwrap();
        assert_eq!(names(&only_from, Rules::Strict, Survival::Synced), ["b/b:0"]);
    }

    #[test]
    fn an_ordered_journal_never_keeps_half_a_rename() {
        let (mut tree, ..) = renamed();
        tree.create(ROOT, OsStr::new("c"), 0).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..100 {
            seen.insert(names(&tree, Rules::Ext4, Survival::Torn(seed)).join(" "));
        }
        let without_sizes: std::collections::BTreeSet<_> =
            seen.iter().map(|names| names.replace(":4", ":0")).collect();
        assert_eq!(without_sizes.into_iter().collect::<Vec<_>>(), ["a/a:0", "b/b:0", "b/b:0 c:0"]);
    }

    #[test]
    fn an_image_goes_through_a_directory_and_back() {
        let (tree, ..) = renamed();
        let dir = tempfile::tempdir().unwrap();
        Image::after_cut(&tree, Rules::Strict, Survival::Killed).write(dir.path()).unwrap();
        assert_eq!(fs::read(dir.path().join("b/b")).unwrap(), b"data");
        let image = Image::read(dir.path()).unwrap();
        assert_eq!(names(&image.tree, Rules::Strict, Survival::Synced), ["b/b:4"]);
    }
}
