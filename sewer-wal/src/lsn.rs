//! An event's number in its WAL.
//!
//! LSNs begin at 0 and have no gaps. They name segments, shipments and output files, always as
//! 20 decimal digits so that the order of names is the order of events.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The number of digits in every file name that carries an LSN: enough for `u64::MAX`.
pub const LSN_DIGITS: usize = 20;

/// An event's number in its WAL: from 0, gapless, in the order of the log.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(into = "u64", try_from = "u64")]
pub struct Lsn(pub u64);

impl Lsn {
    /// The largest LSN: at ten million events a second it is reached after 29,000 years. What is
    /// read from a disk and lies beyond is damage.
    pub const MAX: Self = Self(u64::MAX >> 1);

    /// The LSN that `number` stands for, unless it is over [`Self::MAX`].
    #[must_use]
    pub const fn checked(number: u64) -> Option<Self> {
        if number <= Self::MAX.0 { Some(Self(number)) } else { None }
    }

    /// The LSN that is `events` further on, unless it is over [`Self::MAX`].
    pub const fn checked_plus(self, events: u64) -> Option<Self> {
        match self.0.checked_add(events) {
            Some(number) => Self::checked(number),
            None => None,
        }
    }

    /// The LSN that is `events` further on, where both are known to be those of a file or of its
    /// limits, and so far below [`Self::MAX`].
    #[must_use]
    pub const fn plus(self, events: u64) -> Self {
        Self(self.0.checked_add(events).expect("LSNs of the WAL end before 2^63"))
    }

    /// The number of events from `earlier` up to this one, this one excluded; 0 if it is not later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Reads the 20 digits of a file name; `None` for anything else, wrong padding included.
    #[must_use]
    pub fn from_padded(digits: &str) -> Option<Self> {
        parse_padded(digits).and_then(Self::checked)
    }
}

/// Reads exactly 20 decimal digits as a number; `None` for anything else.
pub(crate) fn parse_padded(digits: &str) -> Option<u64> {
    if digits.len() != LSN_DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Lsn {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().ok().and_then(Self::checked).ok_or("an LSN is a number below 2^63")
    }
}

impl TryFrom<u64> for Lsn {
    type Error = &'static str;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        Self::checked(number).ok_or("an LSN is below 2^63")
    }
}

impl From<Lsn> for u64 {
    fn from(lsn: Lsn) -> Self {
        lsn.0
    }
}

/// A half-open range of LSNs: `first <= lsn < end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LsnRange {
    /// The first LSN of the range.
    pub first: Lsn,
    /// The LSN after the last one of the range.
    pub end: Lsn,
}

impl LsnRange {
    /// The range of `count` LSNs from `first`, unless it ends over [`Lsn::MAX`].
    #[must_use]
    pub const fn checked(first: Lsn, count: u64) -> Option<Self> {
        match first.checked_plus(count) {
            Some(end) => Some(Self { first, end }),
            None => None,
        }
    }

    /// The range of `count` LSNs from `first`, as [`Lsn::plus`] reckons.
    #[must_use]
    pub const fn new(first: Lsn, count: u64) -> Self {
        Self { first, end: first.plus(count) }
    }

    /// The number of LSNs in the range.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.end.since(self.first)
    }

    /// Whether the range holds no LSN.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.end.0 <= self.first.0
    }

    /// The last LSN of the range, or `None` if it is empty.
    #[must_use]
    pub const fn last(self) -> Option<Lsn> {
        if self.is_empty() { None } else { Some(Lsn(self.end.0 - 1)) }
    }
}

impl fmt::Display for LsnRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last() {
            None => write!(f, "none at {}", self.first),
            Some(last) if last == self.first => write!(f, "{last}"),
            Some(last) => write!(f, "{}..={last}", self.first),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_twenty_digits_name_an_lsn() {
        assert_eq!(Lsn::from_padded("00000000000000000042"), Some(Lsn(42)));
        for wrong in ["42", "+0000000000000000042", "0000000000000000004x", "09999999999999999999"]
        {
            assert_eq!(Lsn::from_padded(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn ranges_read_as_people_write_them() {
        assert_eq!(LsnRange::new(Lsn(5), 3).to_string(), "5..=7");
        assert_eq!(LsnRange::new(Lsn(5), 1).to_string(), "5");
        assert_eq!(LsnRange::new(Lsn(5), 0).to_string(), "none at 5");
    }
}
