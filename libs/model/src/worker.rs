use std::collections::BTreeMap;

use crate::{QueueName, Timestamp, WorkPoolName, WorkerId};

/// What is known of a worker: a process that takes runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its id, unique in its namespace.
    pub id: WorkerId,
    /// What it says of itself.
    pub about: WorkerAbout,
    /// How it stood when it was last heard of.
    pub load: WorkerLoad,
    /// When it was first heard of.
    pub came_at: Timestamp,
    /// How it ended; `None`: it is live.
    pub end: Option<WorkerEnd>,
}

/// What a worker says of itself when it comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerAbout {
    /// What people call it. May be empty.
    pub name: String,
    /// The machine that it runs on. May be empty.
    pub host: String,
    /// Its process there; 0: it did not say.
    pub process_id: u32,
    /// What it is: `tidegate-python/0.1.0`.
    pub sdk: String,
    /// The pool that it works for; `None`: it serves functions.
    pub work_pool: Option<WorkPoolName>,
    /// The queues that it takes runs from.
    pub queues: Vec<QueueName>,
    /// How many functions it serves.
    pub n_functions: u32,
    /// What tells it from others.
    pub labels: BTreeMap<String, String>,
    /// Tasks at once; 0: none, or it did not say.
    pub n_task_slots: u32,
    /// Flows at once; 0: none, or it did not say.
    pub n_flow_slots: u32,
}

/// How a worker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerLoad {
    /// When it was last heard.
    pub last_seen_at: Timestamp,
    /// Its free slots for tasks.
    pub n_free_task_slots: u32,
    /// Its free slots for flows.
    pub n_free_flow_slots: u32,
    /// Runs that it holds.
    pub n_runs: u32,
    /// It takes no more.
    pub is_draining: bool,
}

/// How a worker has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerEnd {
    /// It took no more, let its runs end, and closed its stream.
    Drained,
    /// It closed its stream without that.
    Left,
    /// It went silent or broke off. It may come back.
    Lost,
}
