use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use tidegate_model::{Epoch, Namespace, Payload, RunId, ScheduleId, SessionId, Timestamp};
use tidegate_orchestration::{Draft, Placement, Rejection, Run, StateName, StateType, Step, create};
use tidegate_store::{CacheEntry, EventRow, KeyOwner, KeyReservation, NewRun, RunStore, RunTx, StoreError};

use crate::{
    Deploy, EngineError, KeyScope,
    adopt::{ChildCall, hand_on},
    cached::{Served, outdated},
    commit::commit,
    deploy::Batch,
    dispatch::Outbound,
    engine::{Lane, Options},
    event,
    lane::{LaneQueue, Request, with_retries, write_batch},
    metrics::{BATCH_SECONDS, BATCH_SIZE},
    objects::Objects,
};

/// A run to be created.
#[derive(Clone, Debug)]
pub struct Create {
    /// What it is to be.
    pub draft: Draft,
    /// What it is called with.
    pub parameters: Option<Payload>,
    /// What a worker of its work pool is to start, the encoded message `tidegate.v1.Job`; its deployment gives it.
    pub job: Option<Bytes>,
    /// A hash of the parameters, to tell a repeat from a misuse of the key.
    pub params_hash: [u8; 32],
    /// One key, one run: unique in its [`KeyScope`].
    pub idempotency_key: Option<String>,
    /// With a used key and other parameters: the existing run instead of an error.
    pub use_existing: bool,
    /// What serves for its cache key serves no longer, so that it is executed.
    pub refresh_cache: bool,
    /// True where the key is that of a call in an attempt of the parent: what an earlier attempt made of it and did not
    /// bring to completion is this one's to carry out (P4).
    pub is_child_call: bool,
    /// The epoch under which the caller executes the parent, where it says so: of an older one no child is made.
    pub parent_epoch: Option<Epoch>,
    /// The schedule whose time it is for, which is its key.
    pub schedule: Option<ScheduleId>,
    /// Who asks, where that is known.
    pub actor: Option<String>,
    /// For a run of a deployment, which the draft names: makes the draft whole.
    pub deploy: Option<Arc<dyn Deploy>>,
}

/// What became of a create.
#[derive(Clone, Debug)]
pub struct Created {
    /// The run.
    pub run: Run,
    /// False when its key or id had made it before.
    pub created: bool,
    /// True for the child of an earlier attempt that is now the session's to execute.
    pub adopted: bool,
}

impl Create {
    /// What its key is unique in.
    pub(crate) fn scope(&self) -> KeyScope {
        match self.schedule {
            Some(schedule) => KeyScope::Schedule(schedule),
            None => KeyScope::of(&self.draft, self.is_child_call),
        }
    }
}

type Outcome = Result<Created, EngineError>;

impl Request for Create {
    /// Siblings take one lane: two that share a parent's row in turn would keep its cancel waiting.
    fn lane_key(&self) -> RunId {
        self.draft.parent.unwrap_or(self.draft.id)
    }

    fn size(&self) -> usize {
        self.parameters.as_ref().map_or(0, |parameters| parameters.data.len())
    }
}

pub(crate) async fn run_create_lane(mut queue: LaneQueue<Create, Created>, lane: Lane) {
    while let Some(batch) = queue.next_batch().await {
        let started = tokio::time::Instant::now();
        ::metrics::histogram!(BATCH_SIZE, "lane" => "creates").record(batch.len() as f64);
        write_batch(batch, |creates| {
            let lane = &lane;
            async move {
                let batch = Batch::of(&*lane.store, &creates).await?;
                let (plans, outbound) = write(&*lane.store, &batch, lane.clock.now(), &lane.options).await?;
                lane.send(outbound);
                let found = find_existing(lane, &batch.creates, &plans).await;
                Ok(outcomes(&batch.creates, plans, &found))
            }
        })
        .await;
        ::metrics::histogram!(BATCH_SECONDS, "lane" => "creates").record(started.elapsed());
    }
}

/// What one item of a batch comes to.
pub(crate) enum Plan {
    /// A new run.
    Insert(Box<Step>),
    /// A run that is there already: by its key, or by its own id.
    Existing(RunId),
    /// It cannot be.
    Refused(EngineError),
}

