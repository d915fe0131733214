//! What tests share: clocks that they set or that are wrong, faults by a seed, and servers that answer as they are told.

mod clock;
mod draws;
mod faulty_store;
mod postgres_proxy;
mod vanish;
mod web_server;

pub use clock::{ManualClock, SkewedClock};
pub use draws::Draws;
pub use faulty_store::{Faults, FaultyStore};
pub use postgres_proxy::PostgresProxy;
pub use vanish::vanish;
pub use web_server::{WebRequest, WebServer};
