mod words;

use std::{collections::BTreeSet, time::Duration};

use tidegate_model::{Namespace, QueueName, RunId, Timestamp, WorkPoolName};
use tidegate_orchestration::{Failure, Holder, Phase, Rate, Run};
use tidegate_store::{EventRow, KeyUse, LimitKey, Queue, QueuePause, RunDetail, Slot, WorkPool};

use crate::{
    DeliveryFacts, DispatchError, Engine, EngineError, KeyScope, Standing,
    queues::queue_of,
    slots::{is_waiting, limits_of},
    work_pools::pool_of,
};

/// Events of a run's history that an explanation has at most: the latest.
const MAX_HAPPENINGS: usize = 50;
/// Keys of a run that are looked at: that of its creation, and those of requests about it.
const MAX_KEYS: usize = 100;
/// Owners of the slots of a limit that an explanation names at most.
const MAX_OWNERS: usize = 5;

/// Why a run is where it is (P10).
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The run.
    pub run: Run,
    /// The answer, in a few sentences for people.
    pub summary: String,
    /// What it waits for now, the decisive one first. Empty for a run that has ended.
    pub waits: Vec<Wait>,
    /// The latest of what happened to it, oldest first.
    pub happenings: Vec<EventRow>,
    /// Why its last failed attempt failed.
    pub failure: Option<Failure>,
    /// The idempotency key that made it; `None`: none did, or it has expired.
    pub key: Option<KeyFacts>,
}

/// The idempotency key that a run was made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// What the key is unique in: one key makes one run there.
    pub scope: KeyScope,
    /// The caller's key.
    pub key: String,
    /// Later calls with it that got this run instead of a new one.
    pub n_answers: u64,
    /// When the last of them came.
    pub answered_at: Option<Timestamp>,
}

impl KeyFacts {
    /// `None`: it is no key that a caller has given.
    fn of(used: KeyUse) -> Option<Self> {
        let scope = KeyScope::given(&used.scope, &used.key)?;
        Some(Self { scope, key: used.key, n_answers: used.n_answers, answered_at: used.answered_at })
    }
}

/// Something that a run waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum Wait {
    /// Its time.
    Time {
        /// When that comes.
        until: Timestamp,
    },
    /// Its queue, to be resumed.
    Queue {
        /// Which.
        queue: QueueName,
        /// That it is paused, by whom and since when.
        pause: QueuePause,
    },
    /// A slot of a concurrency limit.
    Slot {
        /// The limits of which it needs one each, and who has theirs.
        limits: Vec<SlotFacts>,
    },
    /// To be handed to delivery.
    Handover {
        /// Why that has not been done, where it is known.
        cause: Option<String>,
    },
    /// Its work pool, to be resumed.
    WorkPool {
        /// The pool.
        work_pool: WorkPoolName,
        /// Since when it is paused, by whom and why.
        pause: QueuePause,
    },
    /// A worker that takes it.
    Worker {
        /// How many of its function in its queue come before it.
        n_ahead: u64,
        /// Live workers that take runs of its function from its queue and have the labels that it requires.
        n_workers: u32,
        /// Their free slots for runs of its kind.
        n_free_slots: u32,
        /// Live workers that take runs of its function from its queue, whatever their labels.
        n_serving: u32,
    },
    /// Its holder, to say that the code starts.
    Start {
        /// Who has it.
        holder: Holder,
        /// When it is taken away again.
        start_by: Option<Timestamp>,
        /// What keeps it from beginning, as its holder says; empty: nothing is known.
        hindrance: String,
    },
    /// Its code, to end.
    Code {
        /// Who executes it.
        holder: Holder,
        /// How long its holder may stay silent before the run counts as crashed; `None`: not known here.
        lease_left: Option<Duration>,
        /// When it is stopped.
        deadline: Option<Timestamp>,
        /// What keeps its job from beginning, as its holder says: what takes long counts as started.
        hindrance: String,
    },
    /// Someone, to resume it.
    Resume {
        /// Which pause of the code it is in; `None`: it was paused from outside.
        key: Option<String>,
        /// Whose process it waits in.
        holder: Option<Holder>,
        /// When it fails unless it is resumed.
        expires_at: Option<Timestamp>,
    },
    /// Its holder, to stop it.
    Stop {
        /// Who executes it.
        holder: Holder,
        /// When it is closed without the holder.
        close_at: Timestamp,
    },
}

