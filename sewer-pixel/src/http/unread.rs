//! Bytes of a connection that have come before they can be used: a part of a head, or the requests
//! behind the one that is being answered. Nothing more is read before these are used.

use memchr::memmem;

/// The bytes. Empty, they take no memory.
#[derive(Debug, Default)]
pub(super) struct Unread {
    bytes: Vec<u8>,
    /// How many of them are used.
    used: usize,
    /// How many of those that are not used were searched for the end of a head, without finding it.
    searched: usize,
    /// How many of them there were when they were last parsed.
    parsed: usize,
}

impl Unread {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.used == self.bytes.len()
    }

    /// Further bytes have come.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.bytes.drain(..self.used);
        self.used = 0;
        self.bytes.reserve_exact(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether to parse them once more as the begin of a head that was not complete: if there is an
    /// end now, or twice as much. So a head that comes byte by byte costs no more than one in a
    /// piece.
    pub(super) fn is_worth_parsing(&mut self) -> bool {
        let count = self.bytes().len();
        // The longest end is three bytes.
        let from = self.searched.saturating_sub(2);
        let fresh = &self.bytes()[from..];
        let has_end =
            memmem::find(fresh, b"\n\r\n").is_some() || memmem::find(fresh, b"\n\n").is_some();
        self.searched = count;
        if has_end || count >= 2 * self.parsed {
            self.parsed = count;
            return true;
        }
        false
    }

    /// So many of them are used.
    pub(super) fn consume(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        self.used += count;
        (self.searched, self.parsed) = (0, 0);
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// Takes so many of them out.
    pub(super) fn take(&mut self, count: usize) -> Box<[u8]> {
        let taken = self.bytes()[..count].into();
        self.consume(count);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_in_pieces_is_parsed_a_few_times_and_at_its_end() {
        for end in ["\r\n\r\n", "\n\n", "\n\r\n"] {
            let head = "x".repeat(1000) + end;
            let (mut unread, mut parsed) = (Unread::default(), 0);
            for (number, byte) in head.bytes().enumerate() {
                unread.keep(&[byte]);
                let is_worth = unread.is_worth_parsing();
                parsed += usize::from(is_worth);
                assert!(is_worth || number + 1 < head.len(), "{end:?}");
            }
            assert!(parsed < 15, "{parsed} times");
        }
        let mut unread = Unread::default();
        unread.keep(b"first\r\n\r\nsecond\r\n\r\n");
        assert!(unread.is_worth_parsing());
        unread.consume(9);
        assert!(unread.is_worth_parsing(), "another one begins");
    }

    #[test]
    fn what_is_used_makes_room_and_nothing_keeps_no_memory() {
        let mut unread = Unread::default();
        unread.keep(b"first second");
        unread.consume(6);
        assert_eq!(unread.bytes(), b"second");
        unread.keep(b" third");
        assert_eq!(unread.bytes(), b"second third");
        assert!(unread.bytes.capacity() <= 18, "{}", unread.bytes.capacity());
        assert_eq!(&*unread.take(7), b"second ");
        assert!(!unread.is_empty());
        unread.consume(5);
        assert!(unread.is_empty());
        unread.keep(b"");
        assert_eq!(unread.bytes.capacity(), 0);
    }
}