async fn write(
    store: &dyn RunStore,
    batch: &Batch<'_>,
    now: Timestamp,
    options: &Options,
) -> Result<(Vec<Plan>, Outbound), StoreError> {
    let mut taken = HashSet::new();
    loop {
        match try_write(store, batch, &taken, now, options).await? {
            Written::Committed(plans, outbound) => return Ok((plans, outbound)),
            // Once more without them.
            Written::Collided(items) => taken.extend(items),
        }
    }
}

/// What an attempt to write a batch comes to.
enum Written {
    Committed(Vec<Plan>, Outbound),
    /// Nothing is written: the ids of these items are those of other runs, and their keys are not to lead there.
    Collided(Vec<usize>),
}

async fn try_write(
    store: &dyn RunStore,
    batch: &Batch<'_>,
    taken: &HashSet<usize>,
    now: Timestamp,
    options: &Options,
) -> Result<Written, StoreError> {
    let mut tx = store.begin().await?;
    match insert(&mut *tx, batch, taken, now, options).await? {
        Inserted::Whole { plans, outbound, events } => {
            commit(store, tx, &events).await?;
            Ok(Written::Committed(plans, outbound))
        }
        Inserted::Collided(items) => Ok(Written::Collided(items)),
    }
}

/// What the creates of a batch come to in a transaction that is still to be committed.
pub(crate) enum Inserted {
    /// All of them are decided, and what is new is written.
    Whole {
        /// What each comes to.
        plans: Vec<Plan>,
        /// What is to be done behind the commit.
        outbound: Outbound,
        /// What was appended.
        events: Vec<EventRow>,
    },
    /// The ids of these items are those of other runs: the transaction is to be given up.
    Collided(Vec<usize>),
}

