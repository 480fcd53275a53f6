//! For tests: a small generator of numbers that are the same in every run.

/// xorshift64*, which is enough to spread damage over a file.
pub struct Random(u64);

impl Random {
    /// Begins the sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(high).expect("32 bits") % bound
    }

    /// The next `length` bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| u8::try_from(self.below(256)).expect("below 256")).collect()
    }

    /// Changes one to three bits.
    pub fn flip(&mut self, bytes: &mut [u8]) {
        for _ in 0..=self.below(3) {
            bytes[self.below(bytes.len())] ^= 1 << self.below(8);
        }
    }
}