/// A concurrency limit of a run that waits for a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotFacts {
    /// Its name.
    pub name: String,
    /// The limit that binds: itself, or a template; `None`: it is not defined, so it does not bind.
    pub bound_by: Option<String>,
    /// How many slots it has; `None`: any number, or it is not defined.
    pub max_slots: Option<u32>,
    /// How many are taken; 0 where it is not defined.
    pub n_used: u64,
    /// How many may start in a time, where that is bound.
    pub rate: Option<Rate>,
    /// When the rate allows a start again; `None`: it does now, or there is none.
    pub next_token_at: Option<Timestamp>,
    /// The runs that have the slots, or whose code has, the earliest first; not more than a few.
    pub owners: Vec<RunId>,
}

impl SlotFacts {
    /// Of a limit that does not bind.
    fn undefined(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            bound_by: None,
            max_slots: None,
            n_used: 0,
            rate: None,
            next_token_at: None,
            owners: Vec::new(),
        }
    }
}

/// All that an explanation is drawn from.
pub(crate) struct Facts {
    detail: RunDetail,
    happenings: Vec<EventRow>,
    /// For a run that waits for a slot.
    limits: Vec<SlotFacts>,
    /// For a queued run that is SCHEDULED: the settings of its queue.
    queue: Option<Queue>,
    /// For a run of a work pool that is SCHEDULED: the pool.
    work_pool: Option<WorkPool>,
    /// For a queued run that waits for a worker or has one.
    delivery: Option<Result<DeliveryFacts, DispatchError>>,
    key: Option<KeyFacts>,
    now: Timestamp,
}

impl Engine {
    /// Says why a run is where it is. Reads only; what it says of delivery may have changed when it is read.
    pub async fn explain(&self, namespace: &Namespace, run_id: RunId) -> Result<Explanation, EngineError> {
        let detail = self.get(namespace, run_id).await?;
        let after_seq = detail.run.event_seq.saturating_sub(MAX_HAPPENINGS as u64);
        let happenings = self.store().list_events(namespace, run_id, after_seq, MAX_HAPPENINGS).await?;
        let now = self.clock().now();
        let concerns_delivery = match &detail.run.state.phase {
            Phase::Scheduled => detail.run.due_at <= now,
            phase => phase.holder().is_some(),
        };
        let delivery = if concerns_delivery && !detail.run.is_local() {
            Some(self.dispatch().describe(&detail.run).await)
        } else {
            None
        };
        let awaited = if is_waiting(&detail.run) {
            limits_of(&detail.run)
        } else if is_to_begin(&detail.run, now) {
            self.inner.leases.awaited_for(&detail.run)
        } else {
            BTreeSet::new()
        };
        let limits = self.slot_facts(awaited).await?;
        let queue = match queue_of(&detail.run) {
            Some(key) if matches!(detail.run.state.phase, Phase::Scheduled) => {
                self.store().get_queues(&[key]).await?.into_iter().next()
            }
            _ => None,
        };
        let work_pool = match pool_of(&detail.run) {
            Some(key) if matches!(detail.run.state.phase, Phase::Scheduled) => {
                self.store().get_work_pools(&[key]).await?.into_iter().next()
            }
            _ => None,
        };
        let keys = self.store().keys_of_run(namespace, run_id, MAX_KEYS).await?;
        let key = keys.into_iter().find_map(KeyFacts::of);
        Ok(explain(Facts { detail, happenings, limits, queue, work_pool, delivery, key, now }))
    }

    async fn slot_facts(&self, limits: BTreeSet<LimitKey>) -> Result<Vec<SlotFacts>, EngineError> {
        if limits.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.clock().now();
        let keys: Vec<LimitKey> = limits.into_iter().collect();
        let found = self.store().get_limits(&keys, now).await?;
        let mut facts = Vec::with_capacity(keys.len());
        for key in keys {
            let mut limit = SlotFacts::undefined(&key.name);
            if let Some(used) = found.iter().find(|used| used.key == key) {
                let slots = self.store().list_slots(&key, now, MAX_OWNERS).await?;
                let settings = &used.limit.settings;
                limit.bound_by = Some(used.limit.key.name.clone());
                limit.max_slots = settings.max_slots;
                limit.n_used = used.n_used;
                limit.rate = settings.rate;
                limit.next_token_at =
                    settings.rate.map(|rate| rate.free_at(used.arrival)).filter(|free_at| *free_at > now);
                let run =
                    |slot: Slot| if slot.expires_at.is_some() { slot.for_run } else { Some(slot.owner) };
                limit.owners = slots.into_iter().filter_map(run).collect();
            }
            facts.push(limit);
        }
        Ok(facts)
    }
}

