//! The bytes of one file: what processes see, and what of it a power cut would leave.
//!
//! `durable` with all of `pending` applied in order is `seen`, except after a sync that failed and
//! forgot: then what was pending is in the page cache and nowhere else, as on Linux.

use crate::random::Random;

/// What a disk writes as a whole.
pub(super) const SECTOR_BYTES: usize = 512;

/// A change that no sync has covered yet.
#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Resize(usize),
}

/// The two states of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

impl Content {
    /// A file that is durable as it is.
    pub fn settled(bytes: Vec<u8>) -> Self {
        Self { seen: bytes.clone(), durable: bytes, pending: Vec::new() }
    }

    /// What processes see.
    pub fn seen(&self) -> &[u8] {
        &self.seen
    }

    pub fn write(&mut self, offset: usize, data: &[u8]) {
        let change = Change::Write { offset, data: data.to_vec() };
        apply(&mut self.seen, &change);
        self.pending.push(change);
    }

    pub fn resize(&mut self, bytes: usize) {
        if bytes != self.seen.len() {
            self.seen.resize(bytes, 0);
            self.pending.push(Change::Resize(bytes));
        }
    }

    /// Whether a sync has a new size to write, and not data alone.
    pub fn has_new_size(&self) -> bool {
        self.seen.len() != self.durable.len()
    }

    /// fsync, or with `data_only` fdatasync, which need not make a file shorter: the missing bytes
    /// are not needed to read the others.
    pub fn sync(&mut self, data_only: bool) {
        // Only where the file has become shorter; a copy of each file at each sync would take
        // longer than the sync.
        let durable = self.durable.len();
        let shrinks = |change: &Change| matches!(change, Change::Resize(bytes) if *bytes < durable);
        let is_shorter = data_only && self.pending.iter().any(shrinks);
        let before = if is_shorter { self.durable.clone() } else { Vec::new() };
        for change in std::mem::take(&mut self.pending) {
            apply(&mut self.durable, &change);
        }
        let synced = self.durable.len();
        if let Some(rest) = before.get(synced..).filter(|rest| !rest.is_empty()) {
            self.durable.extend_from_slice(rest);
            self.pending.push(Change::Resize(synced));
        }
    }

    /// A sync that failed: what was dirty is taken for clean and is never written.
    pub fn forget(&mut self) {
        self.pending.clear();
    }

    /// What was synced, and nothing else.
    pub fn synced(&self) -> Vec<u8> {
        self.durable.clone()
    }

    /// The size is kept, the data is not: where nothing was synced before there are zeros.
    pub fn sized(&self) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        bytes.resize(self.seen.len(), 0);
        bytes
    }

    /// Each sector as it was at some time since the last sync, and a size of some such time. The
    /// sectors do not agree on the time: writes are torn and reordered.
    pub fn torn(&self, random: &mut Random) -> Vec<u8> {
        let most = self.pending.iter().map(Change::end).max().unwrap_or(0).max(self.durable.len());
        let mut bytes = self.durable.clone();
        bytes.resize(most, 0);
        let mut size = self.durable.len();
        // Some files keep most of what was written, some next to nothing.
        let odds = 1 + random.below(9);
        let mut reached = vec![true; most.div_ceil(SECTOR_BYTES)];
        let mut size_reached = true;
        for change in &self.pending {
            size_reached &= random.below(10) < odds;
            if size_reached {
                size = change.size_after(size);
            }
            for sector in change.sectors(most) {
                reached[sector] &= random.below(10) < odds;
                if reached[sector] {
                    change.apply_to_sector(&mut bytes, sector);
                }
            }
        }
        bytes.resize(size, 0);
        bytes
    }
}

impl Change {
    /// The largest offset that it touches.
    fn end(&self) -> usize {
        match self {
            Self::Write { offset, data } => offset + data.len(),
            Self::Resize(bytes) => *bytes,
        }
    }

    fn size_after(&self, size: usize) -> usize {
        match self {
            Self::Write { .. } => size.max(self.end()),
            Self::Resize(bytes) => *bytes,
        }
    }

    /// The sectors that it changes in a file of `most` bytes.
    fn sectors(&self, most: usize) -> std::ops::Range<usize> {
        match self {
            Self::Write { data, .. } if data.is_empty() => 0..0,
            Self::Write { offset, .. } => offset / SECTOR_BYTES..self.end().div_ceil(SECTOR_BYTES),
            Self::Resize(bytes) => bytes / SECTOR_BYTES..most.div_ceil(SECTOR_BYTES),
        }
    }

    fn apply_to_sector(&self, bytes: &mut [u8], sector: usize) {
        let start = sector * SECTOR_BYTES;
        let end = (start + SECTOR_BYTES).min(bytes.len());
        match self {
            Self::Write { offset, data } => {
                let (from, to) = (start.max(*offset), end.min(offset + data.len()));
                bytes[from..to].copy_from_slice(&data[from - offset..to - offset]);
            }
            Self::Resize(size) => bytes[start.max(*size)..end].fill(0),
        }
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { offset, data } => {
            if bytes.len() < change.end() {
                bytes.resize(change.end(), 0);
            }
            bytes[*offset..offset + data.len()].copy_from_slice(data);
        }
        Change::Resize(size) => bytes.resize(*size, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_synced_data_survives() {
        let mut file = Content::default();
        file.write(0, b"abc");
        assert_eq!((file.seen(), file.synced()), (&b"abc"[..], vec![]));
        file.sync(true);
        file.write(1, b"XYZ");
        assert_eq!((file.seen(), file.synced()), (&b"aXYZ"[..], b"abc".to_vec()));
        assert_eq!(file.sized(), b"abc\0");
    }

    #[test]
    fn a_shorter_size_needs_a_full_sync() {
        let mut file = Content::settled(b"abcdef".to_vec());
        file.write(0, b"X");
        file.resize(2);
        file.sync(true);
        assert_eq!((file.seen(), file.synced()), (&b"Xb"[..], b"Xbcdef".to_vec()));
        file.sync(false);
        assert_eq!(file.synced(), b"Xb");
    }

    #[test]
    fn a_sync_after_a_failed_one_brings_nothing_back() {
        let mut file = Content::settled(b"old".to_vec());
        file.write(0, b"new");
        file.forget();
        file.sync(false);
        assert_eq!((file.seen(), file.synced()), (&b"new"[..], b"old".to_vec()));
    }

    #[test]
    fn torn_sectors_are_each_of_some_time_and_whole() {
        let mut file = Content::settled(vec![0; 4 * SECTOR_BYTES]);
        for value in 1..=3 {
            file.write(0, &[value; 4 * SECTOR_BYTES]);
        }
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let torn = file.torn(&mut Random::new(seed));
            assert_eq!(torn.len(), 4 * SECTOR_BYTES);
            let sectors: Vec<u8> = torn.chunks(SECTOR_BYTES).map(|sector| sector[0]).collect();
            assert!(torn.chunks(SECTOR_BYTES).all(|s| s.iter().all(|&byte| byte == s[0])));
            seen.insert(sectors);
        }
        assert!(seen.len() > 20, "{seen:?}");
        assert!(seen.iter().any(|sectors| sectors[0] < sectors[3]), "never reordered");
    }
}
