//! What tests share: clocks that they set or that are wrong, and faults by a seed.

mod clock;
mod draws;
mod faulty_store;
mod postgres_proxy;
mod vanish;

pub use clock::{ManualClock, SkewedClock};
pub use draws::Draws;
pub use faulty_store::{Faults, FaultyStore};
pub use postgres_proxy::PostgresProxy;
pub use vanish::vanish;
