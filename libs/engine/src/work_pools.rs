//! Work pools: what people do with them, and what they mean for a claim.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use tidegate_model::{RunId, Timestamp, WorkPoolName, limits};
use tidegate_orchestration::{Run, StateType};
use tidegate_store::{
    Comparison, Count, CountQuery, Field, Filter, QueuePause, RunTx, StoreError, Value, WorkPool, WorkPoolKey,
};

use crate::{
    DispatchError, Engine, EngineError, ask::RequestKey, commit::commit, dispatch::Outbound,
    lane::with_retries, nearest, slots::Freed,
};

/// Which work pool is meant, and who asks.
#[derive(Clone, Debug)]
pub struct WorkPoolAsk {
    /// The pool.
    pub key: WorkPoolKey,
    /// What it is to be as it was read; `None`: whatever it is.
    pub etag: Option<String>,
    /// Who asks, where that is known.
    pub actor: Option<String>,
    /// The same id again changes nothing; `None`: each request counts.
    pub request_id: Option<RunId>,
}

/// What is told about a pool, as far as the engine looks into it.
#[derive(Clone, Debug)]
pub struct PoolSpec {
    /// All of it.
    pub encoded: Bytes,
    /// How many of its runs may be held at once; `None`: any number.
    pub max_slots: Option<u32>,
}

/// What a pool becomes, by what it is. An error leaves it as it is.
pub type PoolChange<'a> = &'a (dyn Fn(Option<&WorkPool>) -> Result<PoolSpec, EngineError> + Send + Sync);

/// A pool, and what goes on in it.
#[derive(Debug)]
pub struct PoolFacts {
    /// The pool.
    pub pool: WorkPool,
    /// Runs that are SCHEDULED for it; `None`: there are so many in the namespace that the count took too long.
    pub waiting: Option<Count>,
    /// Runs that its workers have.
    pub n_held: u64,
    /// Its live workers.
    pub n_workers: Result<u32, DispatchError>,
}

/// By what a state of a pool is known.
pub fn pool_etag(pool: &WorkPool) -> String {
    format!("{:x}-{:x}", pool.version, pool.updated_at.as_micros())
}

/// What becomes of a pool.
enum Change<'a> {
    Put(PoolChange<'a>),
    Pause { by: Option<&'a str>, reason: &'a str },
    Resume,
}

impl Change<'_> {
    const fn verb(&self) -> &'static str {
        match self {
            Self::Put(_) => "put",
            Self::Pause { .. } => "pause",
            Self::Resume => "resume",
        }
    }

    /// The pool after it, and its slots where those change; `None`: it stays as it is.
    fn apply(
        &self,
        key: &WorkPoolKey,
        before: Option<&WorkPool>,
        now: Timestamp,
    ) -> Result<Option<(WorkPool, Option<PoolSpec>)>, EngineError> {
        let next =
            |before: &WorkPool| WorkPool { version: before.version + 1, updated_at: now, ..before.clone() };
        let there = || before.ok_or_else(|| not_found(key, &[]));
        Ok(match self {
            Self::Put(change) => {
                let spec = change(before)?;
                let after = match before {
                    Some(before) if before.spec == spec.encoded => return Ok(None),
                    Some(before) => WorkPool { spec: spec.encoded.clone(), ..next(before) },
                    None => WorkPool {
                        key: key.clone(),
                        version: 1,
                        spec: spec.encoded.clone(),
                        pause: None,
                        created_at: now,
                        updated_at: now,
                    },
                };
                Some((after, Some(spec)))
            }
            Self::Pause { .. } if there()?.pause.is_some() => None,
            Self::Pause { by, reason } => {
                let pause = QueuePause { at: now, by: by.map(str::to_owned), reason: (*reason).to_owned() };
                Some((WorkPool { pause: Some(pause), ..next(there()?) }, None))
            }
            Self::Resume if there()?.pause.is_none() => None,
            Self::Resume => Some((WorkPool { pause: None, ..next(there()?) }, None)),
        })
    }
}

impl Engine {
    /// Makes a pool or changes it. Gives it as it is then, and whether it is new.
    ///
    /// # Errors
    /// `WorkPoolChanged`, `TooManyWorkPools`, and whatever `change` gives.
    pub async fn change_work_pool(
        &self,
        ask: &WorkPoolAsk,
        change: PoolChange<'_>,
    ) -> Result<(WorkPool, bool), EngineError> {
        let changed = self.work_pool_turn(ask, &Change::Put(change)).await?;
        self.pool_slots_changed(&ask.key);
        Ok(changed)
    }

    /// Has no run of a pool be claimed any more.
    ///
    /// # Errors
    /// `WorkPoolNotFound`.
    pub async fn pause_work_pool(&self, ask: &WorkPoolAsk, reason: &str) -> Result<WorkPool, EngineError> {
        let pause = Change::Pause { by: ask.actor.as_deref(), reason };
        Ok(self.work_pool_turn(ask, &pause).await?.0)
    }

