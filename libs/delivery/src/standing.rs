use std::time::Duration;

use tidegate_model::{Timestamp, WorkerId};

use crate::{Function, QueueId};

/// Where a run stands in delivery, for people: it may have moved on when they read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It waits for a worker.
    Ready {
        /// About how many entries of its function in its queue come before it.
        n_ahead: u64,
    },
    /// It waits for its time.
    Delayed {
        /// When that comes.
        due_at: Timestamp,
    },
    /// A worker is about to get it.
    Claimed,
    /// A worker has it.
    Leased {
        /// Which.
        worker_id: WorkerId,
        /// When the lease ends unless the worker is heard; zero: it is over and about to be judged.
        expires_in: Duration,
    },
    /// Nothing is known of it here.
    Unknown,
}

/// Workers of one replica that serve the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Sorted.
    pub queues: Vec<QueueId>,
    /// Sorted.
    pub functions: Vec<Function>,
    /// What they are.
    pub capacity: Capacity,
}

impl Serving {
    /// True where these workers take runs from the queue.
    pub fn serves_queue(&self, queue: &QueueId) -> bool {
        self.queues.binary_search(queue).is_ok()
    }

    /// True where these workers take runs of the function from the queue.
    pub fn serves(&self, queue: &QueueId, function: &Function) -> bool {
        self.serves_queue(queue) && self.functions.binary_search(function).is_ok()
    }
}

/// How many workers there are, and how much they can take at once now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Worker streams.
    pub n_workers: u32,
    /// Their free slots for tasks.
    pub n_free_task_slots: u32,
    /// Their free slots for flows.
    pub n_free_flow_slots: u32,
}

impl std::iter::Sum for Capacity {
    fn sum<I: Iterator<Item = Self>>(capacities: I) -> Self {
        capacities.fold(Self::default(), |sum, one| Self {
            n_workers: sum.n_workers.saturating_add(one.n_workers),
            n_free_task_slots: sum.n_free_task_slots.saturating_add(one.n_free_task_slots),
            n_free_flow_slots: sum.n_free_flow_slots.saturating_add(one.n_free_flow_slots),
        })
    }
}
