use std::sync::atomic::{AtomicU64, Ordering};

/// Draws of a lottery, the same in each run with the same seed: the n-th draw depends on the seed and on n alone.
#[derive(Debug)]
pub struct Draws {
    seed: u64,
    n_drawn: AtomicU64,
}

impl Draws {
    /// A new lottery. It prints its seed, which the environment variable `TIDEGATE_TEST_SEED` replays.
    ///
    /// # Panics
    /// The variable is no number.
    pub fn new() -> Self {
        let seed = match std::env::var("TIDEGATE_TEST_SEED") {
            Ok(text) => text.parse().expect("TIDEGATE_TEST_SEED is a number"),
            Err(_) => u64::from(std::process::id()) << 20 ^ entropy(),
        };
        eprintln!("seed {seed}: TIDEGATE_TEST_SEED={seed} draws the same faults again");
        Self { seed, n_drawn: AtomicU64::new(0) }
    }

    /// The next number, evenly from 0 to 1.
    pub fn next(&self) -> f64 {
        let idx = self.n_drawn.fetch_add(1, Ordering::Relaxed);
        // 53 bits are what a double holds.
        (mix(self.seed ^ mix(idx)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Default for Draws {
    fn default() -> Self {
        Self::new()
    }
}

/// The random end of a new id.
fn entropy() -> u64 {
    tidegate_model::RunId::new().as_uuid().as_u64_pair().1
}

/// The finaliser of splitmix64.
fn mix(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
