//! What tests share: a clock that they set.

mod clock;

pub use clock::ManualClock;
