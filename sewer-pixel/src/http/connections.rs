//! The connections of one worker, and the clock that their limits in time go by.
//!
//! One timer serves all of them: at each tick every connection is looked at, and closed if its time
//! is over. When there is no room for another, those that have waited for longest for a request, or
//! for the rest of its head, give way: who opens many and uses none keeps nobody out.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, watch};

use super::connection::Connection;
use super::limits::Limits;
use crate::metrics::Metrics;

/// The longest and the shortest time between two looks.
const TICK_MAX: Duration = Duration::from_millis(250);
const TICK_MIN: Duration = Duration::from_millis(10);

/// How long a connection may still be used once the pixel stops, or another wants its place: a
/// client that has just read an answer may already be sending its next request, and closing would
/// lose that.
const GRACE: Duration = Duration::from_secs(1);

/// How many connections give way together, so that finding them costs little for each: one of so
/// many, and no more than that.
const GIVE_WAY: usize = 64;

/// The text of a date, as HTTP has it.
pub(super) type Date = [u8; 29];

/// The connections of one worker.
#[derive(Debug)]
pub(super) struct Connections {
    list: RefCell<Vec<Rc<Connection>>>,
    /// How many there may be.
    count_max: usize,
    /// Tells whoever waits for it that one is closed.
    closed: Notify,
    now: Cell<Instant>,
    date: Cell<Date>,
    tick: Duration,
    limits: Limits,
    metrics: Arc<Metrics>,
}

impl Connections {
    /// None yet; begins to sweep, in the event loop of the caller. Once `stopping` is true, idle
    /// connections are closed.
    pub(super) fn start(
        limits: Limits,
        count_max: usize,
        metrics: Arc<Metrics>,
        mut stopping: watch::Receiver<bool>,
    ) -> Rc<Self> {
        let shortest = limits.keep_alive.min(limits.header_timeout).min(limits.body_timeout);
        let connections = Rc::new(Self {
            list: RefCell::default(),
            count_max,
            closed: Notify::new(),
            now: Cell::new(Instant::now()),
            date: Cell::new(date(SystemTime::now())),
            tick: (shortest / 8).clamp(TICK_MIN, TICK_MAX),
            limits,
            metrics,
        });
        let swept = Rc::downgrade(&connections);
        let tick = connections.tick;
        actix_web::rt::spawn(async move {
            while let Some(connections) = swept.upgrade() {
                connections.sweep(*stopping.borrow_and_update());
                drop(connections);
                // An error only says that nobody will ask for a stop any more.
                let _ = tokio::time::timeout(tick, stopping.changed()).await;
            }
        });
        connections
    }

    /// A connection that counts until it is dropped.
    pub(super) fn open(self: &Rc<Self>) -> Open {
        let connection = Rc::new(Connection::new(self.now()));
        let mut list = self.list.borrow_mut();
        connection.slot.set(list.len());
        list.push(Rc::clone(&connection));
        self.metrics.connected(1);
        Open { connections: Rc::clone(self), connection }
    }

    /// For how many there is room.
    pub(super) fn room(&self) -> usize {
        self.count_max.saturating_sub(self.list.borrow().len())
    }

    /// Closes those that have waited for longest for a head, and waits a moment for the room.
    pub(super) async fn make_room(&self) {
        let closed = self.closed.notified();
        self.give_way();
        // What does not come in this moment may come in the next.
        let _ = tokio::time::timeout(self.tick, closed).await;
    }

    fn give_way(&self) {
        let list = self.list.borrow();
        let waiting = list.iter().filter_map(|one| Some((one.waits_since()?, one)));
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_unstable_by_key(|(since, _)| *since);
        for (_, connection) in waiting.iter().take((self.count_max / GIVE_WAY).clamp(1, GIVE_WAY)) {
            if connection.give_way(self.now(), GRACE).is_some() {
                self.metrics.closed("no_room");
            }
        }
    }

    /// The limits that they are held to.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The time at the last tick.
    pub(super) fn now(&self) -> Instant {
        self.now.get()
    }

    /// The date at the last tick.
    pub(super) fn date(&self) -> Date {
        self.date.get()
    }

    fn sweep(&self, is_stopping: bool) {
        let now = Instant::now();
        self.now.set(now);
        self.date.set(date(SystemTime::now()));
        for connection in self.list.borrow().iter() {
            let end = connection.check(now, self.tick, &self.limits);
            let quiet = || if is_stopping { connection.check_quiet(now, GRACE) } else { None };
            if let Some(end) = end.or_else(quiet) {
                self.metrics.closed(end.reason());
            }
        }
    }

    fn close(&self, connection: &Connection) {
        let mut list = self.list.borrow_mut();
        let slot = connection.slot.get();
        list.swap_remove(slot);
        if let Some(moved) = list.get(slot) {
            moved.slot.set(slot);
        }
        self.metrics.connected(-1);
        self.closed.notify_waiters();
    }
}

fn date(now: SystemTime) -> Date {
    let mut date = [b' '; 29];
    // Clocks can be anywhere, the text has four digits for the year.
    let (first, last) = (UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(253_402_300_799));
    let text = httpdate::fmt_http_date(now.clamp(first, last));
    date.copy_from_slice(text.as_bytes());
    date
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Open {
    connections: Rc<Connections>,
    connection: Rc<Connection>,
}

impl Deref for Open {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections.close(&self.connection);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_clock_has_a_date() {
        let at = |seconds| date(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(&at(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&at(999_999_999_999), b"Fri, 31 Dec 9999 23:59:59 GMT");
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(&date(before), b"Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
