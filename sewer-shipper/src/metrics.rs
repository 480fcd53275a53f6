//! What the shipper counts, in Prometheus' terms, and what it says of its failures.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};
use sewer_ops::logging::lost_lines;
use sewer_ops::metrics::{counter, counters, float_gauge, gauge, gauges};
use sewer_ops::status::Report;
use sewer_ops::supervisor::Supervised;

use crate::plan::backlog::{Totals, now_ms};
use crate::plan::{Losses, Plan};

/// What stands for the plan of a shipment while there is none yet.
const PLANNING: &str = "planning";
/// What stands for the plan where partitions are marked as done.
const MARKING: &str = "done_marker";

/// Counters, gauges, and what fails.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    max_lag: Option<Duration>,
    backlog_segments: IntGauge,
    backlog_bytes: IntGauge,
    backlog_events: IntGauge,
    set_aside: IntGauge,
    lost_log_lines: IntCounter,
    lag_seconds: Gauge,
    oldest_seconds: IntGaugeVec,
    shipments: IntCounterVec,
    failing: IntGaugeVec,
    last_error_seconds: IntGaugeVec,
    shipped_events: IntCounter,
    shipped_segments: IntCounter,
    shipped_files: IntCounter,
    shipped_bytes: IntCounter,
    lost_events: IntCounter,
    uncounted_losses: IntCounter,
    quarantined_segments: IntCounter,
    retries: IntCounterVec,
    seen: Mutex<Seen>,
}

