//! What is refused, shown to the operator: one warning a minute for each reason, so that a broken
//! tag can be told from a scanner, and no stranger can fill the log.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time between two warnings with the same reason.
const INTERVAL: Duration = Duration::from_mins(1);

/// How much of a request is shown.
const BYTES_SHOWN: usize = 100;

/// When what was told last, by reason, of which there are a dozen.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<BTreeMap<&'static str, Told>>);

#[derive(Debug)]
struct Told {
    at: Instant,
    /// Those since then.
    more: u64,
}

impl Refusals {
    /// Tells, unless it was told just before, that a request was refused that began with these
    /// bytes.
    pub(super) fn tell(
        &self,
        reason: &'static str,
        detail: &'static str,
        peer: SocketAddr,
        bytes: &[u8],
    ) {
        if let Some(before) = self.count(reason, Instant::now()) {
            let began = bytes[..bytes.len().min(BYTES_SHOWN)].escape_ascii().to_string();
            // As a text it is quoted: no part of it can be taken for another field.
            tracing::warn!(reason, detail, %peer, began, before, "a request was refused");
        }
    }

    /// Tells, unless it was told just before, that a connection was not accepted.
    pub(super) fn not_accepted(&self, error: &std::io::Error) {
        if let Some(before) = self.count("accept", Instant::now()) {
            tracing::warn!(%error, before, "a connection was not accepted");
        }
    }

    /// Tells, unless it was told just before, that a connection has to wait for another to end.
    pub(super) fn no_room(&self) {
        if let Some(before) = self.count("no_room", Instant::now()) {
            tracing::warn!(
                before,
                "a worker has as many connections as it may; those that have waited for longest \
                 for a request give way (pixel.max_connections, and the limit of open files)"
            );
        }
    }

    /// How many were not told since the last warning, if it is time for another.
    fn count(&self, reason: &'static str, now: Instant) -> Option<u64> {
        // A panic cannot come between the parts of a change here.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(reason) {
            Some(told) if now.saturating_duration_since(told.at) < INTERVAL => {
                told.more += 1;
                None
            }
            told => {
                let more = told.map_or(0, |told| told.more);
                all.insert(reason, Told { at: now, more: 0 });
                Some(more)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_once_a_minute_with_how_many_more_there_were() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let at = |reason, seconds| refusals.count(reason, start + Duration::from_secs(seconds));
        assert_eq!(at("malformed", 0), Some(0));
        assert_eq!(at("timeout", 1), Some(0));
        assert_eq!((at("malformed", 2), at("malformed", 59)), (None, None));
        assert_eq!(at("malformed", 60), Some(2));
        assert_eq!(at("malformed", 61), None);
        assert_eq!(at("timeout", 62), Some(0));
    }
}
