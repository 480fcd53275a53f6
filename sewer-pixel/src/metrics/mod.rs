//! The pixel's counters, in Prometheus' terms, and the state that health follows from.

pub(crate) mod latency;
mod stats;

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use actix_web::http::StatusCode;
use prometheus::core::{Collector, Metric};
use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, Registry};
use sewer_ops::logging::lost_lines;
use sewer_ops::metrics::{counter, counters, float_gauge, gauge, histogram};
use sewer_ops::supervisor::Pulse;

use self::latency::Latencies;
use crate::policy::answer::Unrecorded;

/// What the pixel is doing. It can take traffic only while serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// The WAL is being opened and recovered.
    Starting,
    /// Requests are answered.
    Serving,
    /// Asked to stop; requests are answered, and load balancers told to go elsewhere.
    Draining,
    /// The WAL has failed; the process ends.
    Failed,
}

impl State {
    const ALL: [Self; 4] = [Self::Starting, Self::Serving, Self::Draining, Self::Failed];

    /// Its name in `/stats`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Failed => "failed",
        }
    }
}

/// Counters, gauges and the state.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    state: AtomicU8,
    is_full: AtomicBool,
    /// Why it is full, in a sentence.
    full: Mutex<Option<String>>,
    pulse: Pulse,
    free_bytes: IntGauge,
    free_inodes: IntGauge,
    lost_log_lines: IntCounter,
    dropped: IntCounter,
    responses: IntCounterVec,
    answered: [(StatusCode, IntCounter); 2],
    unrecorded: IntCounterVec,
    rejected: IntCounterVec,
    in_flight: IntGauge,
    connections: IntGauge,
    closed: IntCounterVec,
    unsynced: IntGauge,
    events: IntCounter,
    event_bytes: IntCounter,
    batch_events: Histogram,
    commit_seconds: Histogram,
    next_lsn: IntGauge,
    segment: IntGauge,
    segment_bytes: IntGauge,
    backlog_segments: IntGauge,
    backlog_bytes: IntGauge,
    lag_seconds: Gauge,
}

/// What waits in `sealed/` for the shipper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Sealed segments.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The age of the oldest event in them.
    pub lag: Duration,
}

/// What has been counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests answered, however.
    pub requests: u64,
    /// Those that were refused.
    pub refused: u64,
    /// Events on stable storage.
    pub events: u64,
    /// Bytes appended to the WAL.
    pub bytes: u64,
}

impl Metrics {
    /// A set of metrics in a registry of its own.
    #[must_use]
    #[allow(clippy::new_without_default)] // It registers; that is more than a default value.
    pub fn new() -> Self {
        let registry = Registry::new();
        let r = &registry;
        let count = |name, help| counter(r, name, help);
        let level = |name, help| gauge(r, name, help);
        let responses = counters(
            r,
            "sewer_pixel_responses_total",
            "Answers to browsers, by status code.",
            &["code"],
        );
        let unrecorded = counters(
            r,
            "sewer_pixel_unrecorded_requests_total",
            "Requests answered and not recorded, as the configuration says, by reason.",
            &["reason"],
        );
        for reason in Unrecorded::ALL {
            unrecorded.with_label_values(&[reason.name()]);
        }
        Self {
            state: AtomicU8::new(State::Starting as u8),
            is_full: AtomicBool::new(false),
            full: Mutex::default(),
            pulse: Pulse::default(),
            free_bytes: level("sewer_pixel_free_bytes", "Free space on the WAL's file system."),
            free_inodes: level(
                "sewer_pixel_free_inodes",
                "Free inodes on the WAL's file system; -1 if it has no fixed number of them.",
            ),
            lost_log_lines: count(
                "sewer_pixel_lost_log_lines_total",
                "Lines of the log that could not be written, or were not taken in time.",
            ),
            dropped: count(
                "sewer_pixel_dropped_events_total",
                "Requests answered 204 and not recorded, because the disk was full.",
            ),
            answered: [StatusCode::NO_CONTENT, StatusCode::OK]
                .map(|status| (status, responses.with_label_values(&[status.as_str()]))),
            responses,
            unrecorded,
            rejected: counters(
                r,
                "sewer_pixel_rejected_requests_total",
                "Requests that were not recorded and not answered 204, by reason.",
                &["reason"],
            ),
            in_flight: level("sewer_pixel_requests_in_flight", "Requests being answered."),
            connections: level("sewer_pixel_connections", "Open connections on the pixel port."),
            closed: counters(
                r,
                "sewer_pixel_connections_closed_total",
                "Connections closed by the pixel before their client did, by reason.",
                &["reason"],
            ),
            unsynced: level(
                "sewer_pixel_unsynced_events",
                "Events that were taken and are not yet on stable storage.",
            ),
            events: count("sewer_pixel_events_total", "Events on stable storage."),
            event_bytes: count("sewer_pixel_wal_bytes_total", "Bytes appended to the WAL."),
            batch_events: histogram(
                r,
                "sewer_pixel_batch_events",
                "Events that shared one fsync.",
                (1.0, 2.0, 13),
            ),
            commit_seconds: histogram(
                r,
                "sewer_pixel_commit_seconds",
                "Time to write and fsync a batch.",
                latency::BUCKETS,
            ),
            next_lsn: level("sewer_pixel_wal_next_lsn", "The LSN that the next event gets."),
            segment: level("sewer_pixel_wal_segment", "The number of the active segment."),
            segment_bytes: level("sewer_pixel_wal_segment_bytes", "Bytes in the active segment."),
            backlog_segments: level(
                "sewer_pixel_backlog_segments",
                "Segments sealed and not yet shipped.",
            ),
            backlog_bytes: level("sewer_pixel_backlog_bytes", "Bytes of these segments."),
            lag_seconds: float_gauge(
                r,
                "sewer_pixel_lag_seconds",
                "Age of the oldest event in these segments; 0 if there is none.",
            ),
            registry,
        }
    }

