//! The WAL as the one process sees it that appends to it.
//!
//! Invariants, with `durable` the LSN after the last batch on stable storage:
//! - `base of the current log <= durable <= next LSN`, and the last two are equal between calls;
//! - the current log's first batch is durable before its predecessor is handed to the sealer;
//! - after a failed write or sync nothing more is written: every later call is an error.
//!
//! The steps of a log: the sealer makes it as the *spare*; [`Wal::append`] or [`Wal::tick`]
//! *switches* to it; once its first batch is durable the old one *retires* to the sealer, whose
//! answers the next call *attends* to. An error *poisons* the WAL.

use std::time::{Duration, Instant};

use crate::batch::{BATCH_BYTES_MAX, Batch};
use crate::error::{IoContext, WalError};
use crate::format::LOG_START;
use crate::format::batch::length_in;
use crate::format::header::Form;
use crate::identity::{Identity, WalId};
use crate::layout::Layout;
use crate::lock::{self, WalLock};
use crate::log::Engine;
use crate::log::active::ActiveLog;
use crate::lsn::{Lsn, LsnRange};
use crate::recovery::{Purpose, Recovered, RecoveryReport, begin, recover};
use crate::seal::remove_log;
use crate::seal::sealer::{Done, Sealer};
use crate::space::SMALL_LOG_BYTES;

/// The room that the first log gets; later ones get twice what the last one needed.
const LOG_BYTES_MIN: u64 = 4 << 20;

/// The wait before a spare that could not be made is tried again.
const SPARE_RETRY: Duration = Duration::from_secs(1);

/// The wait before looking again whether a spare is ready that is needed already.
const SPARE_POLL: Duration = Duration::from_millis(20);

/// The interval of the looks whether the log is still where it was made.
const PLACE_LOOK: Duration = Duration::from_secs(1);

/// The wait of a clean stop for a spare that is being made, at most.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

/// The size and age of segments, and the way in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalOptions {
    /// The size at which a segment is sealed, in bytes.
    pub segment_bytes: u64,
    /// The age, counted from its first event, at which a segment is sealed.
    pub roll_interval: Duration,
    /// The free space, in bytes, that preparing a segment never touches.
    pub min_free_bytes: u64,
    /// The engine that writes the logs.
    pub engine: Engine,
}

/// A WAL open for appending. Dropping it without [`Wal::close`] is as safe as a crash.
#[derive(Debug)]
pub struct Wal {
    layout: Layout,
    identity: Identity,
    options: WalOptions,
    current: Current,
    spare: Spare,
    /// The number of the next log.
    next_number: u64,
    next_lsn: Lsn,
    sealer: Sealer,
    /// When to look next whether the log is where it was made.
    look_at: Instant,
    /// Why nothing more may be written.
    poisoned_by: Option<String>,
    /// Held to the end: fields drop in order, and the lock goes last.
    lock: WalLock,
}

#[derive(Debug)]
struct Current {
    log: ActiveLog,
    /// When its first event came; `None` while it has none.
    since: Option<Instant>,
}

#[derive(Debug)]
enum Spare {
    Ready(ActiveLog),
    /// The sealer is at it; look again then.
    Asked(Instant),
    /// It could not be made; try again then.
    Failed(Instant),
}

impl Wal {
    /// Opens the WAL in `layout`, making it if there is none, and recovers what an earlier process
    /// left.
    ///
    /// # Errors
    /// [`WalError::Locked`] if another process appends to it; see [`WalError`] for the rest.
    pub fn open(layout: Layout, options: WalOptions) -> Result<(Self, RecoveryReport), WalError> {
        layout.create()?;
        let mut lock = WalLock::acquire(&layout)?;
        let first_bytes = options.segment_bytes.min(LOG_BYTES_MIN);
        let (engine, min_free_bytes) = (options.engine, options.min_free_bytes);
        let purpose = Purpose::Append { log_bytes: first_bytes, min_free_bytes };
        let Recovered { log, identity, report } = recover(&layout, &lock, engine, purpose)?;
        lock.mark()?;
        let (log, next_lsn) =
            log.zip(report.next_lsn).expect("to append, recovery begins a log with an LSN");
        let sealer = Sealer::start(layout.clone(), identity.clone(), engine, min_free_bytes)
            .context("start the sealer of", layout.root())?;
        let mut wal = Self {
            next_number: log.number() + 1,
            layout,
            identity,
            options,
            current: Current { log, since: None },
            spare: Spare::Asked(Instant::now()),
            next_lsn,
            sealer,
            look_at: Instant::now() + PLACE_LOOK,
            poisoned_by: None,
            lock,
        };
        wal.ask_for_spare(LOG_BYTES_MIN);
        Ok((wal, report))
    }

