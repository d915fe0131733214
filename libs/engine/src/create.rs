use std::collections::{BTreeSet, HashMap, HashSet};

use tidegate_model::{Namespace, Payload, RunId, SessionId, Timestamp};
use tidegate_orchestration::{Draft, Placement, Run, Step, create};
use tidegate_store::{KeyReservation, NewRun, RunStore, StoreError};
use tokio::sync::mpsc;

use crate::{
    EngineError,
    dispatch::Outbound,
    engine::{Lane, Options},
    event,
    lane::{Item, next_batch, with_retries},
    metrics::{BATCH_SECONDS, BATCH_SIZE},
};

/// A run to be created.
#[derive(Clone, Debug)]
pub struct Create {
    /// What it is to be.
    pub draft: Draft,
    /// What it is called with.
    pub parameters: Option<Payload>,
    /// A hash of the parameters, to tell a repeat from a misuse of the key.
    pub params_hash: [u8; 32],
    /// One key, one run: the scope is the parent where there is one, else kind and name.
    pub idempotency_key: Option<String>,
    /// With a used key and other parameters: the existing run instead of an error.
    pub use_existing: bool,
}

/// What became of a create.
#[derive(Clone, Debug)]
pub struct Created {
    /// The run.
    pub run: Run,
    /// False when its key or id had made it before.
    pub created: bool,
}

type Outcome = Result<Created, EngineError>;