/// Decides the creates of a batch, and writes those that are new.
pub(crate) async fn insert<'a>(
    tx: &mut dyn RunTx,
    batch: &'a Batch<'_>,
    taken: &HashSet<usize>,
    now: Timestamp,
    options: &Options,
) -> Result<Inserted, StoreError> {
    let creates: &'a [Create] = &batch.creates;
    let parent_ids: BTreeSet<RunId> = creates.iter().filter_map(|create| create.draft.parent).collect();
    let parents: HashMap<RunId, Run> = if parent_ids.is_empty() {
        HashMap::new()
    } else {
        let ids: Vec<_> = parent_ids.into_iter().collect();
        tx.share_runs(&ids).await?.into_iter().map(|run| (run.id, run)).collect()
    };
    let sessions: BTreeSet<SessionId> = creates.iter().filter_map(|create| session(&create.draft)).collect();
    let sessions: HashMap<SessionId, Namespace> = if sessions.is_empty() {
        HashMap::new()
    } else {
        let ids: Vec<_> = sessions.into_iter().collect();
        tx.live_sessions(&ids, now).await?.into_iter().collect()
    };
    let cached = creates
        .iter()
        .filter(|create| !create.refresh_cache)
        .filter_map(|create| Some((&create.draft.namespace, create.draft.cache.as_ref()?)));
    let served = Served::find(tx, cached, now).await?;
    let parameters = |create: &'a Create| Some((&create.draft.namespace, create.parameters.as_ref()?));
    let objects = Objects::of(tx, creates.iter().filter_map(parameters), now).await?;
    let standing = Standing { parents, sessions, served, objects };
    let mut plans: Vec<Plan> = creates.iter().map(|create| plan(create, &standing, now)).collect();
    for (idx, error) in &batch.refused {
        plans[*idx] = Plan::Refused(error.clone());
    }
    for idx in taken {
        plans[*idx] = Plan::Refused(EngineError::IdReused { run_id: creates[*idx].draft.id });
    }

    find_earlier(tx, creates, &mut plans, now, options).await?;

    let keyed: Vec<usize> = (0..creates.len())
        .filter(|idx| creates[*idx].idempotency_key.is_some() && matches!(plans[*idx], Plan::Insert(_)))
        .collect();
    if !keyed.is_empty() {
        let keys: Vec<_> = keyed.iter().filter_map(|idx| reservation(&creates[*idx], now, options)).collect();
        let owners = tx.reserve_keys(&keys, now).await?;
        let mut answered = BTreeMap::<_, (KeyReservation, u64)>::new();
        for ((idx, owner), key) in keyed.into_iter().zip(owners).zip(keys) {
            let create = &creates[idx];
            // Its own reservation has its own hash.
            if owner.run_id != create.draft.id || owner.params_hash != create.params_hash {
                plans[idx] = owned(create, owner);
            }
            // What a person has given as a key is told to who asks about the run; calls of a later attempt and times of
            // a schedule come again by themselves.
            let is_given = !create.is_child_call && create.schedule.is_none();
            if is_given && matches!(plans[idx], Plan::Existing(_)) {
                let name = (key.namespace.clone(), key.scope.clone(), key.key.clone());
                answered.entry(name).or_insert((key, 0)).1 += 1;
            }
        }
        if !answered.is_empty() {
            tx.note_answers(&answered.into_values().collect::<Vec<_>>(), now).await?;
        }
    }

    let (mut rows, mut seen) = (Vec::with_capacity(creates.len()), HashSet::with_capacity(creates.len()));
    let mut repeats = Vec::new();
    let mut outbound = Outbound { enqueue: Vec::with_capacity(creates.len()), ..Outbound::default() };
    for (idx, (plan, create)) in plans.iter_mut().zip(creates).enumerate() {
        let Plan::Insert(step) = plan else { continue };
        if !seen.insert(step.run.id) {
            *plan = Plan::Existing(create.draft.id);
            repeats.push(idx);
            continue;
        }
        let enqueued_at = outbound.add(step, now);
        rows.push(NewRun {
            run: step.run.clone(),
            parameters: create.parameters.clone(),
            job: create.job.clone(),
            enqueued_at,
        });
    }
    let inserted = if rows.is_empty() { Vec::new() } else { tx.insert_runs(&rows).await? };
    let is_new: HashMap<RunId, bool> = rows.iter().map(|row| row.run.id).zip(inserted).collect();
    let mut events = Vec::with_capacity(rows.len());
    for (idx, (plan, create)) in plans.iter_mut().zip(creates).enumerate() {
        let Plan::Insert(step) = plan else { continue };
        if is_new.get(&step.run.id) == Some(&true) {
            events.extend(event::rows(step, None, create.actor.as_deref()));
        } else {
            *plan = Plan::Existing(step.run.id);
            repeats.push(idx);
        }
    }
    if !collided(tx, creates, repeats).await?.is_empty() {
        // All that ever could: another turn for each would hold up the lane.
        return Ok(Inserted::Collided(collided(tx, creates, (0..creates.len()).collect()).await?));
    }
    let copies: Vec<(RunId, RunId)> =
        creates.iter().zip(&plans).filter_map(|(create, plan)| standing.copy(create, plan)).collect();
    if !copies.is_empty() {
        tx.copy_results(&copies).await?;
    }
    let refreshed: Vec<CacheEntry> =
        creates.iter().zip(&plans).filter_map(|(create, plan)| refresh(create, plan, now)).collect();
    if !refreshed.is_empty() {
        tx.put_cache_keys(&refreshed).await?;
    }
    if !events.is_empty() {
        tx.append_events(&events).await?;
    }
    // A run that was there before has been handed over before.
    outbound.enqueue.retain(|run| is_new.get(&run.id) == Some(&true));
    Ok(Inserted::Whole { plans, outbound, events })
}

/// Those of the items with a key whose id is another run's: a key that is reserved for it would lead there.
async fn collided(
    tx: &mut dyn RunTx,
    creates: &[Create],
    mut items: Vec<usize>,
) -> Result<Vec<usize>, StoreError> {
    items.retain(|idx| creates[*idx].idempotency_key.is_some());
    if items.is_empty() {
        return Ok(items);
    }
    let ids: BTreeSet<RunId> = items.iter().map(|idx| creates[*idx].draft.id).collect();
    let runs = tx.share_runs(&ids.into_iter().collect::<Vec<_>>()).await?;
    let runs: HashMap<RunId, Run> = runs.into_iter().map(|run| (run.id, run)).collect();
    items.retain(|idx| {
        let draft = &creates[*idx].draft;
        runs.get(&draft.id).is_some_and(|run| !is_made_by(run, &creates[*idx]))
    });
    Ok(items)
}