    /// The WAL's identity.
    pub fn id(&self) -> WalId {
        self.identity.id
    }

    /// The LSN that the next event gets.
    pub fn next_lsn(&self) -> Lsn {
        self.next_lsn
    }

    /// The number of the segment being written.
    pub fn segment(&self) -> u64 {
        self.current.log.number()
    }

    /// The bytes in the segment being written.
    pub fn segment_bytes(&self) -> u64 {
        self.current.log.bytes()
    }

    /// Where the WAL is.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Appends a batch and returns its LSNs once it is on stable storage.
    ///
    /// # Errors
    /// [`WalError::BatchTooLarge`] leaves the WAL usable. After any other error it is poisoned:
    /// the process must end, and the next one recovers.
    pub fn append(&mut self, batch: &Batch) -> Result<LsnRange, WalError> {
        self.attend()?;
        let bytes = batch.framed_bytes();
        if bytes > BATCH_BYTES_MAX {
            return Err(WalError::BatchTooLarge { bytes, limit: BATCH_BYTES_MAX });
        }
        let range = LsnRange::checked(self.next_lsn, batch.len() as u64)
            .ok_or_else(|| self.poison(WalError::LsnsUsedUp))?;
        if batch.is_empty() {
            return Ok(range);
        }
        let length = length_in(Form::Log, bytes) as u64;
        let fits = self.current.log.bytes() + length <= self.data_bytes_max();
        let rolled = if fits && !self.is_old() { None } else { self.switch() };
        self.current.log.append(range.first, batch).map_err(|e| self.poison(e))?;
        self.next_lsn = range.end;
        self.current.since.get_or_insert_with(Instant::now);
        if let Some(log) = rolled {
            self.retire(log);
        }
        Ok(range)
    }

    /// Rolls the segment if it is old enough, and notices what the sealer has done. Call it when
    /// [`Wal::next_tick`] says so.
    ///
    /// # Errors
    /// As for [`Wal::append`].
    pub fn tick(&mut self) -> Result<(), WalError> {
        self.attend()?;
        if Instant::now() >= self.look_at {
            self.look_at = Instant::now() + PLACE_LOOK;
            let placed = self.current.log.check_place().and_then(|()| self.lock.check_place());
            placed.map_err(|e| self.poison(e))?;
        }
        if self.is_old()
            && let Some(log) = self.switch()
        {
            self.begin_current()?;
            self.retire(log);
        }
        if let Spare::Asked(look_at) = &mut self.spare {
            *look_at = Instant::now() + SPARE_POLL;
        }
        Ok(())
    }

    /// When [`Wal::tick`] has something to do.
    pub fn next_tick(&self) -> Instant {
        let Some(since) = self.current.since else { return self.look_at };
        let due = since + self.options.roll_interval;
        let roll_at = match self.spare {
            Spare::Ready(_) => due,
            // Only a tick takes notice of what has become of it.
            Spare::Asked(at) | Spare::Failed(at) => due.max(at),
        };
        roll_at.min(self.look_at)
    }

    /// Ends cleanly: logs with events are sealed, and an empty log and the file `ID` keep the next
    /// LSN.
    ///
    /// # Errors
    /// As for [`Wal::append`]; nothing acknowledged is lost, the next open seals it.
    pub fn close(mut self) -> Result<(), WalError> {
        self.attend()?;
        if self.current.since.is_some() {
            self.await_spare()?;
            let log = match self.switch() {
                Some(log) => log,
                None => self.switch_to_small_log()?,
            };
            self.begin_current()?;
            self.sealer.seal(log);
        }
        if let Spare::Ready(log) = std::mem::replace(&mut self.spare, Spare::Asked(Instant::now()))
        {
            self.sealer.seal(log);
        }
        for done in self.sealer.finish() {
            match done {
                Done::Sealed(result) => drop(result?),
                Done::Prepared(Err(_)) => {}
                Done::Prepared(Ok(log)) => {
                    let number = log.number();
                    drop(log);
                    remove_log(&self.layout, number)?;
                }
            }
        }
        note_next_lsn(&self.layout, &self.identity, self.next_lsn)
    }

    /// The size at which a segment is sealed; a log without an event is always below it.
    fn data_bytes_max(&self) -> u64 {
        self.options.segment_bytes.max(LOG_START as u64 + SMALL_LOG_BYTES)
    }

