//! The worker of a work pool: it takes runs of the pool and starts each as a job, such as a process.
//!
//! What is the same for all types of pools: the runs come, and are reported, through the core of the SDKs (`worker`); a
//! run is described as a job (`job`) with what it may know (`secrets`), a `backend` starts it, what it writes goes to
//! the run's log (`logs`), and its end is told to the server (`run`, `report`). A new type of pool is a new backend.
//!
//! A job is either a *command*, whose exit code is its result, or an *entrypoint*: a flow that the job executes through a
//! stream of its own (`Hello.executes`). Of an entrypoint only that is reported which the job could not say itself.
//!
//! **Invariant:** values of parameters and results are not read here.
//!
//! **Invariant:** a run is reported under the epoch under which it was assigned, so a report that comes too late changes
//! nothing.

pub mod backend;
mod config;
mod job;
mod logs;
mod report;
mod run;
mod secrets;
mod source;
mod worker;

pub use config::{Options, PoolType};
pub use job::{Job, JobKind};
pub use logs::{Output, Stream};
pub use secrets::{MissingSecret, Secrets};
pub use source::{FetchSource, Sources, fetch_source};
pub use worker::{EXIT_REFUSED, run, work};
