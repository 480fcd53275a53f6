//! The connections of one worker, and the clock that their limits in time go by.
//!
//! One timer serves all of them: at each tick every connection is looked at. A connection whose
//! time is over is closed; one that has become idle gives up its buffers, so that many idle
//! connections cost little.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::http::connection::{Connection, Limits};
use crate::http::guarded::Stream;
use crate::metrics::Metrics;

/// The longest and the shortest time between two looks.
const TICK_MAX: Duration = Duration::from_millis(250);
const TICK_MIN: Duration = Duration::from_millis(10);

/// How long a connection may still be used once the pixel stops: a client that has just read an
/// answer may already be sending its next request, and closing would lose that.
const GRACE: Duration = Duration::from_secs(1);

/// The connections of one worker.
#[derive(Debug)]
pub struct Connections {
    list: RefCell<Vec<Rc<Connection>>>,
    now: Cell<Instant>,
    tick: Duration,
    limits: Limits,
    metrics: Arc<Metrics>,
}

impl Connections {
    /// None yet; begins to sweep, in the event loop of the caller. Once `stopping` is true, idle
    /// connections are closed.
    pub fn start(
        limits: Limits,
        metrics: Arc<Metrics>,
        mut stopping: watch::Receiver<bool>,
    ) -> Rc<Self> {
        let shortest = limits.keep_alive.min(limits.header_timeout).min(limits.body_timeout);
        let connections = Rc::new(Self {
            list: RefCell::default(),
            now: Cell::new(Instant::now()),
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
    pub fn open(self: &Rc<Self>, stream: Stream, peer: Option<SocketAddr>) -> Open {
        let metrics = Arc::clone(&self.metrics);
        let connection = Connection::new(stream, peer, self.limits, metrics, self.now());
        let connection = Rc::new(connection);
        let mut list = self.list.borrow_mut();
        connection.slot.set(list.len());
        list.push(Rc::clone(&connection));
        self.metrics.connected(1);
        Open { connections: Rc::clone(self), connection }
    }

    /// The time at the last tick.
    pub fn now(&self) -> Instant {
        self.now.get()
    }

    fn sweep(&self, is_stopping: bool) {
        let now = Instant::now();
        self.now.set(now);
        for connection in self.list.borrow().iter() {
            connection.check(now, self.tick);
            if is_stopping {
                connection.close_if_quiet(now, GRACE);
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
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Open {
    connections: Rc<Connections>,
    connection: Rc<Connection>,
}

impl Deref for Open {
    type Target = Rc<Connection>;

    fn deref(&self) -> &Rc<Connection> {
        &self.connection
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections.close(&self.connection);
    }
}
