//! How the backlog grows while a pixel is under load at a rate and its shipper ships.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::pace;
use crate::servers::PixelServer;
use crate::stats::as_f64;
use crate::wrk::Load;

/// How often the backlog is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The growth, as a part of what comes in, below which the backlog is flat: it comes and goes by
/// whole segments, which makes a line through it a little steep by chance.
const FLAT: f64 = 0.05;

/// What one rate has shown.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Step {
    pub requests_per_second: f64,
    pub inflow_mb_per_second: f64,
    pub growth_mb_per_second: f64,
    pub is_flat: bool,
}

/// Puts a pixel under load at a rate.
pub fn at_rate(pixel: &mut PixelServer, load: &Load, wanted: f64) -> Result<Step, String> {
    let pause_ms = pace::pause_for(&mut pixel.server, load, wanted)?;
    let load = Load { pause_ms: Some(pause_ms), ..*load };
    let before = pixel.counts();
    let is_over = AtomicBool::new(false);
    let left = pixel.server.left().clone();
    let (slice, samples) = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let begun = Instant::now();
            let mut samples = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                samples.push((begun.elapsed().as_secs_f64(), left.bytes()));
                std::thread::sleep(LOOK_INTERVAL);
            }
            samples
        });
        let slice = pixel.server.slice_untidied(&load);
        is_over.store(true, Ordering::Relaxed);
        (slice, looking.join().expect("looking at a directory does not panic"))
    });
    let slice = slice?;
    let bytes = (pixel.counts() - before).wal_bytes;
    let inflow_mb_per_second = bytes / as_f64(load.seconds) / 1e6;
    // The first third is for what waits at all.
    let growth_mb_per_second = slope(&samples[samples.len() / 3..]) / 1e6;
    Ok(Step {
        requests_per_second: slice.requests_per_second,
        inflow_mb_per_second,
        growth_mb_per_second,
        is_flat: growth_mb_per_second < inflow_mb_per_second * FLAT,
    })
}

/// The slope of the line with the least squares.
fn slope(samples: &[(f64, f64)]) -> f64 {
    let count = as_f64(samples.len() as u64);
    let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let above: f64 = samples.iter().map(|sample| (sample.0 - x) * (sample.1 - y)).sum();
    let below: f64 = samples.iter().map(|sample| (sample.0 - x).powi(2)).sum();
    if below > 0.0 { above / below } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_of_a_line_is_its_own() {
        assert!((slope(&[(1.0, 10.0), (2.0, 13.0), (4.0, 19.0)]) - 3.0).abs() < 1e-9);
        assert!(slope(&[(1.0, 5.0)]).abs() < 1e-9);
    }
}
