//! `tidegate._core`: the connection core as Python objects. The words that users know are in `python/tidegate`.
//!
//! **Invariant:** the thread of the core never takes Python's lock. What the core has to say goes into a queue
//! ([`callbacks`]) that a Python thread empties, and what Python waits for is an [`op::Op`] that is waited for with
//! the lock released. So a busy interpreter delays no heartbeat.

mod artifact;
mod automations;
mod callbacks;
mod client;
mod codecs;
mod errors;
mod local;
mod new_run;
mod of_process;
mod op;
mod pauser;
mod payload;
mod run;
mod schedules;
mod server;
mod slots;
mod span;
mod worker;

use pyo3::prelude::*;

#[pymodule]
mod _core {
    #[pymodule_export]
    use crate::{
        artifact::Artifact,
        automations::Automations,
        callbacks::next_callbacks,
        client::Client,
        codecs::Codecs,
        errors::error_kinds,
        local::LocalRun,
        new_run::{ChildCalls, NewRun},
        op::Op,
        pauser::Pauser,
        run::Run,
        schedules::{NewSchedule, Schedules},
        server::EmbeddedServer,
        slots::Slots,
        span::{Exporter, Span},
        worker::{Attempt, Worker},
    };

    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
