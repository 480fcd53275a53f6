//! A thread that looks at the node every few seconds: rates, history, and what waits for the
//! shipper. It is on no request's way, and a disk that does not answer delays only itself.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sewer_ops::periodic::Periodic;
use sewer_wal::{Footer, Layout, SegmentName, WalError, sealed, space};

use crate::metrics::latency::Latencies;
use crate::metrics::{Backlog, Metrics, Totals};
use crate::status::history::{History, Point};
use crate::status::history_file::HistoryFile;
use crate::status::rates::Rates;

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(5);

/// How often the history is written to its file.
const SAVE_INTERVAL: Duration = Duration::from_mins(1);

/// How many footers are tried for the oldest event; those before are damaged.
const FOOTERS_MAX: usize = 8;

/// What was seen.
#[derive(Debug)]
pub struct Seen {
    /// The last three days.
    pub history: Mutex<History>,
    /// The last hour, for rates.
    pub rates: Mutex<Rates>,
}

impl Seen {
    /// The last three days, while the guard lives.
    pub fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }

    /// The last hour, while the guard lives.
    pub fn rates(&self) -> MutexGuard<'_, Rates> {
        lock(&self.rates)
    }
}

/// The looking thread; it ends when this is dropped, and writes the history a last time.
#[derive(Debug)]
pub struct Sampler {
    seen: Arc<Seen>,
    _thread: Periodic,
}

impl Sampler {
    /// Starts with what is in the file of the history.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(layout: Layout, file: PathBuf, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let file = HistoryFile::new(file);
        let seen = Arc::new(Seen {
            history: Mutex::new(file.load()),
            rates: Mutex::new(Rates::new(Instant::now())),
        });
        let mut watch = Watch::new(layout, file, metrics, Arc::clone(&seen));
        let thread = Periodic::start("sampler", INTERVAL, move || watch.look())?;
        Ok(Self { seen, _thread: thread })
    }

    /// What it has seen.
    #[must_use]
    pub fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }
}

struct Watch {
    layout: Layout,
    file: HistoryFile,
    metrics: Arc<Metrics>,
    seen: Arc<Seen>,
    oldest: Oldest,
    looked: Instant,
    saved: Instant,
    totals: Totals,
    commits: Latencies,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.look();
        self.save();
    }
}

impl Watch {
    fn new(layout: Layout, file: HistoryFile, metrics: Arc<Metrics>, seen: Arc<Seen>) -> Self {
        let now = Instant::now();
        Self {
            layout,
            file,
            metrics,
            seen,
            oldest: Oldest::default(),
            looked: now,
            saved: now,
            totals: Totals::default(),
            commits: Latencies::default(),
        }
    }

    fn look(&mut self) {
        let now = Instant::now();
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (totals, commits) = (self.metrics.totals(), self.metrics.commits());
        lock(&self.seen.rates).add(now, totals);
        // What cannot be read is told by those who need it; the history has a gap.
        let backlog = self.backlog(since_epoch).unwrap_or_default();
        self.metrics.backlog(backlog);
        if let Ok(free_bytes) = space::free_bytes(self.layout.root()) {
            let point = Point {
                at_s: since_epoch.as_secs().cast_signed(),
                watched_s: now.duration_since(self.looked).as_secs_f64(),
                requests: totals.requests.saturating_sub(self.totals.requests),
                refused: totals.refused.saturating_sub(self.totals.refused),
                commits: commits.since(&self.commits),
                backlog_bytes: backlog.bytes,
                lag_s: backlog.lag.as_secs_f64(),
                free_bytes,
            };
            lock(&self.seen.history).add(&point);
            (self.looked, self.totals, self.commits) = (now, totals, commits);
        }
        if now.duration_since(self.saved) >= SAVE_INTERVAL {
            self.save();
        }
    }

    fn save(&mut self) {
        let history = lock(&self.seen.history).clone();
        self.file.save(&history);
        self.saved = Instant::now();
    }

    fn backlog(&mut self, since_epoch: Duration) -> Result<Backlog, WalError> {
        let segments = sealed::list(&self.layout)?;
        let oldest_ms = self.oldest.of(&segments);
        let lag_ms = oldest_ms.map_or(0, |oldest_ms| {
            u64::try_from(since_epoch.as_millis())
                .unwrap_or(u64::MAX)
                .saturating_sub(oldest_ms.max(0).cast_unsigned())
        });
        Ok(Backlog {
            segments: segments.len() as u64,
            bytes: segments.iter().map(|segment| segment.bytes).sum(),
            lag: Duration::from_millis(lag_ms),
        })
    }
}

/// The time of the oldest sealed event, from the first footer that can be read; a footer is read
/// once.
#[derive(Default)]
struct Oldest(Option<(SegmentName, i64)>);

impl Oldest {
    fn of(&mut self, segments: &[sealed::SealedSegment]) -> Option<i64> {
        let first = segments.first()?.name;
        if let Some((name, oldest_ms)) = self.0
            && name == first
        {
            return Some(oldest_ms);
        }
        let footers = segments.iter().take(FOOTERS_MAX);
        let mut footers = footers.filter_map(|segment| Footer::load(&segment.path).ok().flatten());
        let oldest_ms = footers.next()?.first_timestamp_ms;
        self.0 = Some((first, oldest_ms));
        Some(oldest_ms)
    }
}

/// A lock whose holder panicked still guards plain figures here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
