//! Queues: their settings, what people do with them, and what they mean for a claim.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tidegate_model::{Namespace, QueueName, RunId, Timestamp, limits};
use tidegate_orchestration::{Placement, Run, StateType};
use tidegate_store::{
    Comparison, Count, CountQuery, Field, Filter, Queue, QueueKey, QueuePause, RunStore, RunTx, StoreError,
    Value,
};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    DispatchError, Engine, EngineError, QueueDepth, QueueTraffic, ask::RequestKey, commit::commit,
    dispatch::Outbound, lane::with_retries, slots::Freed,
};

/// Changes of queues that may wait in a process.
const N_CHANGES_WAITING: usize = 16;

/// Which queue is meant, and who asks.
#[derive(Clone, Debug)]
pub struct QueueAsk {
    /// The queue.
    pub key: QueueKey,
    /// Who asks, where that is known.
    pub actor: Option<String>,
    /// The same id again changes nothing; `None`: each request counts.
    pub request_id: Option<RunId>,
}

/// A queue as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueView {
    /// Which.
    pub key: QueueKey,
    /// Its settings; `None`: it has none.
    pub settings: Option<Queue>,
    /// How much delivery has of it; `None`: delivery does not answer.
    pub depth: Option<QueueDepth>,
}

/// A queue, and what goes on in it.
#[derive(Debug)]
pub struct QueueFacts {
    /// Which.
    pub key: QueueKey,
    /// Its settings; `None`: it has none.
    pub settings: Option<Queue>,
    /// What delivery knows of it.
    pub traffic: Result<QueueTraffic, DispatchError>,
    /// Runs that are SCHEDULED in it; `None`: there are so many in the namespace that the count took too long.
    pub waiting: Option<Count>,
    /// Of these, those that wait for a slot of the queue.
    pub n_awaiting_slot: u64,
    /// Runs that a worker has.
    pub n_held: u64,
}

/// What becomes of a queue's settings.
enum Change<'a> {
    Put { max_slots: Option<u32> },
    Delete,
    Pause { by: Option<&'a str>, reason: &'a str },
    Resume,
}

impl Change<'_> {
    const fn verb(&self) -> &'static str {
        match self {
            Self::Put { .. } => "put",
            Self::Delete => "delete",
            Self::Pause { .. } => "pause",
            Self::Resume => "resume",
        }
    }

    /// The settings after it, and whether they differ from those before; `None`: there are none.
    fn apply(&self, key: &QueueKey, before: Option<&Queue>, now: Timestamp) -> Option<(Queue, bool)> {
        let settings = || {
            let new =
                || Queue { key: key.clone(), max_slots: None, pause: None, created_at: now, updated_at: now };
            before.cloned().unwrap_or_else(new)
        };
        match *self {
            Self::Put { max_slots } => Some((Queue { max_slots, updated_at: now, ..settings() }, true)),
            Self::Delete => None,
            Self::Pause { .. } if before.is_some_and(|queue| queue.pause.is_some()) => {
                Some((settings(), false))
            }
            Self::Pause { by, reason } => {
                let pause = QueuePause { at: now, by: by.map(str::to_owned), reason: reason.to_owned() };
                Some((Queue { pause: Some(pause), updated_at: now, ..settings() }, true))
            }
            Self::Resume => {
                let before = before?;
                let resumed = Queue { pause: None, updated_at: now, ..before.clone() };
                Some(if before.pause.is_some() { (resumed, true) } else { (before.clone(), false) })
            }
        }
    }
}

/// Lets changes of queues through one by one: each keeps a connection while it waits for claims.
pub(crate) struct QueueTurns {
    places: Semaphore,
    turn: Semaphore,
}

impl Default for QueueTurns {
    fn default() -> Self {
        Self { places: Semaphore::new(1 + N_CHANGES_WAITING), turn: Semaphore::new(1) }
    }
}

impl QueueTurns {
    /// Waits for the turn of a change.
    pub(crate) async fn take(&self) -> Result<[SemaphorePermit<'_>; 2], EngineError> {
        let place = self.places.try_acquire().map_err(|_| EngineError::Overloaded)?;
        let turn = self.turn.acquire().await.map_err(|_| EngineError::Draining)?;
        Ok([turn, place])
    }
}

impl Engine {
    /// Sets how many runs of a queue may be held at once. What is held already counts.
    pub async fn put_queue(&self, ask: &QueueAsk, max_slots: Option<u32>) -> Result<QueueView, EngineError> {
        let put = Change::Put { max_slots };
        let (_, settings) = self.change_queue(ask, &put).await?;
        self.queue_slots_changed(&ask.key);
        Ok(view(ask, settings))
    }