/// What is shown but not counted.
#[derive(Debug, Default)]
struct Seen {
    oldest_ms: Option<i64>,
    /// By the name of the plan.
    failing: BTreeMap<String, Failing>,
    last_error: Option<(i64, &'static str, String)>,
    set_aside: Vec<String>,
}

/// A shipment whose last attempt failed.
#[derive(Debug)]
struct Failing {
    since_ms: i64,
    failure: FailureReport,
}

/// A failed attempt, as it is shown.
#[derive(Clone, Debug)]
pub struct FailureReport {
    /// A short stable label.
    pub reason: &'static str,
    /// Whether a person has to act before a retry can succeed.
    pub needs_a_human: bool,
    /// A line for the operator.
    pub error: String,
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
    pub losses: Losses,
}

impl Metrics {
    /// A set of metrics in a registry of its own. With `max_lag`, a longer lag is bad health.
    #[must_use]
    pub fn new(max_lag: Option<Duration>) -> Self {
        let registry = Registry::new();
        let r = &registry;
        let count = |name, help| counter(r, name, help);
        let level = |name, help| gauge(r, name, help);
        Self {
            max_lag,
            backlog_segments: level(
                "sewer_shipper_backlog_segments",
                "Segments sealed and not yet shipped.",
            ),
            backlog_bytes: level("sewer_shipper_backlog_bytes", "Bytes of these segments."),
            backlog_events: level("sewer_shipper_backlog_events", "Events in these segments."),
            set_aside: level(
                "sewer_shipper_set_aside_segments",
                "What is in sealed/ and is not shipped: another WAL's, misplaced, unreadable or no segment.",
            ),
            lost_log_lines: count(
                "sewer_shipper_lost_log_lines_total",
                "Lines of the log that could not be written, or were not taken in time.",
            ),
            lag_seconds: float_gauge(
                r,
                "sewer_shipper_lag_seconds",
                "Age of the oldest event not yet shipped; 0 if there is none.",
            ),
            oldest_seconds: gauges(
                r,
                "sewer_shipper_oldest_unshipped_timestamp_seconds",
                "Time of the oldest event not yet shipped; absent if there is none.",
                &[],
            ),
            shipments: counters(
                r,
                "sewer_shipper_shipments_total",
                "Shipments that ended as shipped, attempts that failed, and plans withdrawn because their segments were damaged.",
                &["outcome"],
            ),
            failing: gauges(
                r,
                "sewer_shipper_failing_shipments",
                "Shipments whose last attempt failed, by reason, and whether a person has to act.",
                &["reason", "needs_action"],
            ),
            last_error_seconds: gauges(
                r,
                "sewer_shipper_last_error_timestamp_seconds",
                "Time of the last failure, by reason.",
                &["reason"],
            ),
            shipped_events: count("sewer_shipper_events_total", "Events delivered."),
            shipped_segments: count(
                "sewer_shipper_segments_total",
                "Segments shipped and deleted.",
            ),
            shipped_files: count("sewer_shipper_files_total", "Files published."),
            shipped_bytes: count("sewer_shipper_bytes_total", "Bytes of the files published."),
            lost_events: count(
                "sewer_shipper_lost_events_total",
                "Events known to be lost to damage on the local disk.",
            ),
            uncounted_losses: count(
                "sewer_shipper_uncounted_losses_total",
                "Damaged segments that lost events of which nothing tells how many.",
            ),
            quarantined_segments: count(
                "sewer_shipper_quarantined_segments_total",
                "Damaged segments quarantined.",
            ),
            retries: counters(
                r,
                "sewer_shipper_retries_total",
                "Failed attempts, each made again, by reason.",
                &["reason"],
            ),
            seen: Mutex::default(),
            registry,
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

    /// All of a shipment is delivered and its segments are gone.
    pub fn shipped(&self, plan: &Plan) {
        self.shipped_events.inc_by(plan.records());
        self.shipped_segments.inc_by(plan.segments.len() as u64);
        let Losses { events, uncounted } = plan.losses();
        self.lost_events.inc_by(events);
        self.uncounted_losses.inc_by(uncounted);
        self.quarantined_segments.inc_by(plan.damaged.len() as u64);
    }

    /// A shipment is no longer under way, with this outcome.
    pub fn ended(&self, plan: &Plan, outcome: &str) {
        self.shipments.with_label_values(&[outcome]).inc();
        self.works(&plan.file_name());
    }

    /// An attempt failed and will be made again; without a plan it was that of making one.
    pub fn failed(&self, plan: Option<&Plan>, failure: FailureReport) {
        let name = plan.map_or_else(|| PLANNING.to_owned(), Plan::file_name);
        self.shipments.with_label_values(&["failed"]).inc();
        self.fails(name, failure);
    }

    /// A plan cannot be read, and what it is for waits for a person.
    pub fn plan_held(&self, name: String, error: String) {
        self.fails(name, FailureReport { reason: "plan", needs_a_human: true, error });
    }

    /// A person has seen to such a plan.
    pub fn plan_released(&self, name: &str) {
        self.works(name);
    }

    /// Plans can be made again.
    pub fn planning_works(&self) {
        self.works(PLANNING);
    }

    /// Complete partitions could not be marked.
    pub fn marking_failed(&self, error: String) {
        let failure = FailureReport { reason: MARKING, needs_a_human: false, error };
        self.fails(MARKING.to_owned(), failure);
    }

    /// Complete partitions can be marked again.
    pub fn marking_works(&self) {
        self.works(MARKING);
    }

    fn fails(&self, name: String, failure: FailureReport) {
        let FailureReport { reason, error, .. } = &failure;
        self.retries.with_label_values(&[*reason]).inc();
        let now = now_ms();
        self.last_error_seconds.with_label_values(&[*reason]).set(now / 1000);
        let mut seen = self.seen();
        seen.last_error = Some((now, *reason, error.clone()));
        let since_ms = seen.failing.get(&name).map_or(now, |failing| failing.since_ms);
        seen.failing.insert(name, Failing { since_ms, failure });
        self.show_failing(&seen);
    }

    fn works(&self, name: &str) {
        let mut seen = self.seen();
        if seen.failing.remove(name).is_some() {
            self.show_failing(&seen);
        }
    }

    fn show_failing(&self, seen: &Seen) {
        self.failing.reset();
        for failing in seen.failing.values() {
            let FailureReport { reason, needs_a_human, .. } = &failing.failure;
            let needs_action = if *needs_a_human { "yes" } else { "no" };
            self.failing.with_label_values(&[*reason, needs_action]).inc();
        }
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
            losses: Losses {
                events: self.lost_events.get(),
                uncounted: self.uncounted_losses.get(),
            },
        }
    }

    fn lag(&self) -> Duration {
        let oldest_ms = self.seen().oldest_ms;
        let lag_ms = oldest_ms.map_or(0, |oldest_ms| now_ms().saturating_sub(oldest_ms).max(0));
        Duration::from_millis(lag_ms.cast_unsigned())
    }

    /// A lock whose holder panicked still guards plain figures here.
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report for Metrics {
    fn problem(&self) -> Option<String> {
        let (lag, max_lag) = (self.lag(), self.max_lag?);
        let seconds = |time: Duration| {
            humantime_serde::re::humantime::format_duration(Duration::from_secs(time.as_secs()))
        };
        (lag > max_lag).then(|| {
            format!(
                "the oldest event that is not delivered is {} old; status.max_lag is {}",
                seconds(lag),
                seconds(max_lag)
            )
        })
    }

    fn has_any_path(&self) -> bool {
        false
    }

    fn stats(&self) -> serde_json::Value {
        let lag_seconds = self.lag().as_secs_f64();
        let delivered = self.delivered();
        let seen = self.seen();
        let failing: Vec<_> = seen
            .failing
            .iter()
            .map(|(name, failing)| {
                serde_json::json!({
                    "shipment": name,
                    "since_ms": failing.since_ms,
                    "reason": failing.failure.reason,
                    "needs_action": failing.failure.needs_a_human,
                    "error": failing.failure.error,
                })
            })
            .collect();
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "backlog_segments": self.backlog_segments.get(),
            "backlog_bytes": self.backlog_bytes.get(),
            "backlog_events": self.backlog_events.get(),
            "set_aside": &seen.set_aside,
            "oldest_unshipped_ms": seen.oldest_ms,
            "lag_seconds": lag_seconds,
            "shipped_events": delivered.events,
            "shipped_segments": delivered.segments,
            "shipped_files": delivered.files,
            "shipped_bytes": delivered.bytes,
            "lost_events": delivered.losses.events,
            "uncounted_losses": delivered.losses.uncounted,
            "quarantined_segments": delivered.quarantined,
            "failing_since_ms": seen.failing.values().map(|failing| failing.since_ms).min(),
            "failing": failing,
            "last_error_ms": seen.last_error.as_ref().map(|(at, _, _)| at),
            "last_error_reason": seen.last_error.as_ref().map(|(_, reason, _)| reason),
            "last_error": seen.last_error.as_ref().map(|(_, _, error)| error),
        })
    }

    fn sample(&self) {
        self.lost_log_lines.reset();
        self.lost_log_lines.inc_by(lost_lines());
        self.lag_seconds.set(self.lag().as_secs_f64());
        match self.seen().oldest_ms {
            Some(oldest_ms) => {
                self.oldest_seconds.with_label_values::<&str>(&[]).set(oldest_ms.div_euclid(1000));
            }
            None => self.oldest_seconds.reset(),
        }
    }
}

impl Supervised for Metrics {
    fn status(&self) -> String {
        let (segments, lag_s) = (self.backlog_segments.get(), self.lag().as_secs());
        let seen = self.seen();
        let failing = seen.failing.values().next();
        let failing =
            failing.map_or_else(String::new, |f| format!("; failing: {}", f.failure.reason));
        format!("shipping: {segments} segments wait, lag {lag_s} s{failing}")
    }
}
