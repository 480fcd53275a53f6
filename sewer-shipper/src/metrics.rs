//! What the shipper counts, in Prometheus' terms.

use std::sync::{Mutex, PoisonError};

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use sewer_ops::status::Report;

use crate::backlog::{Totals, now_ms};
use crate::plan::Plan;
use crate::ship::ShipError;

/// Counters, gauges, and the last error.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    backlog_segments: IntGauge,
    backlog_bytes: IntGauge,
    backlog_events: IntGauge,
    set_aside: IntGauge,
    lag_seconds: Gauge,
    shipped_events: IntCounter,
    shipped_segments: IntCounter,
    shipped_files: IntCounter,
    shipped_bytes: IntCounter,
    lost_events: IntCounter,
    quarantined_segments: IntCounter,
    retries: IntCounterVec,
    seen: Mutex<Seen>,
}

/// What is shown but not counted.
#[derive(Debug, Default)]
struct Seen {
    oldest_ms: Option<i64>,
    failing_since_ms: Option<i64>,
    last_error: Option<(i64, String)>,
    set_aside: Vec<String>,
}

/// What a run has delivered, for the summary of `--replay`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Events delivered.
    pub events: u64,
    /// Files published.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Segments shipped.
    pub segments: u64,
    /// Segments quarantined.
    pub quarantined: u64,
    /// Events lost to damage.
    pub lost: u64,
}

impl Metrics {
    /// A set of metrics in a registry of its own.
    ///
    /// # Panics
    /// Never: the names are constants and distinct.
    #[must_use]
    #[allow(clippy::new_without_default)] // It registers; that is more than a default value.
    pub fn new() -> Self {
        let retries = Opts::new("sewer_shipper_retries_total", "Failed attempts, by reason.");
        let lag = "Age of the oldest event not yet shipped; 0 if there is none.";
        let metrics = Self {
            registry: Registry::new(),
            backlog_segments: gauge(
                "sewer_shipper_backlog_segments",
                "Segments sealed and not yet shipped.",
            ),
            backlog_bytes: gauge("sewer_shipper_backlog_bytes", "Bytes of these segments."),
            backlog_events: gauge("sewer_shipper_backlog_events", "Events in these segments."),
            set_aside: gauge(
                "sewer_shipper_set_aside_segments",
                "What is in sealed/ and is not shipped: another WAL's, misplaced, unreadable or no segment.",
            ),
            lag_seconds: Gauge::new("sewer_shipper_lag_seconds", lag).expect(VALID),
            shipped_events: counter("sewer_shipper_events_total", "Events delivered."),
            shipped_segments: counter(
                "sewer_shipper_segments_total",
                "Segments shipped and deleted.",
            ),
            shipped_files: counter("sewer_shipper_files_total", "Files published."),
            shipped_bytes: counter("sewer_shipper_bytes_total", "Bytes of the files published."),
            lost_events: counter(
                "sewer_shipper_lost_events_total",
                "Events lost to damage on the local disk.",
            ),
            quarantined_segments: counter(
                "sewer_shipper_quarantined_segments_total",
                "Damaged segments quarantined.",
            ),
            retries: IntCounterVec::new(retries, &["reason"]).expect(VALID),
            seen: Mutex::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let all: [Box<dyn prometheus::core::Collector>; 12] = [
            Box::new(self.backlog_segments.clone()),
            Box::new(self.backlog_bytes.clone()),
            Box::new(self.backlog_events.clone()),
            Box::new(self.set_aside.clone()),
            Box::new(self.lag_seconds.clone()),
            Box::new(self.shipped_events.clone()),
            Box::new(self.shipped_segments.clone()),
            Box::new(self.shipped_files.clone()),
            Box::new(self.shipped_bytes.clone()),
            Box::new(self.lost_events.clone()),
            Box::new(self.quarantined_segments.clone()),
            Box::new(self.retries.clone()),
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

    /// The backlog was looked at.
    pub fn backlog(&self, totals: Totals) {
        self.backlog_segments.set(totals.segments.cast_signed());
        self.backlog_bytes.set(totals.bytes.cast_signed());
        self.backlog_events.set(totals.events.cast_signed());
        self.seen().oldest_ms = totals.oldest_ms;
        self.sample();
    }

    /// What is in `sealed/` and not shipped was looked at; `problems` says why, for each.
    pub fn set_aside<'a>(&self, problems: impl Iterator<Item = &'a str>) {
        let problems: Vec<_> = problems.map(str::to_owned).collect();
        self.set_aside.set(i64::try_from(problems.len()).unwrap_or(i64::MAX));
        self.seen().set_aside = problems;
    }

    /// A file has its final name.
    pub fn published(&self, bytes: u64) {
        self.shipped_files.inc();
        self.shipped_bytes.inc_by(bytes);
    }

    /// A shipment is done.
    pub fn shipped(&self, plan: &Plan) {
        self.shipped_events.inc_by(plan.records());
        self.shipped_segments.inc_by(plan.segments.len() as u64);
        self.lost_events.inc_by(plan.lost());
        self.quarantined_segments.inc_by(plan.damaged.len() as u64);
        self.seen().failing_since_ms = None;
    }

    /// An attempt failed and will be made again.
    pub fn failed(&self, error: &ShipError) {
        self.failed_for(error.reason(), error.to_string());
    }

    /// As [`Self::failed`], for what is no part of a shipment.
    pub fn failed_for(&self, reason: &str, error: String) {
        self.retries.with_label_values(&[reason]).inc();
        let now = now_ms();
        let mut seen = self.seen();
        seen.failing_since_ms.get_or_insert(now);
        seen.last_error = Some((now, error));
    }

    /// What has been delivered since the start.
    #[must_use]
    pub fn delivered(&self) -> Delivered {
        Delivered {
            events: self.shipped_events.get(),
            files: self.shipped_files.get(),
            bytes: self.shipped_bytes.get(),
            segments: self.shipped_segments.get(),
            quarantined: self.quarantined_segments.get(),
            lost: self.lost_events.get(),
        }
    }

    fn lag(&self) -> f64 {
        let oldest_ms = self.seen().oldest_ms;
        let lag_ms = oldest_ms.map_or(0, |oldest_ms| now_ms().saturating_sub(oldest_ms).max(0));
        std::time::Duration::from_millis(lag_ms.cast_unsigned()).as_secs_f64()
    }

    /// A lock whose holder panicked still guards plain figures here.
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report for Metrics {
    fn is_healthy(&self) -> bool {
        true
    }

    fn stats(&self) -> serde_json::Value {
        let lag_seconds = self.lag();
        let delivered = self.delivered();
        let seen = self.seen();
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "backlog_segments": self.backlog_segments.get(),
            "backlog_bytes": self.backlog_bytes.get(),
            "backlog_events": self.backlog_events.get(),
            "set_aside": &seen.set_aside,
            "lag_seconds": lag_seconds,
            "shipped_events": delivered.events,
            "shipped_segments": delivered.segments,
            "shipped_files": delivered.files,
            "shipped_bytes": delivered.bytes,
            "lost_events": delivered.lost,
            "quarantined_segments": delivered.quarantined,
            "failing_since_ms": seen.failing_since_ms,
            "last_error_ms": seen.last_error.as_ref().map(|(at, _)| at),
            "last_error": seen.last_error.as_ref().map(|(_, error)| error),
        })
    }

    fn sample(&self) {
        self.lag_seconds.set(self.lag());
    }
}

const VALID: &str = "names and labels are valid constants";

fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::new(name, help).expect(VALID)
}

fn gauge(name: &str, help: &str) -> IntGauge {
    IntGauge::new(name, help).expect(VALID)
}
