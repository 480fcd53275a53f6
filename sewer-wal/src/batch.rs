//! The events of one fsync, encoded and waiting to be appended.

use crate::event::{EVENT_BYTES_MAX, Event, EventError, widen};
pub use crate::format::batch::BATCH_BYTES_MAX;
use crate::format::batch::{BATCH_OVERHEAD, EVENT_OVERHEAD};

/// Encoded events, in the order in which they will get their LSNs.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// The smallest and the largest timestamp.
    timestamps: Option<(i64, i64)>,
}

impl Batch {
    /// Encodes one more event.
    ///
    /// # Errors
    /// [`EventError::TooLarge`], with the batch as it was, if the event is over
    /// [`EVENT_BYTES_MAX`] or does not fit its format.
    pub fn push(&mut self, event: &Event<'_>) -> Result<(), EventError> {
        let start = self.bytes.len();
        event.encode(&mut self.bytes)?;
        if self.bytes.len() - start > EVENT_BYTES_MAX {
            self.bytes.truncate(start);
            return Err(EventError::TooLarge("over 1 MiB in all"));
        }
        self.ends.push(self.bytes.len());
        widen(&mut self.timestamps, (event.timestamp_ms, event.timestamp_ms));
        Ok(())
    }

    /// Appends the already encoded events of another batch.
    pub fn extend(&mut self, other: &Self) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.ends.extend(other.ends.iter().map(|end| start + end));
        if let Some(timestamps) = other.timestamps {
            widen(&mut self.timestamps, timestamps);
        }
    }

    /// The smallest and the largest timestamp of its events, in milliseconds.
    #[must_use]
    pub const fn timestamps(&self) -> Option<(i64, i64)> {
        self.timestamps
    }

    /// The number of its events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it holds no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes that it takes in the log, framing included and padding not.
    #[must_use]
    pub fn framed_bytes(&self) -> usize {
        BATCH_OVERHEAD + self.event_bytes()
    }

    /// The part of it that its events take: what they add up to, in whichever batches they are.
    #[must_use]
    pub fn event_bytes(&self) -> usize {
        self.ends.len() * EVENT_OVERHEAD + self.bytes.len()
    }

    /// The encoded events, in order.
    pub fn events(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        self.ends.iter().enumerate().map(|(index, &end)| {
            let start = if index == 0 { 0 } else { self.ends[index - 1] };
            &self.bytes[start..end]
        })
    }

    /// Empties it, keeping its memory for the next batch.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.timestamps = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_batches_keep_every_event_whole() {
        let event = |timestamp_ms, path| Event {
            timestamp_ms,
            request_path: Some(path),
            ..Event::default()
        };
        let (mut first, mut second) = (Batch::default(), Batch::default());
        first.push(&event(5, b"/a")).unwrap();
        second.push(&event(9, b"/bb")).unwrap();
        second.push(&event(1, b"/c")).unwrap();
        first.extend(&second);
        let paths: Vec<_> =
            first.events().map(|bytes| Event::decode(bytes).unwrap().request_path).collect();
        assert_eq!(paths, [Some(&b"/a"[..]), Some(b"/bb"), Some(b"/c")]);
        assert_eq!(first.timestamps(), Some((1, 9)));
        first.clear();
        assert_eq!(first.timestamps(), None);
    }

    #[test]
    fn an_event_over_the_limit_is_refused_and_leaves_no_trace() {
        let mut batch = Batch::default();
        let long = vec![b'x'; EVENT_BYTES_MAX];
        assert!(batch.push(&Event { cookies: Some(&long), ..Event::default() }).is_err());
        assert!(batch.is_empty());
        assert_eq!(batch.framed_bytes(), BATCH_OVERHEAD);
    }
}
