//! `--check`: would this configuration work here? One line each. Only the destination is written
//! to: a hidden probe file that is removed again.

use std::path::Path;

use jiff::Timestamp;
use sewer_ops::check::{can_be_made, print, writable};
use sewer_wal::{Layout, SegmentName, look_up_identity, sealed};

use crate::config::Config;
use crate::destination::{self, probe};
use crate::plan::journal::Journal;
use crate::record::partition::fixed_part;

/// A clock before 2026 was never set, in seconds since the Unix epoch.
const OLDEST_CLOCK_S: i64 = 1_767_225_600;
/// How far events may be ahead of the clock, in seconds.
const CLOCK_TOLERANCE_S: i64 = 60;

/// Prints a line per thing that must work; `true` if all do.
pub async fn run(config: &Config) -> bool {
    print(&[
        ("WAL directory", wal_directory(&config.wal.dir)),
        ("plans", plans(&config.wal.dir)),
        ("clock", clock(&config.wal.dir)),
        ("status port", port(config)),
        ("destination", destination(config).await),
    ])
}

fn wal_directory(dir: &Path) -> Result<String, String> {
    let layout = Layout::new(dir);
    let identity = look_up_identity(&layout).map_err(|e| e.to_string())?.ok_or_else(|| {
        format!("there is no WAL in {}: start sewer-pixel first, or set wal.dir", dir.display())
    })?;
    writable(&layout.sealed_dir())?;
    let earlier = identity.earlier.iter().map(|id| format!(", and what is left of {id}"));
    Ok(format!("{} holds the WAL {}{}", dir.display(), identity.id, earlier.collect::<String>()))
}

/// The directory of the plans, and whether one of them waits for a person.
fn plans(wal_dir: &Path) -> Result<String, String> {
    let layout = Layout::new(wal_dir);
    let dir = layout.shipments_dir();
    if !wal_dir.exists() {
        return Ok("in shipments/ of the WAL, once there is one".into());
    }
    if !dir.exists() {
        return can_be_made(&dir, "wal.dir");
    }
    writable(&dir)?;
    let Some(identity) = look_up_identity(&layout).map_err(|e| e.to_string())? else {
        return Ok(format!("{} is there", dir.display()));
    };
    let found = Journal::of(&layout).load(&identity).map_err(|e| e.to_string())?;
    match found.damaged.first() {
        Some(plan) => Err(plan.to_string()),
        None => Ok(format!("{} holds {}", dir.display(), found.plans.len())),
    }
}

fn port(config: &Config) -> Result<String, String> {
    let address = config.status.listen;
    std::net::TcpListener::bind(address)
        .map(|_| address.to_string())
        .map_err(|e| format!("listen on {address} (key `status.listen`): {e}"))
}

/// Kerberos refuses clocks that are minutes apart, and partitions follow the clock. What can be
/// told without another machine: that it is not behind this build, nor behind what is in the WAL.
fn clock(wal_dir: &Path) -> Result<String, String> {
    let now = Timestamp::now();
    let time = now.strftime("%Y-%m-%dT%H:%M:%SZ");
    if now.as_second() < OLDEST_CLOCK_S {
        return Err(format!(
            "it says {time}, which is in the past; set it (chrony, systemd-timesyncd)"
        ));
    }
    let layout = Layout::new(wal_dir);
    let segments = sealed::list(&layout).unwrap_or_default();
    // What cannot be read is told with the WAL directory.
    let identity = look_up_identity(&layout).ok().flatten();
    let newest_ms = identity.and_then(|identity| {
        let id_of = |name: SegmentName| name.wal_id.unwrap_or(identity.of_plain_names());
        let mut own = segments.iter().rev().filter(|segment| id_of(segment.name) == identity.id);
        own.find_map(|segment| sealed::inspect(segment, &identity).ok()?.footer)
            .map(|footer| footer.last_timestamp_ms)
    });
    let ahead_s = newest_ms.map_or(0, |newest_ms| newest_ms / 1000 - now.as_second());
    if ahead_s > CLOCK_TOLERANCE_S {
        return Err(format!(
            "it says {time}, but the newest sealed event is {ahead_s} s later; the clock was set \
             back: check time synchronisation"
        ));
    }
    Ok(time.to_string())
}

async fn destination(config: &Config) -> Result<String, String> {
    let uri = &config.destination.uri;
    let open = destination::open(uri, config.destination_options()).map_err(|e| e.to_string())?;
    let dir = fixed_part(&config.destination.path);
    probe(&*open, &dir).await.map_err(|e| e.to_string())?;
    let doubts = open.doubts();
    if !doubts.is_empty() {
        return Err(format!("it works now, but {}", doubts.join("; and ")));
    }
    Ok(format!("wrote, renamed and removed a file in {dir} of {}", open.describe()))
}
