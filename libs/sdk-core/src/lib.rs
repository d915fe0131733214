//! The connection core of Tidegate's SDKs: one for Rust and Python.
//!
//! [`Client`] creates runs and waits for them, [`Session`] reports runs that execute in this process,
//! [`Worker`] takes queued runs, [`LogWriter`] carries log lines. All of it runs on a thread of its own
//! ([`runtime`]), so that user code which blocks for minutes never delays a heartbeat.
//!
//! **Invariant:** no task of this crate ever waits for user code.

mod artifacts;
mod automations;
mod child_calls;
mod client;
mod clock;
mod codec;
mod concurrency;
mod connection;
mod creates;
mod deployments;
mod diagnosis;
mod ends;
mod error;
mod follow;
mod link;
mod logs;
mod operations;
mod options;
mod pause;
pub mod payload;
mod progress;
mod put_schedules;
mod queues;
mod reports;
mod retry;
pub mod runtime;
mod schedules;
mod session;
mod slots;
mod stop;
pub mod trace;
mod transfer;
mod variables;
mod waits;
mod work_pools;
mod worker;

pub use artifacts::ArtifactName;
pub use child_calls::ChildCalls;
pub use client::{Client, CreatedRun, new_run_id};
pub use clock::{timestamp_of, wall_clock};
pub use codec::{Codecs, PayloadCodec};
pub use concurrency::ConcurrencySettings;
pub use error::{Error, ErrorKind};
pub use logs::{LogLine, LogWriter};
pub use options::{DEFAULT_ADDRESS, Options};
pub use pause::Pauser;
pub use progress::{Progress, ProgressWriter};
pub use put_schedules::{PutSchedules, ScheduleWrite, WantedSchedule};
pub use session::{LocalRun, Session, Verdict};
pub use slots::{SlotOptions, Slots};
pub use stop::{Stop, StopSignal};
pub use tidegate_proto::v1 as proto;
pub use transfer::UploadRoom;
pub use worker::{
    Attempt, Attempts, End, HealthListener, Hindrance, Worker, WorkerHealth, WorkerOptions, WorkerStatus,
};