    fn is_old(&self) -> bool {
        self.current.since.is_some_and(|since| since.elapsed() >= self.options.roll_interval)
    }

    /// Makes the spare the current log and returns the old one; `None` if there is no spare yet or
    /// the current log has no event. Until the new log has a durable batch, the old one must not
    /// be sealed.
    fn switch(&mut self) -> Option<ActiveLog> {
        self.current.since?;
        match std::mem::replace(&mut self.spare, Spare::Asked(Instant::now())) {
            Spare::Ready(log) => {
                let old = std::mem::replace(&mut self.current, Current { log, since: None });
                Some(old.log)
            }
            other => {
                self.spare = other;
                None
            }
        }
    }

    /// Gives the current log its first batches, which carry the next LSN.
    fn begin_current(&mut self) -> Result<(), WalError> {
        begin(&mut self.current.log, self.next_lsn).map_err(|e| self.poison(e))
    }

    /// Hands a log to the sealer and asks for the next spare, sized for what came lately.
    fn retire(&mut self, log: ActiveLog) {
        let bytes = log.bytes().saturating_mul(2);
        self.sealer.seal(log);
        self.ask_for_spare(bytes);
    }

    fn ask_for_spare(&mut self, bytes: u64) {
        let most = self.data_bytes_max();
        self.sealer.prepare(self.next_number, bytes.clamp(LOG_BYTES_MIN.min(most), most));
        self.next_number += 1;
        self.spare = Spare::Asked(Instant::now());
    }

    /// Takes the sealer's answers.
    fn attend(&mut self) -> Result<(), WalError> {
        if let Some(reason) = &self.poisoned_by {
            return Err(WalError::Poisoned(reason.clone()));
        }
        while let Some(done) = self.sealer.poll() {
            self.take(done)?;
        }
        if let Spare::Failed(retry_at) = self.spare
            && Instant::now() >= retry_at
        {
            self.ask_for_spare(LOG_BYTES_MIN);
        }
        Ok(())
    }

    fn take(&mut self, done: Done) -> Result<(), WalError> {
        match done {
            Done::Prepared(Ok(log)) => self.spare = Spare::Ready(log),
            Done::Prepared(Err(e)) => {
                tracing::warn!(error = %e, "no spare segment; the current one grows meanwhile");
                self.spare = Spare::Failed(Instant::now() + SPARE_RETRY);
            }
            Done::Sealed(Ok(Some(base))) => tracing::debug!(%base, "segment sealed"),
            Done::Sealed(Ok(None)) => {}
            Done::Sealed(Err(e)) => return Err(self.poison(e)),
        }
        Ok(())
    }

    fn await_spare(&mut self) -> Result<(), WalError> {
        let deadline = Instant::now() + CLOSE_PATIENCE;
        while matches!(self.spare, Spare::Asked(_)) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.sealer.wait(left) {
                Some(done) => self.take(done)?,
                None => break,
            }
        }
        Ok(())
    }

    /// For a clean stop without a spare: a log that holds nothing but the next LSN.
    fn switch_to_small_log(&mut self) -> Result<ActiveLog, WalError> {
        let number = self.next_number;
        self.next_number += 1;
        let (identity, engine) = (&self.identity, self.options.engine);
        let log = ActiveLog::create(&self.layout, identity, engine, number, SMALL_LOG_BYTES)
            .map_err(|e| self.poison(e))?;
        Ok(std::mem::replace(&mut self.current, Current { log, since: None }).log)
    }

    fn poison(&mut self, error: WalError) -> WalError {
        self.poisoned_by = Some(error.to_string());
        error
    }
}

/// Notes in the file `ID` where LSNs go on, for whoever opens the WAL next.
fn note_next_lsn(layout: &Layout, identity: &Identity, next: Lsn) -> Result<(), WalError> {
    lock::store(layout, &Identity { next_lsn: Some(next), ..identity.clone() })
}

/// Seals what a dead process left in the WAL and lets go of it again.
///
/// # Errors
/// [`WalError::Locked`] if the process is not dead; see [`WalError`] for the rest.
pub fn seal_leftovers(layout: &Layout) -> Result<RecoveryReport, WalError> {
    let lock = WalLock::acquire(layout)?;
    // One of its directories may be gone.
    layout.create()?;
    let Recovered { identity, report, .. } = recover(layout, &lock, Engine::Auto, Purpose::Seal)?;
    if let Some(next) = report.next_lsn
        && !lock::is_copy(layout)?
        && !lock.is_copied()?
    {
        note_next_lsn(layout, &identity, next)?;
    }
    Ok(report)
}