    /// The registry behind `/metrics`.
    pub fn registry(&self) -> Registry {
        self.registry.clone()
    }

    /// Changes what the pixel is doing. A failure is final.
    pub fn set_state(&self, state: State) {
        let set = |old| (old != State::Failed as u8).then_some(state as u8);
        // An error only says that the failure stays.
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, set);
    }

    /// What the pixel is doing.
    pub fn state(&self) -> State {
        State::ALL[usize::from(self.state.load(Ordering::Acquire))]
    }

    /// The steps of the commit path: what the watchdog listens to.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// A request has come; the guard counts it until it is dropped.
    pub fn request(&self) -> InFlight<'_> {
        self.in_flight.inc();
        InFlight(&self.in_flight)
    }

    /// The requests being answered.
    pub fn in_flight(&self) -> i64 {
        self.in_flight.get()
    }

    /// The number of open connections has changed.
    pub fn connected(&self, change: i64) {
        self.connections.add(change);
    }

    /// The open connections.
    pub fn connections(&self) -> i64 {
        self.connections.get()
    }

    /// A connection is closed from here.
    pub fn closed(&self, reason: &str) {
        self.closed.with_label_values(&[reason]).inc();
    }

    /// A request was answered as it should be.
    pub fn answered(&self, status: StatusCode) {
        match self.answered.iter().find(|(of, _)| *of == status) {
            Some((_, counter)) => counter.inc(),
            None => self.refused(status),
        }
    }

    /// A request was answered with another status code.
    pub fn refused(&self, status: StatusCode) {
        self.responses.with_label_values(&[status.as_str()]).inc();
    }

    /// A request was answered and not recorded, because the configuration says so.
    pub fn unrecorded(&self, reason: Unrecorded) {
        self.unrecorded.with_label_values(&[reason.name()]).inc();
    }

    /// A request was not recorded, for this reason; its answer is counted besides.
    pub fn rejected(&self, reason: &str) {
        self.rejected.with_label_values(&[reason]).inc();
    }

    /// A request was answered 204 and not recorded.
    pub fn dropped(&self) {
        self.dropped.inc();
    }

    /// The free space was looked at; `full` says why it is not enough.
    pub fn space(&self, free_bytes: u64, free_inodes: Option<u64>, full: Option<String>) {
        self.free_bytes.set(free_bytes.cast_signed());
        self.free_inodes.set(free_inodes.map_or(-1, u64::cast_signed));
        self.is_full.store(full.is_some(), Ordering::Release);
        *self.full.lock().unwrap_or_else(PoisonError::into_inner) = full;
    }

    /// Why the disk is too full for another event, in a sentence; `None` if it is not.
    pub fn full(&self) -> Option<String> {
        self.full.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the disk is too full for another event.
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Acquire)
    }

    /// A batch is on stable storage.
    pub fn committed(&self, events: usize, bytes: usize, took: Duration) {
        self.events.inc_by(events as u64);
        self.event_bytes.inc_by(bytes as u64);
        #[allow(clippy::cast_precision_loss)] // Far below 2^52, and only for a histogram.
        self.batch_events.observe(events as f64);
        self.commit_seconds.observe(took.as_secs_f64());
    }

    /// Where the WAL stands.
    pub fn position(&self, next_lsn: u64, segment: u64, segment_bytes: u64) {
        self.next_lsn.set(next_lsn.cast_signed());
        self.segment.set(segment.cast_signed());
        self.segment_bytes.set(segment_bytes.cast_signed());
    }

    /// Brings up to date what is sampled: events that were taken and are not yet on stable storage,
    /// and lines that the log has lost.
    pub fn sample(&self, unsynced: u64) {
        self.unsynced.set(unsynced.cast_signed());
        self.lost_log_lines.reset();
        self.lost_log_lines.inc_by(lost_lines());
    }

    /// What waits for the shipper was looked at.
    pub fn backlog(&self, backlog: Backlog) {
        self.backlog_segments.set(backlog.segments.cast_signed());
        self.backlog_bytes.set(backlog.bytes.cast_signed());
        self.lag_seconds.set(backlog.lag.as_secs_f64());
    }

    /// What has been counted since the start.
    pub fn totals(&self) -> Totals {
        let answered: u64 = self.answered.iter().map(|(_, counter)| counter.get()).sum();
        let requests: u64 = labelled(&self.responses).map(|(_, count)| count).sum();
        Totals {
            requests,
            // Counters are read one after the other; what came in between is no refusal.
            refused: requests.saturating_sub(answered),
            events: self.events.get(),
            bytes: self.event_bytes.get(),
        }
    }

    /// How long commits have taken since the start.
    pub fn commits(&self) -> Latencies {
        let metric = self.commit_seconds.metric();
        let histogram = metric.get_histogram();
        let cumulative =
            histogram.get_bucket().iter().map(prometheus::proto::Bucket::cumulative_count);
        Latencies::from_cumulative(cumulative, histogram.get_sample_count())
    }
}

/// The counters of a family with the value of their one label.
fn labelled(counters: &IntCounterVec) -> impl Iterator<Item = (String, u64)> {
    let families = counters.collect();
    families.into_iter().flat_map(|mut family| family.take_metric()).map(|metric| {
        let label = metric.get_label().first().map_or("", |label| label.value());
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // It is a count.
        (label.to_owned(), metric.get_counter().get_value() as u64)
    })
}

/// Counts a request while it is being answered.
#[derive(Debug)]
pub struct InFlight<'a>(&'a IntGauge);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
