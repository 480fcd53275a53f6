//! The identity of a WAL: its id, and what the file `ID` says of it.
//!
//! ```text
//! ID       = id (16 hex digits), "\n", line*, "crc32c ", 8 hex digits, "\n"
//! line     = "born <inode> <nanoseconds>\n"   of the file ID itself: another file is a copy;
//!                                            "-" where a file system has no times of birth
//!          | "names own\n"                    segments carry the id in their names
//!          | "earlier <id>\n"                 an identity that left segments or logs here; with
//!                                            names of their own, first that of plain names
//!          | "next <LSN>\n"                   where LSNs go on; only while nothing appends
//! ```
//! The CRC-32C is of everything before its line. A file of format 1 is the first line alone.
//!
//! The id is also in the header of every log and segment, and the next LSN in the newest log, so
//! that one damaged file loses neither. This module does no I/O.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::lsn::{LSN_DIGITS, Lsn};

/// A WAL's id: 64 random bits, written as 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct WalId(pub u64);

impl WalId {
    /// A new id.
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for WalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for WalId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 16 || !text.bytes().all(hex) {
            return Err("an identity is 16 lower-case hex digits");
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| "an identity is 16 hex digits")
    }
}

impl From<WalId> for String {
    fn from(id: WalId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for WalId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The name of a segment: the LSN of its first event and, where another identity has segments in
/// the same directory, the WAL's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SegmentName {
    /// The WAL's id, where the name carries it.
    pub wal_id: Option<WalId>,
    /// The LSN of the segment's first event.
    pub base: Lsn,
}

impl SegmentName {
    /// Reads a file's name as strictly as it is written; `None` for any other.
    pub fn parse(file_name: &str) -> Option<Self> {
        let stem = file_name.strip_suffix(".seg")?;
        let (base, wal_id) = match stem.split_once('-') {
            None => (stem, None),
            Some((base, id)) => (base, Some(id.parse().ok()?)),
        };
        Some(Self { wal_id, base: Lsn::from_padded(base)? })
    }

    /// The name without the id.
    pub(crate) fn plain(self) -> Self {
        Self { wal_id: None, ..self }
    }

    /// The name of the file at `path`, if it is a segment's.
    pub fn of_path(path: &Path) -> Option<Self> {
        Self::parse(path.file_name()?.to_str()?)
    }
}

impl From<Lsn> for SegmentName {
    fn from(base: Lsn) -> Self {
        Self { wal_id: None, base }
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0LSN_DIGITS$}", self.base.0)?;
        if let Some(id) = self.wal_id {
            write!(f, "-{id}")?;
        }
        f.write_str(".seg")
    }
}

impl From<SegmentName> for String {
    fn from(name: SegmentName) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for SegmentName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("a segment's name is 20 digits, perhaps a WAL id, and .seg")
    }
}

/// Everything that the file `ID` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The id under which events are recorded now.
    pub id: WalId,
    /// Whether its segments carry the id in their names.
    pub own_names: bool,
    /// The ids under which this directory has held events and may hold some; with
    /// [`Self::own_names`], the first is that of the segments with plain names.
    pub earlier: Vec<WalId>,
    /// Where LSNs go on, if the last process ended cleanly.
    pub next_lsn: Option<Lsn>,
    /// The file itself, by inode and, if the file system tells it, time of birth.
    pub(crate) born: Option<Birth>,
}

/// Tells a file from its copies: its inode, and its time of birth in nanoseconds since the epoch,
/// if the file system tells that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Birth {
    pub inode: u64,
    pub nanoseconds: Option<u64>,
}

impl fmt::Display for Birth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inode, nanoseconds } = self;
        match nanoseconds {
            Some(at) => write!(f, "born {inode} {at}"),
            None => write!(f, "born {inode} -"),
        }
    }
}

impl Birth {
    /// Reads the line that it is written as.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (inode, nanoseconds) = line.strip_prefix("born ")?.split_once(' ')?;
        let nanoseconds = match nanoseconds {
            "-" => None,
            at => Some(at.parse().ok()?),
        };
        Some(Self { inode: inode.parse().ok()?, nanoseconds })
    }
}

/// The content of a file `ID`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IdContent {
    Sound(Identity),
    /// As format 1 has it.
    Old(WalId),
    Damaged,
}

impl Identity {
    /// An identity that has nothing to say but its id.
    pub fn new(id: WalId) -> Self {
        Self { id, own_names: false, earlier: Vec::new(), next_lsn: None, born: None }
    }

    /// Whether events of this id belong here.
    pub fn owns(&self, id: WalId) -> bool {
        id == self.id || self.earlier.contains(&id)
    }

    /// The id of the segments with plain names.
    pub fn of_plain_names(&self) -> WalId {
        self.earlier.first().copied().filter(|_| self.own_names).unwrap_or(self.id)
    }