/// True for a local run whose next attempt may begin: its process starts that, once it has the slots for it.
fn is_to_begin(run: &Run, now: Timestamp) -> bool {
    let is_due = match run.state.phase {
        Phase::Pending { .. } => true,
        Phase::Scheduled => run.due_at <= now,
        _ => false,
    };
    run.is_local() && is_due
}

fn explain(facts: Facts) -> Explanation {
    let waits = waits(&facts);
    let summary = words::summary(&facts, &waits);
    let Facts { detail, happenings, key, .. } = facts;
    Explanation { run: detail.run, summary, waits, happenings, failure: detail.failure, key }
}

fn waits(facts: &Facts) -> Vec<Wait> {
    let run = &facts.detail.run;
    let pause = facts
        .queue
        .as_ref()
        .and_then(|queue| Some(Wait::Queue { queue: queue.key.name.clone(), pause: queue.pause.clone()? }));
    let pool_pause = facts.work_pool.as_ref().and_then(|pool| {
        Some(Wait::WorkPool { work_pool: pool.key.name.clone(), pause: pool.pause.clone()? })
    });
    let pauses: Vec<Wait> = pause.into_iter().chain(pool_pause).collect();
    let wait = match &run.state.phase {
        Phase::Scheduled if run.due_at > facts.now => {
            return std::iter::once(Wait::Time { until: run.due_at }).chain(pauses).collect();
        }
        Phase::Scheduled => {
            // Workers that could take it do not, while it is paused.
            let is_paused = !pauses.is_empty();
            let concerns = |wait: &Wait| !is_paused || !matches!(wait, Wait::Worker { n_workers: 1.., .. });
            return pauses.into_iter().chain(waits_of_due(facts).into_iter().filter(concerns)).collect();
        }
        // Only one that its process is to start may wait for slots with a holder.
        Phase::Pending { .. } if !facts.limits.is_empty() => Wait::Slot { limits: facts.limits.clone() },
        Phase::Pending { holder, start_by } => {
            Wait::Start { holder: holder.clone(), start_by: *start_by, hindrance: lease_of(facts).1 }
        }
        Phase::Running { holder, deadline } => {
            let (lease_left, hindrance) = lease_of(facts);
            Wait::Code { holder: holder.clone(), lease_left, deadline: *deadline, hindrance }
        }
        Phase::Paused { holder, expires_at } => {
            Wait::Resume { key: run.pause_key.clone(), holder: holder.clone(), expires_at: *expires_at }
        }
        Phase::Cancelling { holder, close_at } => Wait::Stop { holder: holder.clone(), close_at: *close_at },
        Phase::Completed | Phase::Failed | Phase::Crashed | Phase::Cancelled => return Vec::new(),
    };
    vec![wait]
}

/// What a run waits for whose time has come.
fn waits_of_due(facts: &Facts) -> Vec<Wait> {
    let run = &facts.detail.run;
    let mut waits = Vec::new();
    if is_waiting(run) || !facts.limits.is_empty() {
        waits.push(Wait::Slot { limits: facts.limits.clone() });
    }
    match &facts.delivery {
        // A local run waits inside its process, which starts it itself.
        None if waits.is_empty() => waits.push(Wait::Time { until: run.due_at }),
        None => {}
        Some(Err(error)) => waits.push(Wait::Handover { cause: Some(error.to_string()) }),
        Some(Ok(delivery)) => {
            let DeliveryFacts { standing, n_workers, n_free_slots, n_serving } = delivery;
            let n_ahead = if let Standing::Ready { n_ahead } = standing { *n_ahead } else { 0 };
            // One that waits for a slot is handed over when that comes free.
            if *standing == Standing::Unknown && !is_waiting(run) {
                waits.push(Wait::Handover { cause: None });
            }
            if *standing == Standing::Unknown && is_waiting(run) && *n_workers > 0 {
                return waits;
            }
            waits.push(Wait::Worker {
                n_ahead,
                n_workers: *n_workers,
                n_free_slots: *n_free_slots,
                n_serving: *n_serving,
            });
        }
    }
    waits
}

/// How long the lease lasts yet, and what its holder says that keeps the run from beginning.
fn lease_of(facts: &Facts) -> (Option<Duration>, String) {
    match &facts.delivery {
        Some(Ok(DeliveryFacts { standing: Standing::Leased { expires_in, hindrance }, .. })) => {
            (Some(*expires_in), hindrance.clone())
        }
        _ => (None, String::new()),
    }
}

#[cfg(test)]
mod tests;