    /// Has the runs of a pool be claimed again.
    ///
    /// # Errors
    /// `WorkPoolNotFound`.
    pub async fn resume_work_pool(&self, ask: &WorkPoolAsk) -> Result<WorkPool, EngineError> {
        let (pool, _) = self.work_pool_turn(ask, &Change::Resume).await?;
        self.pool_slots_changed(&ask.key);
        self.tell_pool_resumed(&ask.key).await;
        Ok(pool)
    }

    /// Takes a pool away. False: it was not there.
    ///
    /// # Errors
    /// `WorkPoolChanged`, `WorkPoolInUse`.
    pub async fn delete_work_pool(&self, ask: &WorkPoolAsk) -> Result<bool, EngineError> {
        let _turn = self.inner.queue_turns.take().await?;
        let request = self.work_pool_request(ask, "delete");
        let was_there = with_retries(|| self.try_delete_work_pool(ask, &request)).await??;
        self.pool_slots_changed(&ask.key);
        Ok(was_there)
    }

    /// One pool.
    ///
    /// # Errors
    /// `WorkPoolNotFound`, with names like it.
    pub async fn get_work_pool(&self, key: &WorkPoolKey) -> Result<WorkPool, EngineError> {
        match self.store().get_work_pools(std::slice::from_ref(key)).await?.pop() {
            Some(pool) => Ok(pool),
            None => Err(self.no_work_pool(key).await?),
        }
    }

    /// One pool, and what goes on in it.
    ///
    /// # Errors
    /// `WorkPoolNotFound`, with names like it.
    pub async fn describe_work_pool(&self, key: &WorkPoolKey) -> Result<PoolFacts, EngineError> {
        let pool = self.get_work_pool(key).await?;
        let n_workers = self.pool_workers(key).await;
        let waiting = self.count_waiting_for_pool(key).await?;
        let n_held =
            self.store().count_held_in_work_pool(key, limits::MAX_CONCURRENCY_SLOTS as usize).await?;
        Ok(PoolFacts { pool, waiting, n_held, n_workers })
    }

    /// How many live workers a pool has.
    ///
    /// # Errors
    /// Delivery does not answer.
    pub async fn pool_workers(&self, key: &WorkPoolKey) -> Result<u32, DispatchError> {
        self.dispatch().count_pool_workers(&key.namespace, &key.name).await
    }

    /// The error for a pool that is not there.
    pub async fn no_work_pool(&self, key: &WorkPoolKey) -> Result<EngineError, EngineError> {
        let known = self.store().list_work_pool_names(&key.namespace, limits::MAX_WORK_POOLS).await?;
        Ok(not_found(key, &known))
    }

