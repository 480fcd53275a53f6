//! Names of finished files: `<host>-<WAL id>-<first LSN>-<last LSN>.seq`, the LSNs being those of
//! the shipment.

use std::fmt;

use sewer_wal::lsn::LSN_DIGITS;
use sewer_wal::{Lsn, LsnRange, WalId};

/// The name of a finished file, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileName {
    /// The WAL whose events are in it.
    pub wal_id: WalId,
    /// The first LSN of the shipment.
    pub first: Lsn,
    /// The last LSN of the shipment.
    pub last: Lsn,
    /// The node that recorded them.
    pub host: String,
}

impl FileName {
    /// Reads a name as strictly as it is written; `None` for any other.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(".seq")?.rsplitn(4, '-');
        let (last, first) = (Lsn::from_padded(parts.next()?)?, Lsn::from_padded(parts.next()?)?);
        let wal_id = parts.next()?.parse().ok()?;
        let host = parts.next()?.to_owned();
        (first <= last).then_some(Self { wal_id, first, last, host })
    }

    /// Tells whether it has LSNs in common with a segment of that WAL; one without a footer, which
    /// tells where it ends, has its first.
    pub fn touches(&self, wal_id: WalId, segment: LsnRange) -> bool {
        let LsnRange { first: base, end } = segment;
        wal_id == self.wal_id && base <= self.last && (base >= self.first || end > self.first)
    }

    /// The LSNs of the shipment.
    pub fn range(&self) -> LsnRange {
        LsnRange { first: self.first, end: self.last.plus(1) }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wal_id, first, last, host } = self;
        write!(f, "{host}-{wal_id}-{:0LSN_DIGITS$}-{:0LSN_DIGITS$}.seq", first.0, last.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written_and_no_other_is_taken_for_one() {
        let (first, last) = (Lsn(3), Lsn(5));
        let name = FileName { wal_id: WalId(0xab), first, last, host: "web-1.example".into() };
        let text = format!("web-1.example-00000000000000ab-{:020}-{:020}.seq", 3, 5);
        assert_eq!(name.to_string(), text);
        assert_eq!(FileName::parse(&text), Some(name));
        let backwards = format!("h-00000000000000ab-{:020}-{:020}.seq", 5, 3);
        for other in [&backwards, "h-00000000000000ab-3-5.seq", "_SUCCESS-h-00000000000000ab", ""] {
            assert_eq!(FileName::parse(other), None, "{other}");
        }
        assert_eq!(FileName::parse(&text.replace(".seq", ".sez")), None);
    }
}