    pub(crate) fn encode(&self) -> String {
        use fmt::Write;
        let mut text = format!("{}\n", self.id);
        let mut line = |args: fmt::Arguments<'_>| {
            text.write_fmt(args).expect("a string takes everything");
            text.push('\n');
        };
        if let Some(born) = self.born {
            line(format_args!("{born}"));
        }
        if self.own_names {
            line(format_args!("names own"));
        }
        for id in &self.earlier {
            line(format_args!("earlier {id}"));
        }
        if let Some(lsn) = self.next_lsn {
            line(format_args!("next {lsn}"));
        }
        let crc = crc32c::crc32c(text.as_bytes());
        format!("{text}crc32c {crc:08x}\n")
    }

    pub(crate) fn decode(bytes: &[u8]) -> IdContent {
        let Ok(text) = std::str::from_utf8(bytes) else { return IdContent::Damaged };
        if let Some(id) = text.strip_suffix('\n').and_then(|digits| digits.parse().ok()) {
            return IdContent::Old(id);
        }
        Self::decode_text(text).map_or(IdContent::Damaged, IdContent::Sound)
    }

    fn decode_text(text: &str) -> Option<Self> {
        let end = text.strip_suffix('\n')?.rfind('\n')? + 1;
        let crc = format!("crc32c {:08x}\n", crc32c::crc32c(&text.as_bytes()[..end]));
        if text[end..] != crc {
            return None;
        }
        let mut lines = text[..end].lines();
        let mut identity = Self::new(lines.next()?.parse().ok()?);
        for line in lines {
            match line.split_once(' ')? {
                ("born", _) => identity.born = Some(Birth::parse(line)?),
                ("names", "own") => identity.own_names = true,
                ("earlier", id) => identity.earlier.push(id.parse().ok()?),
                ("next", lsn) => identity.next_lsn = Some(lsn.parse().ok()?),
                _ => return None,
            }
        }
        Some(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            id: WalId(0xff),
            own_names: true,
            earlier: vec![WalId(1), WalId(2)],
            next_lsn: Some(Lsn(7)),
            born: Some(Birth { inode: 12, nanoseconds: Some(34) }),
        }
    }

    #[test]
    fn an_identity_is_sixteen_hex_digits() {
        assert_eq!("00000000000000ff".parse(), Ok(WalId(255)));
        assert_eq!(WalId(255).to_string(), "00000000000000ff");
        for wrong in ["ff", "00000000000000FF", "+0000000000000ff", "00000000000000fg"] {
            assert!(wrong.parse::<WalId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_file_is_as_it_is_drawn_and_no_flipped_bit_is_believed() {
        let text = identity().encode();
        let lines = "00000000000000ff\nborn 12 34\nnames own\nearlier 0000000000000001\n\
                     earlier 0000000000000002\nnext 7\n";
        assert!(text.starts_with(lines), "{text}");
        assert_eq!(Identity::decode(text.as_bytes()), IdContent::Sound(identity()));
        let born = Some(Birth { inode: 5, nanoseconds: None });
        let bare = Identity { born, ..Identity::new(WalId(3)) };
        assert_eq!(Identity::decode(bare.encode().as_bytes()), IdContent::Sound(bare));
        for bit in 0..text.len() * 8 {
            let mut damaged = text.clone().into_bytes();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Identity::decode(&damaged), IdContent::Damaged, "bit {bit}");
        }
        for cut in (0..text.len()).filter(|cut| *cut != 17) {
            assert_eq!(Identity::decode(&text.as_bytes()[..cut]), IdContent::Damaged, "{cut}");
        }
    }

    #[test]
    fn the_file_of_format_1_is_read() {
        assert_eq!(Identity::decode(b"00000000000000ff\n"), IdContent::Old(WalId(255)));
        for wrong in [&b""[..], b"0000000000000007", b"0000000000000007\nx", b"\xff\n"] {
            assert_eq!(Identity::decode(wrong), IdContent::Damaged);
        }
    }

    #[test]
    fn names_are_read_as_strictly_as_they_are_written() {
        let name = SegmentName { wal_id: Some(WalId(0xab)), base: Lsn(7) };
        assert_eq!(name.to_string(), "00000000000000000007-00000000000000ab.seg");
        for name in [name, Lsn(7).into(), Lsn::MAX.into()] {
            assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
        }
        for foreign in [
            "7.seg",
            "00000000000000000007.seg.tmp",
            "00000000000000000007",
            ".seg",
            "00000000000000000007-.seg",
            "00000000000000000007-ab.seg",
            "18446744073709551615.seg",
        ] {
            assert_eq!(SegmentName::parse(foreign), None, "{foreign}");
        }
    }
}
