//! Load at a rate: each connection waits after each answer, so long that all together come to it.

use crate::servers::Server;
use crate::stats::as_f64;
use crate::wrk::Load;

/// Short slices that bring the pause to where it should be.
const STEPS: usize = 4;

/// wrk's timers have milliseconds; less than this is no pause.
const PAUSE_MIN_MS: f64 = 0.05;

/// The pause with which the connections of a load come to a rate, found by trying.
pub fn pause_for(server: &mut Server, load: &Load, wanted: f64) -> Result<f64, String> {
    let mut pause_ms = cycle_ms(load, wanted);
    for _ in 0..STEPS {
        let load = Load { pause_ms: Some(pause_ms), seconds: 1, ..*load };
        let seen = server.slice_untidied(&load)?.requests_per_second;
        pause_ms = corrected(pause_ms, &load, seen, wanted);
    }
    Ok(pause_ms)
}

/// The pause that would have led to the wanted rate instead of the one seen: what a request takes
/// besides stays about the same.
pub fn corrected(pause_ms: f64, load: &Load, seen: f64, wanted: f64) -> f64 {
    (pause_ms + cycle_ms(load, wanted) - cycle_ms(load, seen)).max(PAUSE_MIN_MS)
}

/// The time in which each connection asks once.
fn cycle_ms(load: &Load, rate: f64) -> f64 {
    as_f64(load.connections as u64) / rate * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_slow_a_pace_gets_a_shorter_pause() {
        let load = Load::full(100, 1);
        // 100 connections at 10,000/s ask every 10 ms; at 5,000/s every 20.
        let pause = corrected(15.0, &load, 5_000.0, 10_000.0);
        assert!((pause - 5.0).abs() < 1e-9, "{pause}");
        assert!((corrected(1.0, &load, 5_000.0, 10_000.0) - PAUSE_MIN_MS).abs() < 1e-9);
    }
}
