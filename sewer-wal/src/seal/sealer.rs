//! The background thread of a WAL: it prepares the spare and seals what was rolled, in order, so
//! that the thread that commits does neither.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::seal;
use crate::error::WalError;
use crate::identity::{Identity, SegmentName};
use crate::layout::Layout;
use crate::log::Engine;
use crate::log::active::ActiveLog;
use crate::space::{SMALL_LOG_BYTES, room_for_log};

/// A task for the thread.
#[derive(Debug)]
enum Job {
    Prepare { number: u64, bytes: u64 },
    Seal(ActiveLog),
}

/// An answer of the thread.
#[derive(Debug)]
pub(crate) enum Done {
    /// A spare is ready, or could not be made; it can be tried again.
    Prepared(Result<ActiveLog, WalError>),
    /// A log was sealed (`None`: it had no event), or could not be: the WAL must be reopened.
    Sealed(Result<Option<SegmentName>, WalError>),
}

/// The thread and its two channels. At most one spare is asked for at a time, so that the
/// queue holds that and the logs not yet sealed.
#[derive(Debug)]
pub(crate) struct Sealer {
    jobs: Option<Sender<Job>>,
    done: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
}

impl Sealer {
    pub(crate) fn start(
        layout: Layout,
        identity: Identity,
        engine: Engine,
        min_free_bytes: u64,
    ) -> std::io::Result<Self> {
        let (jobs, inbox) = channel();
        let (outbox, done) = channel();
        let run = move || {
            let mut has_failed = false;
            for job in inbox {
                let answer = match job {
                    Job::Prepare { number, bytes } => {
                        let room = room_for_log(&layout, bytes, min_free_bytes);
                        // Without room it is a small one, which costs next to nothing and is enough
                        // for a clean stop; it grows if it has to.
                        Done::Prepared(room.and_then(|room| {
                            let bytes = room.unwrap_or(SMALL_LOG_BYTES);
                            ActiveLog::create(&layout, &identity, engine, number, bytes)
                        }))
                    }
                    // Logs are sealed in order: behind one that could not be, none is.
                    Job::Seal(log) if has_failed => {
                        drop(log);
                        Done::Sealed(Err(WalError::Poisoned("a log could not be sealed".into())))
                    }
                    Job::Seal(log) => {
                        let number = log.number();
                        let sealed = seal(&layout, number, &log.close());
                        has_failed = sealed.is_err();
                        Done::Sealed(sealed)
                    }
                };
                if outbox.send(answer).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("wal-sealer".into()).spawn(run)?;
        Ok(Self { jobs: Some(jobs), done, thread: Some(thread) })
    }

    pub(crate) fn prepare(&self, number: u64, bytes: u64) {
        self.send(Job::Prepare { number, bytes });
    }

    pub(crate) fn seal(&self, log: ActiveLog) {
        self.send(Job::Seal(log));
    }

    fn send(&self, job: Job) {
        // The thread ends only when this end is dropped; if it panicked, `poll` says so.
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
    }

    /// An answer, if there is one already.
    pub(crate) fn poll(&self) -> Option<Done> {
        match self.done.try_recv() {
            Ok(done) => Some(done),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Done::Sealed(Err(WalError::Poisoned(
                "the thread that seals segments has ended".into(),
            )))),
        }
    }

    /// Waits for the next answer, for at most `patience`.
    pub(crate) fn wait(&self, patience: Duration) -> Option<Done> {
        self.done.recv_timeout(patience).ok()
    }

    /// Lets the thread finish its jobs and returns their answers.
    pub(crate) fn finish(mut self) -> Vec<Done> {
        drop(self.jobs.take());
        self.done.iter().collect()
    }
}

/// No thread of a WAL outlives it.
impl Drop for Sealer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it has been reported as a missing answer.
            let _ = thread.join();
        }
    }
}
