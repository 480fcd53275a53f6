//! What the pixel counts, in Prometheus' terms, and the state that health follows from.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use actix_http::StatusCode;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use sewer_ops::status::Report;

use crate::commit::Lanes;
use crate::policy::Unrecorded;

/// What the pixel is doing. It can take traffic only while serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// The WAL is being opened and recovered.
    Starting,
    /// Requests are answered.
    Serving,
    /// Asked to stop; open connections are served, new ones are not accepted.
    Draining,
    /// The WAL has failed; the process ends.
    Failed,
}

impl State {
    const ALL: [Self; 4] = [Self::Starting, Self::Serving, Self::Draining, Self::Failed];

    const fn name(self) -> &'static str {
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
    free_bytes: IntGauge,
    dropped: IntCounter,
    responses: IntCounterVec,
    answered: [(StatusCode, IntCounter); 2],
    unrecorded: IntCounterVec,
    in_flight: IntGauge,
    connections: IntGauge,
    closed: IntCounterVec,
    unsynced: IntGauge,
    lanes: OnceLock<Lanes>,
    events: IntCounter,
    event_bytes: IntCounter,
    batch_events: Histogram,
    commit_seconds: Histogram,
    next_lsn: IntGauge,
    segment: IntGauge,
    segment_bytes: IntGauge,
}

impl Metrics {
    /// A set of metrics in a registry of its own.
    ///
    /// # Panics
    /// Never: the names are constants and distinct.
    #[must_use]
    #[allow(clippy::new_without_default)] // It registers; that is more than a default value.
    pub fn new() -> Self {
        let responses = IntCounterVec::new(
            Opts::new("sewer_pixel_responses_total", "Answers to browsers, by status code."),
            &["code"],
        )
        .expect(VALID);
        let metrics = Self {
            registry: Registry::new(),
            state: AtomicU8::new(State::Starting as u8),
            is_full: AtomicBool::new(false),
            free_bytes: gauge("sewer_pixel_free_bytes", "Free space on the WAL's file system."),
            dropped: counter(
                "sewer_pixel_dropped_events_total",
                "Requests answered 204 and not recorded, because the disk was full.",
            ),
            answered: [StatusCode::NO_CONTENT, StatusCode::OK]
                .map(|status| (status, responses.with_label_values(&[status.as_str()]))),
            responses,
            unrecorded: IntCounterVec::new(
                Opts::new(
                    "sewer_pixel_unrecorded_requests_total",
                    "Requests answered and not recorded, as the configuration says, by reason.",
                ),
                &["reason"],
            )
            .expect(VALID),
            in_flight: gauge("sewer_pixel_requests_in_flight", "Requests being answered."),
            connections: gauge("sewer_pixel_connections", "Open connections."),
            closed: IntCounterVec::new(
                Opts::new(
                    "sewer_pixel_connections_closed_total",
                    "Connections closed by the pixel before their client did, by reason.",
                ),
                &["reason"],
            )
            .expect(VALID),
            unsynced: gauge(
                "sewer_pixel_unsynced_events",
                "Events that were taken and are not yet on stable storage.",
            ),
            lanes: OnceLock::new(),
            events: counter("sewer_pixel_events_total", "Events on stable storage."),
            event_bytes: counter("sewer_pixel_wal_bytes_total", "Bytes appended to the WAL."),
            batch_events: histogram(
                "sewer_pixel_batch_events",
                "Events that shared one fsync.",
                prometheus::exponential_buckets(1.0, 2.0, 13).expect(VALID),
            ),
            commit_seconds: histogram(
                "sewer_pixel_commit_seconds",
                "Time to write and fsync a batch.",
                prometheus::exponential_buckets(0.000_05, 2.0, 17).expect(VALID),
            ),
            next_lsn: gauge("sewer_pixel_wal_next_lsn", "The LSN that the next event gets."),
            segment: gauge("sewer_pixel_wal_segment", "The number of the active segment."),
            segment_bytes: gauge("sewer_pixel_wal_segment_bytes", "Bytes in the active segment."),
        };
        metrics.register();
        for reason in Unrecorded::ALL {
            metrics.unrecorded.with_label_values(&[reason.name()]);
        }
        metrics
    }

