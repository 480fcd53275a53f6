//! The pixel, with everything but what a benchmark is about as it is by default.

use std::path::Path;

use sewer_test_support::http;
use sewer_test_support::metrics::Samples;
use sewer_test_support::pixel::{Pixel, READY_WAIT};
use sewer_test_support::process::sibling;

use super::{Certificate, Left, Server, start};
use crate::settings::{Settings, own};

/// What the tests' pixels have otherwise than by default, put back.
const DEFAULTS: [&str; 1] = ["wal.roll_interval=30s"];

/// A pixel under load.
#[derive(Debug)]
pub struct PixelServer {
    /// As any server.
    pub server: Server,
    pixel: Pixel,
}

/// What its metrics have counted.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    pub events: f64,
    pub wal_bytes: f64,
    pub batches: f64,
    pub commit_seconds: f64,
    pub segment: f64,
}

impl std::ops::Sub for Counts {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            events: self.events - before.events,
            wal_bytes: self.wal_bytes - before.wal_bytes,
            batches: self.batches - before.batches,
            commit_seconds: self.commit_seconds - before.commit_seconds,
            segment: self.segment - before.segment,
        }
    }
}

impl PixelServer {
    /// Starts a pixel with one worker on the servers' core, which acknowledges what is durable.
    pub fn durable(settings: &Settings, directory: &Path) -> Self {
        Self::start(settings, directory, "pixel, durable", true, &["pixel.workers=1"])
    }

    /// The durable one of the build before, if one was named.
    pub fn of_before(settings: &Settings, directory: &Path) -> Option<Server> {
        let settings = settings.of_before()?;
        let sets = ["pixel.workers=1"];
        let directory = own(directory, "before");
        Some(Self::start(&settings, &directory, "pixel, build before", true, &sets).server)
    }

    /// The same, which acknowledges what it has received.
    pub fn received(settings: &Settings, directory: &Path) -> Self {
        let sets = ["pixel.workers=1", "pixel.ack=received"];
        Self::start(settings, directory, "pixel, ack = \"received\"", true, &sets)
    }

    /// The same, which records nothing.
    pub fn without_log(settings: &Settings, directory: &Path) -> Self {
        let sets = ["pixel.workers=1", "pixel.route=[{prefix=\"/\", log=false}]"];
        Self::start(settings, directory, "pixel, no WAL", true, &sets)
    }

    /// The same as the durable one, encrypted.
    pub fn with_tls(settings: &Settings, directory: &Path, certificate: &Certificate) -> Self {
        Self::encrypted(settings, directory, "pixel, TLS", certificate)
    }

    /// The encrypted one of the build before, if one was named.
    pub fn of_before_with_tls(
        settings: &Settings,
        directory: &Path,
        certificate: &Certificate,
    ) -> Option<Server> {
        let settings = settings.of_before()?;
        let directory = own(directory, "before-tls");
        let label = "pixel, TLS, build before";
        Some(Self::encrypted(&settings, &directory, label, certificate).server)
    }

    fn encrypted(
        settings: &Settings,
        directory: &Path,
        label: &'static str,
        certificate: &Certificate,
    ) -> Self {
        let cert = format!("pixel.tls.cert={}", certificate.cert.display());
        let key = format!("pixel.tls.key={}", certificate.key.display());
        let sets = ["pixel.workers=1", &cert, &key];
        let mut pixel = Self::start(settings, directory, label, true, &sets);
        pixel.server.is_tls = true;
        pixel
    }

    /// Starts a pixel with its own directory.
    pub fn start(
        settings: &Settings,
        directory: &Path,
        label: &'static str,
        pinned: bool,
        sets: &[&str],
    ) -> Self {
        let sets = [&DEFAULTS, sets].concat();
        let pixel = Pixel::new(&settings.binary, directory, &sets);
        let binary = sibling(&settings.binary, "sewer-pixel").display().to_string();
        let command = [vec![binary], pixel.args()].concat();
        let mut process = start(pinned, &command, &directory.join("pixel.log"));
        let status = pixel.status_address();
        process.wait_until("ready", READY_WAIT, || {
            http::get(&status, "/").is_ok_and(|response| response.status == 200)
        });
        // The last one set counts.
        let wal = sets.iter().rev().find_map(|set| set.strip_prefix("wal.dir="));
        let wal = wal.map_or_else(|| pixel.wal_dir(), |wal| Path::new(wal).to_owned());
        let server = Server {
            label,
            address: pixel.address(),
            process,
            left: Left::Segments(wal.join("sealed")),
            is_tls: false,
            is_held: false,
            is_flume: false,
            scripts: directory.to_owned(),
            _watch: None,
            _ports: Vec::new(),
        };
        Self { server, pixel }
    }

    /// What it has counted so far.
    pub fn counts(&self) -> Counts {
        let samples: Samples = self.pixel.metrics();
        let sample = |name: &str| samples.get(name).copied().unwrap_or(f64::NAN);
        Counts {
            events: sample("sewer_pixel_events_total"),
            wal_bytes: sample("sewer_pixel_wal_bytes_total"),
            batches: sample("sewer_pixel_commit_seconds_count"),
            commit_seconds: sample("sewer_pixel_commit_seconds_sum"),
            segment: sample("sewer_pixel_wal_segment"),
        }
    }
}