/// False where the run is another one that has the same id.
fn is_made_by(run: &Run, create: &Create) -> bool {
    let draft = &create.draft;
    // Where the key led to it: the same key in another parent is that of the same run.
    let is_elsewhere = run.id != draft.id && matches!(create.scope(), KeyScope::Deployment(_));
    run.namespace == draft.namespace
        && run.kind == draft.kind
        && run.name == draft.name
        && run.deployment == draft.deployment
        && (run.parent == draft.parent || is_elsewhere)
}

/// Idempotency is decided first: what was created before stands, also where it could not be created now.
async fn find_earlier(
    tx: &mut dyn RunTx,
    creates: &[Create],
    plans: &mut [Plan],
    now: Timestamp,
    options: &Options,
) -> Result<(), StoreError> {
    // A child call whose session is lost finds nothing: nobody could carry it out.
    let is_lost = |idx: usize| {
        creates[idx].is_child_call && matches!(plans[idx], Plan::Refused(EngineError::SessionLost))
    };
    let refused: Vec<usize> =
        (0..creates.len()).filter(|idx| matches!(plans[*idx], Plan::Refused(_)) && !is_lost(*idx)).collect();
    if refused.is_empty() {
        return Ok(());
    }
    let ids: Vec<RunId> = refused.iter().map(|idx| creates[*idx].draft.id).collect();
    let earlier: HashSet<RunId> = tx.share_runs(&ids).await?.into_iter().map(|run| run.id).collect();
    let keyed: Vec<usize> =
        refused.iter().copied().filter(|idx| creates[*idx].idempotency_key.is_some()).collect();
    let keys: Vec<_> = keyed.iter().filter_map(|idx| reservation(&creates[*idx], now, options)).collect();
    let owners = if keys.is_empty() { Vec::new() } else { tx.find_keys(&keys, now).await? };
    let owners: HashMap<usize, KeyOwner> =
        keyed.into_iter().zip(owners).filter_map(|(idx, owner)| Some((idx, owner?))).collect();
    for idx in refused {
        let create = &creates[idx];
        if let Some(owner) = owners.get(&idx) {
            plans[idx] = owned(create, *owner);
        } else if earlier.contains(&create.draft.id) {
            plans[idx] = Plan::Existing(create.draft.id);
        }
    }
    Ok(())
}

/// What the owner of its key makes of an item.
fn owned(create: &Create, owner: KeyOwner) -> Plan {
    if owner.params_hash == create.params_hash || create.use_existing {
        Plan::Existing(owner.run_id)
    } else {
        Plan::Refused(EngineError::KeyReused { run_id: owner.run_id })
    }
}

fn session(draft: &Draft) -> Option<SessionId> {
    if let Placement::Session(session) = draft.placement { Some(session) } else { None }
}

/// What the runs of a batch lean on.
struct Standing {
    parents: HashMap<RunId, Run>,
    sessions: HashMap<SessionId, Namespace>,
    served: Served,
    objects: Objects,
}

impl Standing {
    /// The run whose result serves for one that may start now.
    fn cached_from(&self, create: &Create, now: Timestamp) -> Option<RunId> {
        let draft = &create.draft;
        let may_take = !create.refresh_cache && draft.due_at.is_none_or(|due_at| due_at <= now);
        self.served.get(&draft.namespace, draft.cache.as_ref()).filter(|_| may_take)
    }

    /// Whose result becomes that of whom, for a run that is made as `Cached`.
    fn copy(&self, create: &Create, plan: &Plan) -> Option<(RunId, RunId)> {
        let Plan::Insert(step) = plan else { return None };
        let is_cached = step.run.state.name == StateName::Cached;
        let from = self.served.get(&create.draft.namespace, create.draft.cache.as_ref())?;
        is_cached.then_some((from, step.run.id))
    }
}