    /// Takes the settings of a queue away. False: it had none.
    pub async fn delete_queue(&self, ask: &QueueAsk) -> Result<bool, EngineError> {
        let (was_there, _) = self.change_queue(ask, &Change::Delete).await?;
        self.queue_slots_changed(&ask.key);
        self.tell_resumed(&ask.key).await;
        Ok(was_there)
    }

    /// Has no run of a queue be claimed any more.
    pub async fn pause_queue(&self, ask: &QueueAsk, reason: &str) -> Result<QueueView, EngineError> {
        let pause = Change::Pause { by: ask.actor.as_deref(), reason };
        let (_, settings) = self.change_queue(ask, &pause).await?;
        Ok(view(ask, settings))
    }

    /// Has the runs of a queue be claimed again.
    pub async fn resume_queue(&self, ask: &QueueAsk) -> Result<QueueView, EngineError> {
        let (_, settings) = self.change_queue(ask, &Change::Resume).await?;
        self.queue_slots_changed(&ask.key);
        self.tell_resumed(&ask.key).await;
        Ok(view(ask, settings))
    }

    /// A queue, and what goes on in it.
    pub async fn get_queue(&self, key: &QueueKey) -> Result<QueueFacts, EngineError> {
        let store = self.store();
        let settings = store.get_queues(std::slice::from_ref(key)).await?.into_iter().next();
        let traffic = self.dispatch().describe_queue(&key.namespace, &key.name).await;
        let waiting = self.count_waiting(key).await?;
        let n_held = store.count_held(key, limits::MAX_CONCURRENCY_SLOTS as usize).await?;
        let n_awaiting_slot = store.count_waits(&[key.limit()]).await?.into_iter().sum();
        Ok(QueueFacts { key: key.clone(), settings, traffic, waiting, n_awaiting_slot, n_held })
    }

