//! Bytes of a connection that have come before they can be used: a part of a head, or the requests
//! behind the one that is being answered. Nothing more is read before these are used.

/// The bytes. Empty, they take no memory.
#[derive(Debug, Default)]
pub(super) struct Unread {
    bytes: Vec<u8>,
    /// How many of them are used.
    used: usize,
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

    /// So many of them are used.
    pub(super) fn consume(&mut self, count: usize) {
        self.used += count;
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
