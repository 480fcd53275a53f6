//! What systemd is told, if it started the daemon: ready, stopping, a line of status every few
//! seconds, and, while work goes on, that the watchdog need not bite.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use sd_notify::NotifyState;

use crate::periodic::Periodic;

/// How often the line of status is brought up to date, unless the watchdog wants to hear more.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long it may take until there is room for a message.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tells systemd. It is no error that nobody listens; who listens and does not read is not waited
/// for.
pub fn notify(state: &[NotifyState<'_>]) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let lines: Vec<_> = state.iter().map(ToString::to_string).collect();
    if let Err(error) = send(&socket, lines.join("\n").as_bytes()) {
        tracing::warn!(%error, "cannot notify the supervisor");
    }
}

fn send(socket: &OsStr, message: &[u8]) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    sender.set_write_timeout(Some(PATIENCE))?;
    sender.send_to_addr(message, &address).map(drop)
}

/// Tells systemd that a reload begins; a further `Ready` ends it.
pub fn notify_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// Steps of work that begin and end: odd while one is under way.
///
/// A thread that panics in a step leaves it open for ever.
#[derive(Debug, Default)]
pub struct Pulse(AtomicU64);

/// A step under way; it ends when this is dropped.
#[derive(Debug)]
pub struct Step<'a>(&'a AtomicU64);

impl Pulse {
    /// A step begins. One at a time: it is for one thread.
    #[must_use]
    pub fn step(&self) -> Step<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Step(&self.0)
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Notices when a step takes longer than the time between two looks.
#[derive(Debug, Default)]
struct Stethoscope(u64);

impl Stethoscope {
    /// Whether there is nothing to do, or something was done since the last look.
    fn is_alive(&mut self, pulse: &Pulse) -> bool {
        let count = pulse.count();
        let is_idle = count.is_multiple_of(2);
        let has_moved = count != std::mem::replace(&mut self.0, count);
        is_idle || has_moved
    }
}

/// What the supervisor wants to know of a daemon.
pub trait Supervised: Send + Sync + 'static {
    /// One line on what it does.
    fn status(&self) -> String;

    /// The steps of the work without which it is no use, if it has such.
    fn pulse(&self) -> Option<&Pulse> {
        None
    }
}

/// The thread that talks to systemd, if somebody there listens; it ends when this is dropped.
#[derive(Debug)]
pub struct Supervisor {
    _thread: Option<Periodic>,
}

impl Supervisor {
    /// Begins to talk. Call it right before the daemon says that it is ready.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(daemon: Arc<impl Supervised>) -> std::io::Result<Self> {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(Self { _thread: None });
        }
        let watchdog = sd_notify::watchdog_enabled();
        // So often that what is late by a look or two is no cause for a restart.
        let interval = watchdog.map_or(INTERVAL, |watchdog| INTERVAL.min(watchdog / 4));
        let mut stethoscope = Stethoscope::default();
        let mut was_alive = true;
        let tell = move || {
            let is_alive = daemon.pulse().is_none_or(|pulse| stethoscope.is_alive(pulse));
            if watchdog.is_some() && is_alive {
                notify(&[NotifyState::Watchdog]);
            } else if was_alive && !is_alive {
                tracing::warn!("the work hangs; the watchdog is not fed until it goes on");
            }
            was_alive = is_alive;
            notify(&[NotifyState::Status(&daemon.status())]);
        };
        Ok(Self { _thread: Some(Periodic::start("supervisor", interval, tell)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_busy_are_alive_and_a_step_that_does_not_end_is_not() {
        let (pulse, mut stethoscope) = (Pulse::default(), Stethoscope::default());
        assert!(stethoscope.is_alive(&pulse) && stethoscope.is_alive(&pulse), "idle");
        let step = pulse.step();
        assert!(stethoscope.is_alive(&pulse), "it has just begun");
        assert!(!stethoscope.is_alive(&pulse), "and does not end");
        drop(step);
        assert!(stethoscope.is_alive(&pulse), "idle again");
        drop(pulse.step());
        let _next = pulse.step();
        assert!(stethoscope.is_alive(&pulse), "another step than before");
    }

    #[test]
    fn a_thread_that_panicked_is_not_idle() {
        let pulse = Arc::new(Pulse::default());
        let of_thread = Arc::clone(&pulse);
        let panics = std::thread::spawn(move || {
            let _step = of_thread.step();
            panic!("as the test wants it");
        });
        assert!(panics.join().is_err());
        let mut stethoscope = Stethoscope::default();
        stethoscope.is_alive(&pulse);
        assert!(!stethoscope.is_alive(&pulse));
    }
}
