use std::time::Duration;

use tidegate_model::{Timestamp, WorkerId};

use crate::{Function, Labels, PoolId, QueueId, Requirements};

/// Where a run stands in delivery, for people: it may have moved on when they read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It waits for a worker.
    Ready {
        /// About how many entries of its function and requirements in its queue come before it: turns by fairness key are
        /// estimated.
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
        /// What keeps the run from beginning, as the worker says; empty: nothing is known.
        hindrance: String,
    },
    /// Nothing is known of it here.
    Unknown,
}

/// Where a ready entry stands among those that take turns with it.
#[derive(Clone, Copy, Debug)]
pub struct Turns {
    /// Entries of its group that come before it.
    pub n_before: u64,
    /// Ready entries of all other groups of its lane.
    pub n_of_others: u64,
    /// Groups that have ready entries in its lane.
    pub n_groups: u64,
    /// Groups whose turn is before that of its own.
    pub n_groups_before: u64,
}

impl Turns {
    /// About how many entries come before it: each of its group waits for a round of the others.
    pub fn n_ahead(&self) -> u64 {
        let of_others = self.n_before.saturating_mul(self.n_groups.saturating_sub(1)) + self.n_groups_before;
        self.n_before + of_others.min(self.n_of_others)
    }
}

/// Workers of one replica that serve the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Sorted.
    pub queues: Vec<QueueId>,
    /// Sorted.
    pub functions: Vec<Function>,
    /// What tells them from others.
    pub labels: Labels,
    /// What they are.
    pub capacity: Capacity,
}

impl Serving {
    /// True where these workers take runs from the queue.
    pub fn serves_queue(&self, queue: &QueueId) -> bool {
        self.queues.binary_search(queue).is_ok()
    }

    /// True where these workers are of the pool.
    pub fn serves_pool(&self, pool: &PoolId) -> bool {
        let is_of = |queue: &QueueId| queue.namespace == pool.namespace;
        self.queues.first().is_some_and(is_of)
            && self.functions.contains(&Function::Pool(pool.work_pool.clone()))
    }

    /// True where these workers take runs of the function from the queue that require no labels.
    pub fn serves(&self, queue: &QueueId, function: &Function) -> bool {
        self.serves_queue(queue) && self.functions.binary_search(function).is_ok()
    }
}

/// Who could take a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Takers {
    /// The workers that have the labels that it requires, too.
    pub able: Capacity,
    /// Workers that serve its function from its queue, whatever their labels.
    pub n_serving: u32,
}

impl Takers {
    /// Those among what was announced.
    pub fn among<'a>(
        servings: impl Iterator<Item = &'a Serving>,
        queue: &QueueId,
        function: &Function,
        requires: &Requirements,
    ) -> Self {
        let (mut able, mut n_serving) = (Vec::new(), 0_u32);
        for serving in servings.filter(|serving| serving.serves(queue, function)) {
            n_serving = n_serving.saturating_add(serving.capacity.n_workers);
            able.extend(requires.are_met_by(&serving.labels).then_some(serving.capacity));
        }
        Self { able: able.into_iter().sum(), n_serving }
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
