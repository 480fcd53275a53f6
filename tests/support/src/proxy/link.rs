//! One connection through the proxy: a socket on either side, and a thread for each direction.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::state::{Hook, Shared};
use super::{Call, When, wire};

/// How often a thread whose peer does not read looks whether the connection is dead.
const WRITE_POLL: Duration = Duration::from_millis(100);

/// How often the end of a direction looks whether the calls before it have gone on.
const HELD_POLL: Duration = Duration::from_millis(10);

/// How much of a stream goes on at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// Hadoop refuses longer frames.
const FRAME_BYTES_MAX: usize = 128 * 1024 * 1024;

/// A connection.
#[derive(Debug)]
pub struct Link {
    client: TcpStream,
    server: TcpStream,
    /// Held by who writes to a side, so that frames stay whole.
    to_client: Mutex<()>,
    to_server: Mutex<()>,
    is_rpc: AtomicBool,
    dead: AtomicBool,
    /// How many calls are held.
    held: AtomicUsize,
    /// What is to happen when a call is answered, with the request.
    pending: Mutex<HashMap<u32, (Hook, Vec<u8>)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

impl Link {
    pub fn new(client: TcpStream, server: TcpStream) -> Self {
        for stream in [&client, &server] {
            stream.set_nodelay(true).expect("an option of a socket of ours");
            stream.set_write_timeout(Some(WRITE_POLL)).expect("an option of a socket of ours");
        }
        Self {
            client,
            server,
            to_client: Mutex::default(),
            to_server: Mutex::default(),
            is_rpc: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            held: AtomicUsize::new(0),
            pending: Mutex::default(),
        }
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Ends it by a reset towards both sides, as soon as its threads have let go.
    pub fn reset(&self) {
        self.dead.store(true, Ordering::SeqCst);
        for stream in [&self.client, &self.server] {
            reset_on_close(stream);
            // Wakes who reads, and sends nothing.
            let _ = stream.shutdown(Shutdown::Read);
        }
    }

    /// Moves data until both directions have ended.
    pub fn run(self: Arc<Self>, shared: &Arc<Shared>) {
        let (link, other) = (Arc::clone(&self), Arc::clone(shared));
        let answers = thread::spawn(move || {
            link.finish(Side::Client, &other, &link.pump_answers(&other));
        });
        self.finish(Side::Server, shared, &self.pump_requests(shared));
        // A panic there has been printed, and says more than one here.
        let _ = answers.join();
    }

    /// Passes on how a direction has ended: its end as an end, anything else as a reset.
    fn finish(&self, to: Side, shared: &Shared, result: &io::Result<()>) {
        // What was sent before the end arrives before the end.
        while self.held.load(Ordering::SeqCst) > 0 && !self.is_dead() {
            thread::sleep(HELD_POLL);
        }
        if !shared.pass(self) {
            return;
        }
        match result {
            Ok(()) => {
                let _ = self.stream(to).shutdown(Shutdown::Write);
            }
            Err(_) => self.reset(),
        }
    }

    fn pump_requests(self: &Arc<Self>, shared: &Arc<Shared>) -> io::Result<()> {
        let mut from = BufReader::with_capacity(PIECE_BYTES, &self.client);
        let mut first = Vec::new();
        // No further than it takes to tell: a stream may begin with less.
        while first.len() < wire::MAGIC.len() && wire::MAGIC.starts_with(&first) {
            if from.by_ref().take(1).read_to_end(&mut first)? == 0 {
                break;
            }
        }
        if first != wire::MAGIC {
            shared.streamed(first.len());
            self.send(Side::Server, shared, &first)?;
            return self.pump_stream(from, Side::Server, shared);
        }
        self.is_rpc.store(true, Ordering::SeqCst);
        from.by_ref().take(wire::HEADER_REST as u64).read_to_end(&mut first)?;
        self.send(Side::Server, shared, &first)?;
        while let Some(frame) = read_frame(&mut from)? {
            self.request(shared, frame)?;
        }
        Ok(())
    }

    fn request(self: &Arc<Self>, shared: &Arc<Shared>, frame: Vec<u8>) -> io::Result<()> {
        let Some(request) = wire::request(&frame[4..]) else {
            return self.send(Side::Server, shared, &frame);
        };
        let delay = shared.delay();
        let before = match shared.arrived(&request) {
            Some(hook) if hook.when() == When::BeforeForward => Some(hook),
            Some(hook) => {
                self.pending().insert(request.id, (hook, frame.clone()));
                None
            }
            None => None,
        };
        if before.is_none() && delay.is_zero() {
            return self.send(Side::Server, shared, &frame);
        }
        self.hold(shared, move |shared| {
            thread::sleep(delay);
            run(before, &frame, shared);
            Some((Side::Server, frame))
        });
        Ok(())
    }

    fn pump_answers(self: &Arc<Self>, shared: &Arc<Shared>) -> io::Result<()> {
        let mut from = BufReader::with_capacity(PIECE_BYTES, &self.server);
        // The client has spoken first, so it is known by now what is spoken.
        from.fill_buf()?;
        if !self.is_rpc.load(Ordering::SeqCst) {
            return self.pump_stream(from, Side::Client, shared);
        }
        while let Some(frame) = read_frame(&mut from)? {
            let hook = wire::answered(&frame[4..]).and_then(|id| self.pending().remove(&id));
            let Some((hook, request)) = hook else {
                self.send(Side::Client, shared, &frame)?;
                continue;
            };
            self.hold(shared, move |shared| {
                let swallowed = hook.when() == When::SwallowAnswer;
                run(Some(hook), &request, shared);
                (!swallowed).then_some((Side::Client, frame))
            });
        }
        Ok(())
    }

    fn pump_stream(
        &self,
        mut from: BufReader<&TcpStream>,
        to: Side,
        shared: &Shared,
    ) -> io::Result<()> {
        loop {
            let piece = from.fill_buf()?;
            let length = piece.len();
            if length == 0 {
                return Ok(());
            }
            thread::sleep(shared.delay());
            if to == Side::Server {
                shared.streamed(length);
            }
            self.send(to, shared, piece)?;
            from.consume(length);
        }
    }

    /// Does something that takes long beside the connection, which may end meanwhile, and then
    /// sends what is left to send.
    fn hold<F>(self: &Arc<Self>, shared: &Arc<Shared>, work: F)
    where
        F: FnOnce(&Arc<Shared>) -> Option<(Side, Vec<u8>)> + Send + 'static,
    {
        let (link, shared) = (Arc::downgrade(self), Arc::clone(shared));
        self.held.fetch_add(1, Ordering::SeqCst);
        thread::spawn(move || {
            let left = work(&shared);
            let Some(link) = link.upgrade() else { return };
            if let Some((to, frame)) = left
                && link.send(to, &shared, &frame).is_err()
            {
                link.reset();
            }
            link.held.fetch_sub(1, Ordering::SeqCst);
        });
    }

    fn send(&self, to: Side, shared: &Shared, mut bytes: &[u8]) -> io::Result<()> {
        let lock = if to == Side::Client { &self.to_client } else { &self.to_server };
        if !shared.pass(self) {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let _turn = lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !bytes.is_empty() {
            if self.is_dead() {
                return Err(ErrorKind::ConnectionReset.into());
            }
            match self.stream(to).write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn stream(&self, side: Side) -> &TcpStream {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<u32, (Hook, Vec<u8>)>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the last close of a socket a reset.
pub fn reset_on_close(stream: &TcpStream) {
    // It can only fail if the socket is gone, and then there is nobody to tell.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn run(hook: Option<Hook>, frame: &[u8], shared: &Arc<Shared>) {
    if let Some(hook) = hook {
        let request = &wire::request(&frame[4..]).expect("it was one when it arrived");
        hook.run(Call { shared, request });
    }
}

/// A frame with its length before it; `None` at the end.
fn read_frame(from: &mut BufReader<&TcpStream>) -> io::Result<Option<Vec<u8>>> {
    if from.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut frame = vec![0; 4];
    from.read_exact(&mut frame)?;
    let length = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > FRAME_BYTES_MAX {
        return Err(ErrorKind::InvalidData.into());
    }
    frame.resize(4 + length, 0);
    from.read_exact(&mut frame[4..])?;
    Ok(Some(frame))
}
