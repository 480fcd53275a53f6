//! The figures of `/stats`.

use prometheus::IntCounterVec;
use sewer_ops::logging::lost_lines;

use super::{Metrics, labelled};

impl Metrics {
    /// The figures of `/stats`.
    pub(crate) fn stats(&self, unsynced: u64) -> serde_json::Value {
        let by_label = |counters: &IntCounterVec| -> serde_json::Map<String, serde_json::Value> {
            labelled(counters).map(|(label, count)| (label, count.into())).collect()
        };
        let commits = self.commits();
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "state": self.state().name(),
            "disk_full": self.is_full(),
            "free_bytes": self.free_bytes.get(),
            "free_inodes": self.free_inodes.get(),
            "lost_log_lines": lost_lines(),
            "dropped_events": self.dropped.get(),
            "responses_204": self.answered[0].1.get(),
            "responses": by_label(&self.responses),
            "rejected": by_label(&self.rejected),
            "requests_in_flight": self.in_flight.get(),
            "connections": self.connections.get(),
            "unrecorded": by_label(&self.unrecorded),
            "unsynced_events": unsynced,
            "events": self.events.get(),
            "batches": self.commit_seconds.get_sample_count(),
            "commit_p50_seconds": commits.quantile(0.5),
            "commit_p99_seconds": commits.quantile(0.99),
            "wal_bytes": self.event_bytes.get(),
            "next_lsn": self.next_lsn.get(),
            "segment": self.segment.get(),
            "segment_bytes": self.segment_bytes.get(),
            "backlog_segments": self.backlog_segments.get(),
            "backlog_bytes": self.backlog_bytes.get(),
            "lag_seconds": self.lag_seconds.get(),
        })
    }
}