    /// By state, which has an index: so all that wait in the namespace are looked at.
    async fn count_waiting(&self, key: &QueueKey) -> Result<Option<Count>, EngineError> {
        let is_in = Filter::Compare(Field::Queue, Comparison::Equal, Value::Text(key.name.to_string()));
        let waits = Filter::Compare(Field::State, Comparison::Equal, Value::State(StateType::Scheduled));
        let filter = Filter::And(vec![is_in, waits]);
        let query =
            CountQuery { namespace: key.namespace.clone(), filter, exact_up_to: limits::MAX_EXACT_COUNT };
        match self.store().count_runs(&query).await {
            Ok(count) => Ok(Some(count)),
            Err(StoreError::TooSlow(cause)) => {
                tracing::warn!(queue.name = %key.name, %cause, "queue {} is told without how many wait in it", key.name);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Up to `limit` queues of a namespace whose names come after `after`, by name: those with settings, and those in use.
    pub async fn list_queues(
        &self,
        namespace: &Namespace,
        after: Option<&QueueName>,
        limit: usize,
    ) -> Result<Vec<QueueView>, EngineError> {
        let in_use = self.dispatch().list_queues(namespace, after, limit).await;
        let in_use = in_use.map_err(|error| EngineError::DeliveryUnavailable { cause: error.to_string() })?;
        let view = |name: QueueName| {
            let key = QueueKey { namespace: namespace.clone(), name: name.clone() };
            (name, QueueView { key, settings: None, depth: Some(QueueDepth::default()) })
        };
        let mut views: BTreeMap<QueueName, QueueView> = BTreeMap::new();
        for (name, depth) in in_use {
            let (name, found) = view(name);
            views.insert(name, QueueView { depth: Some(depth), ..found });
        }
        for settings in self.store().list_queues(namespace, after, limit).await? {
            let (name, new) = view(settings.key.name.clone());
            views.entry(name).or_insert(new).settings = Some(settings);
        }
        // What comes after the last of either list is not whole.
        Ok(views.into_values().take(limit).collect())
    }

    /// Gives whether there were settings before, and those after it.
    async fn change_queue(
        &self,
        ask: &QueueAsk,
        change: &Change<'_>,
    ) -> Result<(bool, Option<Queue>), EngineError> {
        let _turn = self.inner.queue_turns.take().await?;
        let scope = format!("queue/{}:{}", change.verb(), ask.key.name);
        let request = RequestKey::of(ask.request_id, scope, &self.inner.options);
        with_retries(|| self.try_change_queue(&ask.key, change, &request)).await
    }

    async fn try_change_queue(
        &self,
        key: &QueueKey,
        change: &Change<'_>,
        request: &RequestKey,
    ) -> Result<(bool, Option<Queue>), StoreError> {
        let (store, now) = (&*self.inner.store, self.inner.clock.now());
        let mut tx = store.begin_queue_change(&key.namespace).await?;
        let before = tx.read_queues(std::slice::from_ref(key)).await?.into_iter().next();
        let named = request.reservation(&key.namespace, now);
        if tx.find_keys(&named, now).await?.iter().any(Option::is_some) {
            return Ok((true, before));
        }
        if before.is_none() && matches!(change, Change::Delete) {
            // Told as an error, so that a repeat is to be told alike.
            return Ok((false, None));
        }
        tx.reserve_keys(&named, now).await?;
        let had_limit = before.as_ref().is_some_and(|queue| queue.max_slots.is_some());
        let after = match change.apply(key, before.as_ref(), now) {
            Some((after, true)) => {
                tx.put_queue(&after).await?;
                if after.max_slots.is_some() && !had_limit {
                    tx.hold_queue_slots(key, now).await?;
                }
                Some(after)
            }
            Some((unchanged, false)) => Some(unchanged),
            None if matches!(change, Change::Delete) => {
                tx.delete_queue(key).await?;
                None
            }
            None => None,
        };
        commit(store, tx, &[]).await?;
        Ok((before.is_some(), after))
    }

    /// There may be slots for runs that wait for one of the queue.
    fn queue_slots_changed(&self, key: &QueueKey) {
        self.send(Outbound { freed: Freed::from([(key.limit(), u64::MAX)]), ..Outbound::default() });
    }

    async fn tell_resumed(&self, key: &QueueKey) {
        if let Err(error) = self.dispatch().queue_resumed(&key.namespace, &key.name).await {
            tracing::warn!(queue.name = %key.name, %error, "task-queue was not told of the resume; it finds out within seconds");
        }
    }
}

fn view(ask: &QueueAsk, settings: Option<Queue>) -> QueueView {
    QueueView { key: ask.key.clone(), settings, depth: None }
}

/// The queue of a run; `None`: it is local.
pub(crate) fn queue_of(run: &Run) -> Option<QueueKey> {
    let Placement::Queue(name) = &run.placement else { return None };
    Some(QueueKey { namespace: run.namespace.clone(), name: name.clone() })
}

/// Those of these runs that are in a paused queue.
pub(crate) async fn paused_among(store: &dyn RunStore, runs: &[Run]) -> Result<Vec<RunId>, StoreError> {
    let keys: BTreeSet<QueueKey> = runs.iter().filter_map(queue_of).collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let found = store.get_queues(&keys.into_iter().collect::<Vec<_>>()).await?;
    let paused: BTreeSet<QueueKey> =
        found.into_iter().filter(|queue| queue.pause.is_some()).map(|queue| queue.key).collect();
    let is_paused = |run: &&Run| queue_of(run).is_some_and(|key| paused.contains(&key));
    Ok(runs.iter().filter(is_paused).map(|run| run.id).collect())
}

/// The settings of the queues of the runs that a transaction claims. Nobody changes them before its end.
#[derive(Default)]
pub(crate) struct Queues {
    found: HashMap<QueueKey, Queue>,
}

impl Queues {
    /// By one statement for all of these runs.
    pub async fn of<'a>(tx: &mut dyn RunTx, runs: impl Iterator<Item = &'a Run>) -> Result<Self, StoreError> {
        let keys: BTreeSet<QueueKey> = runs.filter_map(queue_of).collect();
        if keys.is_empty() {
            return Ok(Self::default());
        }
        let found = tx.read_queues(&keys.into_iter().collect::<Vec<_>>()).await?;
        Ok(Self { found: found.into_iter().map(|queue| (queue.key.clone(), queue)).collect() })
    }

    fn get(&self, run: &Run) -> Option<&Queue> {
        if self.found.is_empty() { None } else { self.found.get(&queue_of(run)?) }
    }

    /// True where the run's queue bounds how many of its runs are held.
    pub fn is_bounded(&self, run: &Run) -> bool {
        self.get(run).is_some_and(|queue| queue.max_slots.is_some())
    }

    /// The name of the run's queue where that is paused.
    pub fn paused(&self, run: &Run) -> Option<String> {
        self.get(run).filter(|queue| queue.pause.is_some()).map(|queue| queue.key.name.to_string())
    }
}