pub(crate) async fn run_create_lane(mut queue: mpsc::Receiver<Item<Create, Created>>, lane: Lane) {
    while let Some(batch) = next_batch(&mut queue, tidegate_model::limits::MAX_BATCH_SIZE).await {
        let (creates, replies): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|item| (item.request, item.reply)).unzip();
        let started = tokio::time::Instant::now();
        let written = with_retries(|| write(&*lane.store, &creates, lane.clock.now(), &lane.options)).await;
        ::metrics::histogram!(BATCH_SIZE, "lane" => "creates").record(creates.len() as f64);
        ::metrics::histogram!(BATCH_SECONDS, "lane" => "creates").record(started.elapsed());
        match written {
            Ok((outcomes, outbound)) => {
                lane.send(outbound);
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    // A caller that has left does not undo its run.
                    let _ = reply.send(outcome);
                }
            }
            Err(error) => {
                for reply in replies {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
    }
}

/// What one item of a batch comes to.
enum Plan {
    /// A new run.
    Insert(Box<Step>),
    /// A run that is there already: by its key, or by its own id.
    Existing(RunId),
    /// It cannot be.
    Refused(EngineError),
}

async fn write(
    store: &dyn RunStore,
    creates: &[Create],
    now: Timestamp,
    options: &Options,
) -> Result<(Vec<Outcome>, Outbound), StoreError> {
    let mut tx = store.begin().await?;
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
    let mut plans: Vec<Plan> = creates.iter().map(|create| plan(create, &parents, &sessions, now)).collect();

    let keyed: Vec<usize> = (0..creates.len())
        .filter(|idx| creates[*idx].idempotency_key.is_some() && matches!(plans[*idx], Plan::Insert(_)))
        .collect();
    if !keyed.is_empty() {
        let keys: Vec<_> = keyed.iter().filter_map(|idx| reservation(&creates[*idx], now, options)).collect();
        let owners = tx.reserve_keys(&keys, now).await?;
        for (idx, owner) in keyed.into_iter().zip(owners) {
            let create = &creates[idx];
            if owner.run_id == create.draft.id {
                continue;
            }
            plans[idx] = if owner.params_hash == create.params_hash || create.use_existing {
                Plan::Existing(owner.run_id)
            } else {
                Plan::Refused(EngineError::KeyReused { run_id: owner.run_id })
            };
        }
    }

    let (mut rows, mut outbound, mut seen) = (Vec::new(), Outbound::default(), HashSet::new());
    for (plan, create) in plans.iter_mut().zip(creates) {
        let Plan::Insert(step) = plan else { continue };
        if !seen.insert(step.run.id) {
            *plan = Plan::Existing(create.draft.id);
            continue;
        }
        let enqueued_at = outbound.add(step, now);
        rows.push(NewRun { run: step.run.clone(), parameters: create.parameters.clone(), enqueued_at });
    }
    let inserted = if rows.is_empty() { Vec::new() } else { tx.insert_runs(&rows).await? };
    let is_new: HashMap<RunId, bool> = rows.iter().map(|row| row.run.id).zip(inserted).collect();
    let mut events = Vec::new();
    for plan in &mut plans {
        let Plan::Insert(step) = plan else { continue };
        if is_new.get(&step.run.id) == Some(&true) {
            events.extend(event::rows(step, None));
        } else {
            *plan = Plan::Existing(step.run.id);
        }
    }
    if !events.is_empty() {
        tx.append_events(&events).await?;
    }
    tx.commit().await?;
    // A run that was there before has been handed over before.
    outbound.enqueue.retain(|run| is_new.get(&run.id) == Some(&true));
    Ok((outcomes(store, creates, plans).await?, outbound))
}

fn session(draft: &Draft) -> Option<SessionId> {
    if let Placement::Session(session) = draft.placement { Some(session) } else { None }
}

fn plan(
    create_one: &Create,
    parents: &HashMap<RunId, Run>,
    sessions: &HashMap<SessionId, Namespace>,
    now: Timestamp,
) -> Plan {
    let draft = &create_one.draft;
    if session(draft).is_some_and(|session| sessions.get(&session) != Some(&draft.namespace)) {
        return Plan::Refused(EngineError::SessionLost);
    }
    let parent = match draft.parent {
        None => None,
        Some(id) => match parents.get(&id).filter(|parent| parent.namespace == draft.namespace) {
            Some(parent) => Some(parent),
            None => return Plan::Refused(EngineError::NotFound { run_id: id }),
        },
    };
    match create(draft.clone(), parent, now) {
        Ok(step) => Plan::Insert(Box::new(step)),
        Err(rejection) => Plan::Refused(rejection.into()),
    }
}

fn reservation(create: &Create, now: Timestamp, options: &Options) -> Option<KeyReservation> {
    let draft = &create.draft;
    let scope = match draft.parent {
        Some(parent) => format!("run:{parent}"),
        None => format!("{}:{}", draft.kind, draft.name),
    };
    Some(KeyReservation {
        namespace: draft.namespace.clone(),
        scope,
        key: create.idempotency_key.clone()?,
        run_id: draft.id,
        params_hash: create.params_hash,
        expires_at: now + options.key_retention,
    })
}

async fn outcomes(
    store: &dyn RunStore,
    creates: &[Create],
    plans: Vec<Plan>,
) -> Result<Vec<Outcome>, StoreError> {
    let existing: BTreeSet<RunId> = plans
        .iter()
        .filter_map(|plan| if let Plan::Existing(id) = plan { Some(*id) } else { None })
        .collect();
    let found: HashMap<RunId, Run> = if existing.is_empty() {
        HashMap::new()
    } else {
        let ids: Vec<_> = existing.into_iter().collect();
        store.get_runs(None, &ids).await?.into_iter().map(|run| (run.id, run)).collect()
    };
    let outcome = |(create, plan): (&Create, Plan)| match plan {
        Plan::Insert(step) => Ok(Created { run: step.run, created: true }),
        Plan::Refused(error) => Err(error),
        Plan::Existing(id) => {
            let run = found.get(&id).ok_or(EngineError::NotFound { run_id: id })?;
            let draft = &create.draft;
            let is_same =
                run.namespace == draft.namespace && run.kind == draft.kind && run.name == draft.name;
            if is_same {
                Ok(Created { run: run.clone(), created: false })
            } else {
                Err(EngineError::IdReused { run_id: id })
            }
        }
    };
    Ok(creates.iter().zip(plans).map(outcome).collect())
}
