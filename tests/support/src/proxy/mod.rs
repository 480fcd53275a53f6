//! A TCP proxy that misbehaves when told to, and understands Hadoop's RPC well enough to do so at
//! a chosen call.
//!
//! ```no_run
//! use std::time::Duration;
//! use sewer_test_support::proxy::{Calls, Mode, Proxy, When};
//!
//! let proxy = Proxy::start("127.0.0.1:8020");
//! let renamed = proxy.on(Calls::of("rename2").containing("/sewer/"), When::SwallowAnswer, |call| {
//!     println!("{:?} has its final name, and nobody knows", call.text(2));
//! });
//! // … a client of proxy.address() …
//! renamed.wait(Duration::from_secs(30));
//! proxy.set(Mode::BlackHole);
//! proxy.set(Mode::Pass);
//! ```
//!
//! What is RPC is told by its first bytes; everything else is passed on as a stream. The client has
//! to speak first. Calls that are held, by a closure or a delay, are held alone: others on the same
//! connection go past them, which Hadoop's RPC allows.
//!
//! A server that is down looks different through a proxy: the connection is made and then reset.
//! [`Mode::Refuse`] gives the client what it would see without one.

mod link;
mod state;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use crate::ports::{self, Port};

use self::state::{Hook, Shared};

/// What a proxy does to connections, new ones and those that are there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Everything is passed on.
    Pass,
    /// Nobody listens: new connections are refused. Those that are there stay; see
    /// [`Proxy::reset_connections`].
    Refuse,
    /// Connections are accepted, and nothing goes through either way, not even their end. What was
    /// sent meanwhile arrives when this is over, as on a network that lost packets for a while.
    BlackHole,
    /// Some of the calls, or of the pieces of a stream, are held for a while before they go on.
    Slow {
        /// For how long.
        delay: Duration,
        /// How many of a thousand; which ones is up to a fixed seed.
        per_mille: u32,
    },
}

/// What is done to the connections in the middle of a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Strike {
    /// As [`Proxy::reset_connections`].
    Reset,
    /// As [`Proxy::set`].
    Set(Mode),
}

/// At which moment of a call something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The call has arrived here, and the server does not know of it yet.
    BeforeForward,
    /// The server has answered, and the client does not know it yet.
    AfterAnswer,
    /// The server has answered, and the client never learns of it.
    SwallowAnswer,
}

/// Which call is meant: the first of a method from now on, unless more is said.
#[derive(Clone, Debug)]
pub struct Calls {
    method: String,
    containing: Option<String>,
    nth: usize,
}

impl Calls {
    /// Calls of a method of Hadoop's protocol, such as `create`, `addBlock`, `complete`, `rename2`.
    pub fn of(method: &str) -> Self {
        Self { method: method.to_owned(), containing: None, nth: 1 }
    }

    /// Only those whose request contains this text somewhere: a path, or a part of one.
    #[must_use]
    pub fn containing(mut self, text: &str) -> Self {
        self.containing = Some(text.to_owned());
        self
    }

    /// The n-th of them instead of the first, counted from 1.
    #[must_use]
    pub const fn nth(mut self, n: usize) -> Self {
        self.nth = n;
        self
    }
}

/// A call that is being held, as its closure sees it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    shared: &'a Arc<Shared>,
    request: &'a wire::Request<'a>,
}

impl Call<'_> {
    /// The method's name.
    pub const fn method(&self) -> &str {
        self.request.method
    }

    /// A field of the request that is a text; 1 is the path in most, and 2 of `rename2` its target.
    pub fn text(&self, field: u64) -> Option<&str> {
        wire::text(self.request.message, field)
    }

    /// As [`Proxy::set`].
    pub fn set(&self, mode: Mode) {
        self.shared.set(mode);
    }

    /// As [`Proxy::reset_connections`]; this call ends with its connection.
    pub fn reset_connections(&self) {
        self.shared.reset_connections();
    }
}

/// A call that went by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When it arrived.
    pub at: Instant,
    /// Its method.
    pub method: String,
    /// The first field of its request, a path in most calls; empty if that is no text.
    pub path: String,
}

/// Tells when the closure of a call has run.
#[derive(Debug)]
pub struct Fired {
    what: String,
    done: Receiver<()>,
}

impl Fired {
    /// Waits until the closure has returned.
    ///
    /// # Panics
    /// If that takes longer than `limit`, or the closure panicked.
    pub fn wait(&self, limit: Duration) {
        self.done
            .recv_timeout(limit)
            .unwrap_or_else(|why| panic!("{} did not happen in {limit:?}: {why}", self.what));
    }

    /// Whether the closure has returned; true once.
    pub fn is_done(&self) -> bool {
        self.done.try_recv().is_ok()
    }
}

/// A proxy on a port of its own, in front of one address. It ends with its handle.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _port: Option<Port>,
}

impl Proxy {
    /// A proxy on a port of 127.0.0.1 that stays its own.
    ///
    /// # Panics
    /// If the address is none, or the port cannot be listened on.
    pub fn start(target: &str) -> Self {
        let port = ports::reserve();
        Self::listen(&port.address(), target, Some(port))
    }

    /// A proxy on an address that the caller has reserved.
    ///
    /// # Panics
    /// If an address is none, or cannot be listened on.
    pub fn at(address: &str, target: &str) -> Self {
        Self::listen(address, target, None)
    }

    fn listen(address: &str, target: &str, port: Option<Port>) -> Self {
        let address: SocketAddr = address.parse().expect("an address to listen on");
        let target = target.parse().expect("an address to connect to");
        let shared = Shared::listen(address, target);
        Self { address, shared, _port: port }
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Changes what it does. A listener that is to be gone is gone when this returns, and one that
    /// is to be back is back.
    ///
    /// # Panics
    /// If its port cannot be listened on again.
    pub fn set(&self, mode: Mode) {
        self.shared.set(mode);
    }

    /// Resets all connections, those of clients and those to the server. Data on its way is lost.
    pub fn reset_connections(&self) {
        self.shared.reset_connections();
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.shared.connections()
    }

    /// Runs a closure at a call, once, while that call is held.
    pub fn on<F>(&self, calls: Calls, when: When, action: F) -> Fired
    where
        F: FnOnce(Call<'_>) + Send + 'static,
    {
        let what = format!("{when:?} of {calls:?}");
        let (hook, done) = Hook::new(calls, when, Box::new(action));
        self.shared.add(hook);
        Fired { what, done }
    }

    /// Strikes once so many bytes of streams, counted from now, have come from clients, in the
    /// middle of them.
    pub fn after_bytes(&self, bytes: u64, strike: Strike) -> Fired {
        let what = format!("{strike:?} after {bytes} bytes");
        let (tell, done) = mpsc::channel();
        self.shared.add_to_streams(bytes, strike, tell);
        Fired { what, done }
    }

    /// How many bytes of streams have come from clients.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes()
    }

    /// How many calls, and pieces of streams, were slow in [`Mode::Slow`].
    pub fn slowed(&self) -> usize {
        self.shared.slowed()
    }

    /// How many calls of a method have arrived.
    pub fn calls(&self, method: &str) -> usize {
        self.shared.calls(method)
    }

    /// The latest calls, oldest first.
    pub fn log(&self) -> Vec<Seen> {
        self.shared.log()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop();
    }
}