fn plan(create_one: &Create, standing: &Standing, now: Timestamp) -> Plan {
    let draft = &create_one.draft;
    if session(draft).is_some_and(|session| standing.sessions.get(&session) != Some(&draft.namespace)) {
        return Plan::Refused(EngineError::SessionLost);
    }
    let parent = match draft.parent {
        None => None,
        Some(id) => match standing.parents.get(&id).filter(|parent| parent.namespace == draft.namespace) {
            Some(parent) => Some(parent),
            None => return Plan::Refused(EngineError::ParentNotFound { run_id: id }),
        },
    };
    if let (Some(parent), Some(epoch)) = (parent, create_one.parent_epoch)
        && parent.epoch != epoch
    {
        return Plan::Refused(Rejection::StaleEpoch { current: parent.epoch }.into());
    }
    if let Err(error) = standing.objects.check(&draft.namespace, create_one.parameters.as_ref()) {
        return Plan::Refused(error);
    }
    let draft = Draft { cached_from: standing.cached_from(create_one, now), ..draft.clone() };
    match create(draft, parent, now) {
        Ok(step) => Plan::Insert(Box::new(step)),
        Err(rejection) => Plan::Refused(rejection.into()),
    }
}

/// What keeps the results of before from a run that is to refresh them, here and at its turn.
fn refresh(create: &Create, plan: &Plan, now: Timestamp) -> Option<CacheEntry> {
    match plan {
        Plan::Insert(step) if create.refresh_cache => outdated(&step.run, now),
        _ => None,
    }
}

fn reservation(create: &Create, now: Timestamp, options: &Options) -> Option<KeyReservation> {
    let draft = &create.draft;
    Some(KeyReservation {
        namespace: draft.namespace.clone(),
        scope: create.scope().to_string(),
        key: create.idempotency_key.clone()?,
        run_id: draft.id,
        params_hash: create.params_hash,
        expires_at: match create.schedule {
            // As long as the run is kept: a backfill of times long ago is to find what was made for them.
            Some(_) => Timestamp::from_micros(i64::MAX),
            None => now + options.key_retention,
        },
    })
}

/// The rows of runs that were there before; those that a later attempt of their parent calls again are handed to it
/// first.
async fn find_existing(
    lane: &Lane,
    creates: &[Create],
    plans: &[Plan],
) -> Result<HashMap<RunId, Run>, EngineError> {
    let calls: Vec<ChildCall<'_>> = creates
        .iter()
        .zip(plans)
        .filter_map(|(create, plan)| match plan {
            Plan::Existing(child) => ChildCall::new(create, *child),
            Plan::Insert(_) | Plan::Refused(_) => None,
        })
        .collect();
    if !calls.is_empty() {
        lane.send(with_retries(|| hand_on(&*lane.store, &calls, lane.clock.now())).await?);
    }
    with_retries(|| existing(&*lane.store, plans)).await
}

async fn existing(store: &dyn RunStore, plans: &[Plan]) -> Result<HashMap<RunId, Run>, StoreError> {
    let ids: BTreeSet<RunId> = plans
        .iter()
        .filter_map(|plan| if let Plan::Existing(id) = plan { Some(*id) } else { None })
        .collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<_> = ids.into_iter().collect();
    Ok(store.get_runs(None, &ids).await?.into_iter().map(|run| (run.id, run)).collect())
}

fn outcomes(
    creates: &[Create],
    plans: Vec<Plan>,
    found: &Result<HashMap<RunId, Run>, EngineError>,
) -> Vec<Outcome> {
    let outcome = |(create, plan): (&Create, Plan)| match plan {
        Plan::Insert(step) => Ok(Created { run: step.run, created: true, adopted: false }),
        Plan::Refused(error) => Err(error),
        Plan::Existing(id) => {
            let found = found.as_ref().map_err(Clone::clone)?;
            let run = found.get(&id).ok_or(EngineError::NotFound { run_id: id })?;
            let draft = &create.draft;
            if is_made_by(run, create) {
                let adopted = create.is_child_call
                    && run.is_local()
                    && run.placement == draft.placement
                    && run.state.state_type() == StateType::Pending;
                Ok(Created { run: run.clone(), created: false, adopted })
            } else {
                Err(EngineError::IdReused { run_id: id })
            }
        }
    };
    creates.iter().zip(plans).map(outcome).collect()
}
