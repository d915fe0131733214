use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use tidegate_model::{Clock, SystemClock, Timestamp};

/// A clock that stands still until a test moves it.
#[derive(Debug)]
pub struct ManualClock {
    micros: AtomicI64,
}

impl ManualClock {
    /// Set to the machine's time, so that ids made in the test agree with it.
    pub fn new() -> Self {
        Self { micros: AtomicI64::new(SystemClock.now().as_micros()) }
    }

    /// Moves on.
    pub fn advance(&self, span: Duration) {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        self.micros.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.micros.load(Ordering::SeqCst))
    }
}

/// The clock of a machine whose time is wrong by so many seconds: ahead, or behind where it is negative.
#[derive(Clone, Copy, Debug)]
pub struct SkewedClock(pub i64);

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(SystemClock.now().as_micros() + self.0 * 1_000_000)
    }
}
