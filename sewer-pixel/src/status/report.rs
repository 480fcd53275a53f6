//! What the status port tells: health, `/stats`, and the dashboard with the data that it draws.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sewer_ops::reload::Live;
use sewer_ops::status::{Page, Report};
use sewer_ops::supervisor::{Pulse, Supervised};

use crate::config::Config;
use crate::metrics::{Metrics, State};
use crate::status::history::Ring;
use crate::status::rates::{Rate, WINDOWS};
use crate::status::sampler::Seen;
use crate::wal::lane::Lanes;

const DASHBOARD: &str = "/dashboard";
const DASHBOARD_DATA: &str = "/dashboard/data";

/// Tells what the metrics count and what the sampler has seen.
#[derive(Debug)]
pub struct PixelReport {
    metrics: Arc<Metrics>,
    config: Arc<Live<Config>>,
    started: Instant,
    /// Nothing until the WAL is open.
    seen: OnceLock<(Arc<Seen>, Lanes)>,
}

impl PixelReport {
    /// Of a pixel that is starting.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, config: Arc<Live<Config>>) -> Self {
        Self { metrics, config, started: Instant::now(), seen: OnceLock::new() }
    }

    /// Begins to tell what the sampler sees, and what waits in the lanes.
    pub fn attach(&self, seen: Arc<Seen>, lanes: Lanes) {
        // There is one sampler in the life of a process.
        let _ = self.seen.set((seen, lanes));
    }

    fn unsynced(&self) -> u64 {
        self.seen.get().map_or(0, |(_, lanes)| lanes.unsynced())
    }

    fn rates(&self) -> Vec<(&'static str, Rate)> {
        let Some((seen, _)) = self.seen.get() else { return Vec::new() };
        let rates = seen.rates();
        WINDOWS.iter().map(|(name, window)| (*name, rates.over(*window))).collect()
    }

    fn dashboard_data(&self) -> Value {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let host = nix::unistd::gethostname().unwrap_or_default();
        let rings: Vec<_> = match self.seen.get() {
            Some((seen, _)) => {
                seen.history().rings().iter().map(|ring| drawn(ring, now_s.cast_signed())).collect()
            }
            None => Vec::new(),
        };
        json!({
            "host": host.to_string_lossy(),
            "now_s": now_s,
            "uptime_s": self.started.elapsed().as_secs(),
            "min_free_bytes": self.config.get().wal.min_free_bytes.as_u64(),
            "stats": self.stats(),
            "rings": rings,
        })
    }
}

/// A ring as the page draws it; what is not known is null.
fn drawn(ring: &Ring, now_s: i64) -> Value {
    let points: Vec<_> = ring
        .points(now_s)
        .map(|point| {
            json!({
                "at_s": point.at_s,
                "requests_per_s": point.per_second(point.requests),
                "refused_per_s": point.per_second(point.refused),
                "commit_p50_s": point.commits.quantile(0.5),
                "commit_p99_s": point.commits.quantile(0.99),
                "backlog_bytes": point.backlog_bytes,
                "lag_s": point.lag_s,
                "free_bytes": point.free_bytes,
            })
        })
        .collect();
    json!({ "step_s": ring.step_s(), "points": points })
}

impl Report for PixelReport {
    fn problem(&self) -> Option<String> {
        match self.metrics.state() {
            State::Serving => self.metrics.full(),
            State::Starting => Some("starting: the WAL is being recovered".to_owned()),
            State::Draining => Some("stopping: send requests elsewhere".to_owned()),
            State::Failed => {
                Some("the WAL has failed, and the process ends; see its log".to_owned())
            }
        }
    }

    fn has_any_path(&self) -> bool {
        self.config.get().status.any_path
    }

    fn stats(&self) -> Value {
        let mut stats = self.metrics.stats(self.unsynced());
        let rates = self.rates().into_iter().map(|(name, rate)| {
            let rate = json!({
                "requests_per_second": rate.requests,
                "refused_per_second": rate.refused,
                "events_per_second": rate.events,
                "bytes_per_second": rate.bytes,
            });
            (name.to_owned(), rate)
        });
        stats["rates"] = rates.collect::<serde_json::Map<_, _>>().into();
        stats
    }

    fn sample(&self) {
        self.metrics.sample(self.unsynced());
    }

    fn pages(&self) -> &'static [&'static str] {
        &[DASHBOARD, DASHBOARD_DATA]
    }

    fn page(&self, path: &str) -> Option<Page> {
        match path {
            DASHBOARD => Some(Page {
                content_type: "text/html; charset=utf-8",
                body: Cow::Borrowed(include_str!("dashboard.html")),
            }),
            DASHBOARD_DATA => Some(Page {
                content_type: "application/json",
                body: Cow::Owned(self.dashboard_data().to_string()),
            }),
            _ => None,
        }
    }
}

impl Supervised for PixelReport {
    fn status(&self) -> String {
        let state = self.metrics.state().name();
        let full = if self.metrics.is_full() { ", the disk is full" } else { "" };
        let rates = self.rates();
        match rates.first() {
            Some((window, rate)) => format!(
                "{state}{full}: {:.1} requests/s, {:.1} events/s over {window}, {} in flight",
                rate.requests,
                rate.events,
                self.metrics.in_flight()
            ),
            None => format!("{state}{full}"),
        }
    }

    fn pulse(&self) -> Option<&Pulse> {
        Some(self.metrics.pulse())
    }
}