    fn register(&self) {
        let all: [Box<dyn prometheus::core::Collector>; 15] = [
            Box::new(self.free_bytes.clone()),
            Box::new(self.dropped.clone()),
            Box::new(self.responses.clone()),
            Box::new(self.unrecorded.clone()),
            Box::new(self.in_flight.clone()),
            Box::new(self.connections.clone()),
            Box::new(self.closed.clone()),
            Box::new(self.unsynced.clone()),
            Box::new(self.events.clone()),
            Box::new(self.event_bytes.clone()),
            Box::new(self.batch_events.clone()),
            Box::new(self.commit_seconds.clone()),
            Box::new(self.next_lsn.clone()),
            Box::new(self.segment.clone()),
            Box::new(self.segment_bytes.clone()),
        ];
        for metric in all {
            self.registry.register(metric).expect(VALID);
        }
    }

    /// The registry behind `/metrics`.
    #[must_use]
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
    #[must_use]
    pub fn state(&self) -> State {
        State::ALL[usize::from(self.state.load(Ordering::Acquire))]
    }

    /// A request has come; the guard counts it until it is dropped.
    #[must_use]
    pub fn request(&self) -> InFlight<'_> {
        self.in_flight.inc();
        InFlight(&self.in_flight)
    }

    /// The requests being answered.
    #[must_use]
    pub fn in_flight(&self) -> i64 {
        self.in_flight.get()
    }

    /// The number of open connections has changed.
    pub fn connected(&self, change: i64) {
        self.connections.add(change);
    }

    /// The open connections.
    #[must_use]
    pub fn connections(&self) -> i64 {
        self.connections.get()
    }

    /// A connection is closed from here.
    pub fn closed(&self, reason: &str) {
        self.closed.with_label_values(&[reason]).inc();
    }

    /// Where the events are that are not yet on stable storage. The first call counts.
    pub fn watch(&self, lanes: Lanes) {
        // An error only says that there was a call before.
        let _ = self.lanes.set(lanes);
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

    /// A request was answered 204 and not recorded.
    pub fn dropped(&self) {
        self.dropped.inc();
    }

    /// The free space was looked at.
    pub fn space(&self, free_bytes: u64, is_full: bool) {
        self.free_bytes.set(free_bytes.cast_signed());
        self.is_full.store(is_full, Ordering::Release);
    }

    /// Whether the disk is too full for another event.
    #[must_use]
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
}

impl Report for Metrics {
    fn sample(&self) {
        self.unsynced.set(self.lanes.get().map_or(0, Lanes::unsynced).cast_signed());
    }

    fn is_healthy(&self) -> bool {
        self.state() == State::Serving && !self.is_full()
    }

    fn stats(&self) -> serde_json::Value {
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "state": self.state().name(),
            "disk_full": self.is_full(),
            "free_bytes": self.free_bytes.get(),
            "dropped_events": self.dropped.get(),
            "responses_204": self.answered[0].1.get(),
            "requests_in_flight": self.in_flight.get(),
            "connections": self.connections.get(),
            "unsynced_events": self.lanes.get().map_or(0, Lanes::unsynced),
            "events": self.events.get(),
            "batches": self.commit_seconds.get_sample_count(),
            "wal_bytes": self.event_bytes.get(),
            "next_lsn": self.next_lsn.get(),
            "segment": self.segment.get(),
            "segment_bytes": self.segment_bytes.get(),
        })
    }
}

/// Counts a request while it is being answered.
#[derive(Debug)]
pub struct InFlight<'a>(&'a IntGauge);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

const VALID: &str = "names, buckets and labels are valid constants";

fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::new(name, help).expect(VALID)
}

fn gauge(name: &str, help: &str) -> IntGauge {
    IntGauge::new(name, help).expect(VALID)
}

fn histogram(name: &str, help: &str, buckets: Vec<f64>) -> Histogram {
    Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets)).expect(VALID)
}
