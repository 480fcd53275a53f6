//! Numbers by chance that a failing test can get again: every use begins with a seed that is
//! printed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A sequence of numbers that follows from its seed (`SplitMix64`).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A new sequence, or that of `SEWERTEST_SEED`; prints the seed.
    ///
    /// # Panics
    /// If the variable is no number.
    pub fn announced(test: &str) -> Self {
        let seed = match std::env::var("SEWERTEST_SEED") {
            Ok(number) => number.parse().expect("SEWERTEST_SEED is a number"),
            Err(_) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |now| u64::from(now.subsec_nanos())),
        };
        println!("{test}: SEWERTEST_SEED={seed}");
        Self(seed)
    }

    /// The next number.
    #[allow(clippy::should_implement_trait)] // It never ends; an Option would say otherwise.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("below 256")
    }

    /// So many bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.byte()).collect()
    }

    /// A place in something of that length, which is not 0.
    pub fn place(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a usize")
    }

    /// Changes one to three bits.
    pub fn flip(&mut self, bytes: &mut [u8]) {
        for _ in 0..=self.below(3) {
            let place = self.place(bytes.len());
            bytes[place] ^= 1 << self.below(8);
        }
    }

    /// One of a few.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.place(from.len())]
    }

    /// A time between two bounds.
    pub fn duration(&mut self, from: Duration, to: Duration) -> Duration {
        let span = to.saturating_sub(from).as_micros();
        let span_us = u64::try_from(span).expect("bounds of a test are short");
        from + Duration::from_micros(self.below(span_us.max(1)))
    }
}
