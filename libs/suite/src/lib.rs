//! All four services in one process on one port: what `tidegate dev` and the embedded server of the Python package
//! have in common.
//!
//! [`start`] names ports alone; who calls it names the adapters. [`Embedded`] is a whole server inside a program
//! that is about something else, such as a script or its tests.

mod embedded;
mod services;

pub use embedded::Embedded;
pub use services::{Ports, start};