    async fn count_waiting_for_pool(&self, key: &WorkPoolKey) -> Result<Option<Count>, EngineError> {
        let is_for = Filter::Compare(Field::WorkPool, Comparison::Equal, Value::Text(key.name.to_string()));
        let waits = Filter::Compare(Field::State, Comparison::Equal, Value::State(StateType::Scheduled));
        let filter = Filter::And(vec![is_for, waits]);
        let query =
            CountQuery { namespace: key.namespace.clone(), filter, exact_up_to: limits::MAX_EXACT_COUNT };
        match self.store().count_runs(&query).await {
            Ok(count) => Ok(Some(count)),
            Err(StoreError::TooSlow(cause)) => {
                tracing::warn!(work_pool.name = %key.name, %cause, "work pool {} is told without how many wait for it", key.name);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn work_pool_turn(
        &self,
        ask: &WorkPoolAsk,
        change: &Change<'_>,
    ) -> Result<(WorkPool, bool), EngineError> {
        let _turn = self.inner.queue_turns.take().await?;
        let request = self.work_pool_request(ask, change.verb());
        match with_retries(|| self.try_change_work_pool(ask, change, &request)).await? {
            Err(EngineError::WorkPoolNotFound { .. }) => Err(self.no_work_pool(&ask.key).await?),
            outcome => outcome,
        }
    }

    fn work_pool_request(&self, ask: &WorkPoolAsk, verb: &str) -> RequestKey {
        let scope = format!("work-pool/{verb}:{}", ask.key.name);
        RequestKey::of(ask.request_id, scope, &self.inner.options)
    }

    async fn try_change_work_pool(
        &self,
        ask: &WorkPoolAsk,
        change: &Change<'_>,
        request: &RequestKey,
    ) -> Result<Result<(WorkPool, bool), EngineError>, StoreError> {
        let (store, now, key) = (&*self.inner.store, self.inner.clock.now(), &ask.key);
        let mut tx = store.begin_queue_change(&key.namespace).await?;
        let before = tx.read_work_pools(std::slice::from_ref(key)).await?.pop();
        let named = request.reservation(&key.namespace, now);
        if let Some(before) = &before
            && tx.find_keys(&named, now).await?.iter().any(Option::is_some)
        {
            return Ok(Ok((before.clone(), request.is_own && before.version == 1)));
        }
        let applied = check_etag(ask, before.as_ref()).and_then(|()| change.apply(key, before.as_ref(), now));
        let applied = match applied {
            Ok(applied) => applied,
            Err(error) => return Ok(Err(error)),
        };
        let most = limits::MAX_WORK_POOLS;
        if before.is_none() && tx.count_work_pools(&key.namespace, most).await? >= most {
            return Ok(Err(EngineError::TooManyWorkPools { most }));
        }
        tx.reserve_keys(&named, now).await?;
        let is_new = before.is_none();
        let after = match (applied, before) {
            (Some((after, spec)), _) => {
                tx.put_work_pool(&after, spec.as_ref().map(|spec| spec.max_slots)).await?;
                after
            }
            (None, Some(before)) => before,
            (None, None) => return Ok(Err(not_found(key, &[]))),
        };
        commit(store, tx, &[]).await?;
        Ok(Ok((after, is_new)))
    }

    async fn try_delete_work_pool(
        &self,
        ask: &WorkPoolAsk,
        request: &RequestKey,
    ) -> Result<Result<bool, EngineError>, StoreError> {
        let (store, now, key) = (&*self.inner.store, self.inner.clock.now(), &ask.key);
        let mut tx = store.begin_queue_change(&key.namespace).await?;
        let named = request.reservation(&key.namespace, now);
        if tx.find_keys(&named, now).await?.iter().any(Option::is_some) {
            return Ok(Ok(true));
        }
        let Some(before) = tx.read_work_pools(std::slice::from_ref(key)).await?.pop() else {
            return Ok(Ok(false));
        };
        if let Err(error) = check_etag(ask, Some(&before)) {
            return Ok(Err(error));
        }
        if let Some(deployment) = tx.delete_work_pool(key).await? {
            let (name, deployment) = (key.name.to_string(), deployment.to_string());
            return Ok(Err(EngineError::WorkPoolInUse { name, deployment }));
        }
        tx.reserve_keys(&named, now).await?;
        commit(store, tx, &[]).await?;
        Ok(Ok(true))
    }

    /// There may be slots for runs that wait for one of the pool.
    fn pool_slots_changed(&self, key: &WorkPoolKey) {
        self.send(Outbound { freed: Freed::from([(key.limit(), u64::MAX)]), ..Outbound::default() });
    }

    async fn tell_pool_resumed(&self, key: &WorkPoolKey) {
        if let Err(error) = self.dispatch().work_pool_resumed(&key.namespace, &key.name).await {
            tracing::warn!(work_pool.name = %key.name, %error, "task-queue was not told of the resume; it finds out within seconds");
        }
    }
}

fn check_etag(ask: &WorkPoolAsk, before: Option<&WorkPool>) -> Result<(), EngineError> {
    match (&ask.etag, before) {
        (Some(asked), Some(before)) if *asked != pool_etag(before) => {
            Err(EngineError::WorkPoolChanged { name: ask.key.name.to_string() })
        }
        _ => Ok(()),
    }
}

/// The error for a pool that is not there, though these are.
pub(crate) fn not_found(key: &WorkPoolKey, known: &[WorkPoolName]) -> EngineError {
    let nearest = nearest::nearest(key.name.as_str(), known.iter().map(WorkPoolName::as_str));
    let nearest = nearest.into_iter().map(str::to_owned).collect();
    EngineError::WorkPoolNotFound { name: key.name.to_string(), nearest, is_any: !known.is_empty() }
}

/// The pool of a run, where it has one.
pub(crate) fn pool_of(run: &Run) -> Option<WorkPoolKey> {
    Some(WorkPoolKey { namespace: run.namespace.clone(), name: run.work_pool.clone()? })
}

/// The work pools of the runs that a transaction claims. Nobody changes them before its end.
#[derive(Default)]
pub(crate) struct WorkPools {
    paused: HashMap<WorkPoolKey, QueuePause>,
}

impl WorkPools {
    /// By one statement for all of these runs.
    pub async fn of<'a>(tx: &mut dyn RunTx, runs: impl Iterator<Item = &'a Run>) -> Result<Self, StoreError> {
        let keys: BTreeSet<WorkPoolKey> = runs.filter_map(pool_of).collect();
        if keys.is_empty() {
            return Ok(Self::default());
        }
        let found = tx.read_work_pools(&keys.into_iter().collect::<Vec<_>>()).await?;
        Ok(Self { paused: found.into_iter().filter_map(|pool| Some((pool.key, pool.pause?))).collect() })
    }

    /// The name of the run's pool where that is paused.
    pub fn paused(&self, run: &Run) -> Option<String> {
        let key = pool_of(run).filter(|key| self.paused.contains_key(key))?;
        Some(key.name.to_string())
    }
}

/// Those of these runs whose work pool is paused.
pub(crate) async fn paused_among(
    store: &dyn tidegate_store::RunStore,
    runs: &[Run],
) -> Result<Vec<RunId>, StoreError> {
    let keys: BTreeSet<WorkPoolKey> = runs.iter().filter_map(pool_of).collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let found = store.get_work_pools(&keys.into_iter().collect::<Vec<_>>()).await?;
    let paused: BTreeSet<WorkPoolKey> =
        found.into_iter().filter(|pool| pool.pause.is_some()).map(|pool| pool.key).collect();
    let is_paused = |run: &&Run| pool_of(run).is_some_and(|key| paused.contains(&key));
    Ok(runs.iter().filter(is_paused).map(|run| run.id).collect())
}
