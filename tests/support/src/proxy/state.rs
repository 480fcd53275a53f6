//! What the threads of a proxy share: its mode, its connections, and what is to happen at which
//! call. And the thread that accepts.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::link::Link;
use super::wire::Request;
use super::{Call, Calls, Mode, Seen, Strike, When};
use crate::random::Random;

/// How many calls are remembered.
const LOG_MAX: usize = 20_000;

/// How long a listener may take to come or go. Nobody else uses its port.
const LISTENER_WAIT: Duration = Duration::from_secs(10);

type Action = Box<dyn FnOnce(Call<'_>) + Send>;

/// What is to happen at a call.
pub struct Hook {
    calls: Calls,
    when: When,
    /// How many of the calls that are meant have still to go by.
    left: usize,
    action: Action,
    done: Sender<()>,
}

impl Hook {
    pub fn new(calls: Calls, when: When, action: Action) -> (Self, Receiver<()>) {
        let (done, receiver) = mpsc::channel();
        let left = calls.nth;
        (Self { calls, when, left, action, done }, receiver)
    }

    pub fn when(&self) -> When {
        self.when
    }

    /// Runs the closure; if it panics, whoever waits for it learns that too.
    pub fn run(self, call: Call<'_>) {
        (self.action)(call);
        // Nobody may be waiting.
        let _ = self.done.send(());
    }

    fn is_due(&mut self, request: &Request<'_>) -> bool {
        let contains = |text: &String| {
            request.message.windows(text.len()).any(|window| window == text.as_bytes())
        };
        if self.calls.method != request.method
            || !self.calls.containing.as_ref().is_none_or(contains)
        {
            return false;
        }
        self.left = self.left.saturating_sub(1);
        self.left == 0
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").field("calls", &self.calls).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub struct Shared {
    address: SocketAddr,
    target: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

/// What is to happen when a stream has got so far.
#[derive(Debug)]
struct DueStrike {
    bytes_left: u64,
    strike: Strike,
    done: Sender<()>,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    listening: bool,
    stopping: bool,
    links: Vec<Weak<Link>>,
    hooks: Vec<Hook>,
    strikes: Vec<DueStrike>,
    bytes: u64,
    slowed: usize,
    counts: BTreeMap<String, usize>,
    log: VecDeque<Seen>,
    chance: Random,
}

impl Shared {
    /// Listens, and returns once it does.
    pub fn listen(address: SocketAddr, target: SocketAddr) -> Arc<Self> {
        let state = State {
            mode: Mode::Pass,
            listening: true,
            stopping: false,
            links: Vec::new(),
            hooks: Vec::new(),
            strikes: Vec::new(),
            bytes: 0,
            slowed: 0,
            counts: BTreeMap::new(),
            log: VecDeque::new(),
            chance: Random::new(1),
        };
        let shared =
            Arc::new(Self { address, target, state: Mutex::new(state), changed: Condvar::new() });
        let listener = bind(address);
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accepting.accept(listener));
        shared
    }

    pub fn set(&self, mode: Mode) {
        let mut state = self.lock();
        state.mode = mode;
        self.changed.notify_all();
        let wanted = mode != Mode::Refuse;
        if state.listening == wanted {
            return;
        }
        drop(state);
        if !wanted {
            self.wake();
        }
        let state = self.lock();
        let (state, waiting) = self
            .changed
            .wait_timeout_while(state, LISTENER_WAIT, |state| {
                state.listening != wanted && !state.stopping
            })
            .unwrap_or_else(PoisonError::into_inner);
        drop(state);
        assert!(!waiting.timed_out(), "the listener at {} did not follow", self.address);
    }

    pub fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        state.hooks.clear();
        state.strikes.clear();
        drop(state);
        self.changed.notify_all();
        self.wake();
        self.reset_connections();
    }

    pub fn reset_connections(&self) {
        let links: Vec<_> = self.lock().links.drain(..).collect();
        links.iter().filter_map(Weak::upgrade).for_each(|link| link.reset());
        self.changed.notify_all();
    }

    pub fn connections(&self) -> usize {
        self.lock().links.iter().filter(|link| link.strong_count() > 0).count()
    }

    pub fn add(&self, hook: Hook) {
        self.lock().hooks.push(hook);
    }

    pub fn add_to_streams(&self, bytes: u64, strike: Strike, done: Sender<()>) {
        self.lock().strikes.push(DueStrike { bytes_left: bytes, strike, done });
    }

    /// A piece of a stream has come from a client, and is about to go on.
    pub fn streamed(&self, bytes: usize) {
        let mut state = self.lock();
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        state.bytes += bytes;
        for strike in &mut state.strikes {
            strike.bytes_left = strike.bytes_left.saturating_sub(bytes);
        }
        let (due, later) = state.strikes.drain(..).partition(|strike| strike.bytes_left == 0);
        state.strikes = later;
        drop(state);
        let due: Vec<DueStrike> = due;
        for DueStrike { strike, done, .. } in due {
            match strike {
                Strike::Reset => self.reset_connections(),
                Strike::Set(mode) => self.set(mode),
            }
            // Nobody may be waiting.
            let _ = done.send(());
        }
    }

    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    pub fn slowed(&self) -> usize {
        self.lock().slowed
    }

    pub fn calls(&self, method: &str) -> usize {
        self.lock().counts.get(method).copied().unwrap_or_default()
    }

    pub fn log(&self) -> Vec<Seen> {
        self.lock().log.iter().cloned().collect()
    }

    /// Notes a call, and takes out what is to happen at it.
    pub fn arrived(&self, request: &Request<'_>) -> Option<Hook> {
        let mut state = self.lock();
        *state.counts.entry(request.method.to_owned()).or_default() += 1;
        if state.log.len() == LOG_MAX {
            state.log.pop_front();
        }
        let path = super::wire::text(request.message, 1).unwrap_or_default().to_owned();
        let method = request.method.to_owned();
        state.log.push_back(Seen { at: Instant::now(), method, path });
        // Every hook counts the call; of several that are due at it, the others follow at the next.
        let due: Vec<bool> = state.hooks.iter_mut().map(|hook| hook.is_due(request)).collect();
        let first = due.iter().position(|due| *due)?;
        Some(state.hooks.remove(first))
    }

    /// How long the next call, or piece of a stream, is to be held.
    pub fn delay(&self) -> Duration {
        let mut state = self.lock();
        let Mode::Slow { delay, per_mille } = state.mode else { return Duration::ZERO };
        let slow = state.chance.below(1000) < per_mille.into();
        state.slowed += usize::from(slow);
        if slow { delay } else { Duration::ZERO }
    }

    /// Waits until something may go through; false if the connection is dead instead.
    pub fn pass(&self, link: &Link) -> bool {
        let closed =
            |state: &mut State| state.mode == Mode::BlackHole && !state.stopping && !link.is_dead();
        let state = self.changed.wait_while(self.lock(), closed);
        drop(state);
        !link.is_dead()
    }

    fn accept(self: &Arc<Self>, mut listener: TcpListener) {
        loop {
            let accepted = listener.accept();
            let mut state = self.lock();
            if state.stopping {
                return;
            }
            if state.mode != Mode::Refuse {
                drop(state);
                if let Ok((client, _)) = accepted {
                    self.connect(client);
                }
                continue;
            }
            // Whoever was accepted just now is reset with the rest of the queue.
            drop((listener, accepted));
            state.listening = false;
            self.changed.notify_all();
            let refuses = |state: &mut State| state.mode == Mode::Refuse && !state.stopping;
            let state = self.changed.wait_while(state, refuses);
            if state.unwrap_or_else(PoisonError::into_inner).stopping {
                return;
            }
            listener = bind(self.address);
            self.lock().listening = true;
            self.changed.notify_all();
        }
    }

    fn connect(self: &Arc<Self>, client: TcpStream) {
        let shared = Arc::clone(self);
        thread::spawn(move || {
            let black = |state: &mut State| state.mode == Mode::BlackHole && !state.stopping;
            drop(shared.changed.wait_while(shared.lock(), black));
            let Ok(server) = TcpStream::connect(shared.target) else {
                super::link::reset_on_close(&client);
                return;
            };
            let link = Arc::new(Link::new(client, server));
            let mut state = shared.lock();
            state.links.retain(|link| link.strong_count() > 0);
            state.links.push(Arc::downgrade(&link));
            drop(state);
            link.run(&shared);
        });
    }

    /// Lets the thread that accepts look at the state.
    fn wake(&self) {
        drop(TcpStream::connect_timeout(&self.address, LISTENER_WAIT));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The port is reserved, so it is free within moments.
fn bind(address: SocketAddr) -> TcpListener {
    let start = Instant::now();
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => return listener,
            Err(_) if start.elapsed() < LISTENER_WAIT => thread::sleep(Duration::from_millis(20)),
            Err(error) => panic!("listen on {address}: {error}"),
        }
    }
}
