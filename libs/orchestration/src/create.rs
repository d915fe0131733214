use std::collections::BTreeMap;

use tidegate_model::{
    Epoch, FairnessKey, FunctionName, Namespace, RunId, RunKind, ScheduleName, Timestamp, WorkPoolName,
    limits,
};

use crate::{
    CachePolicy, Effect, Holder, Phase, Placement, Policies, Rejection, Run, State, StateType, Step,
    transition::cached,
};

/// What a caller says of a run to be created.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each field is that of `Run`")]
pub struct Draft {
    pub id: RunId,
    pub namespace: Namespace,
    pub kind: RunKind,
    pub name: FunctionName,
    /// Empty: `name` and the end of the id.
    pub run_name: String,
    pub placement: Placement,
    pub parent: Option<RunId>,
    pub policies: Policies,
    pub priority: i32,
    pub tags: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// It also has the labels of its parent; where both have a key, its own value stands.
    pub inherit_labels: bool,
    pub deployment: Option<String>,
    pub deployment_version: Option<u64>,
    pub work_pool: Option<WorkPoolName>,
    pub schedule: Option<ScheduleName>,
    pub fire_at: Option<Timestamp>,
    pub traceparent: Option<String>,
    /// `None`: at once.
    pub due_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub cache: Option<CachePolicy>,
    /// The run whose result serves for this one, which is then not executed.
    pub cached_from: Option<RunId>,
    pub concurrency_limits: Vec<String>,
    pub fairness_key: Option<FairnessKey>,
    pub required_labels: BTreeMap<String, String>,
    /// The worker that holds the parent now gets it if that has room.
    pub prefer_parent_worker: bool,
}

impl Draft {
    /// A run in the default namespace of which no more is said.
    pub fn new(id: RunId, kind: RunKind, name: FunctionName, placement: Placement) -> Self {
        Self {
            id,
            namespace: Namespace::default(),
            kind,
            name,
            run_name: String::new(),
            placement,
            parent: None,
            policies: Policies::default(),
            priority: 0,
            tags: Vec::new(),
            labels: BTreeMap::new(),
            inherit_labels: false,
            deployment: None,
            deployment_version: None,
            work_pool: None,
            schedule: None,
            fire_at: None,
            traceparent: None,
            due_at: None,
            expires_at: None,
            cache: None,
            cached_from: None,
            concurrency_limits: Vec::new(),
            fairness_key: None,
            required_labels: BTreeMap::new(),
            prefer_parent_worker: false,
        }
    }
}

/// Makes a run: SCHEDULED for a queue, PENDING with epoch 1 for the session that executes it, or COMPLETED where the
/// result of another serves.
///
/// `parent` is the row of `draft.parent`, under a lock that keeps it from ending meanwhile.
pub fn create(draft: Draft, parent: Option<&Run>, now: Timestamp) -> Result<Step, Rejection> {
    let (root, depth) = match parent {
        None => (draft.id, 0),
        Some(parent) => {
            let state = parent.state.state_type();
            if state.is_terminal() || state == StateType::Cancelling {
                return Err(Rejection::ParentEnded { parent: parent.id, state });
            }
            if parent.depth >= limits::MAX_TREE_DEPTH {
                return Err(Rejection::TooDeep { limit: limits::MAX_TREE_DEPTH });
            }
            (parent.root, parent.depth + 1)
        }
    };
    let preferred_worker = match parent.and_then(Run::holder) {
        Some(Holder::Worker(worker)) if draft.prefer_parent_worker => Some(worker.clone()),
        _ => None,
    };
    let mut labels = draft.labels;
    if draft.inherit_labels {
        for (key, value) in parent.iter().flat_map(|parent| &parent.labels) {
            labels.entry(key.clone()).or_insert_with(|| value.clone());
        }
        if labels.len() > limits::MAX_LABELS {
            return Err(Rejection::TooManyLabels { n_labels: labels.len(), limit: limits::MAX_LABELS });
        }
    }
    let run_name = if draft.run_name.is_empty() {
        let id = draft.id.to_string();
        format!("{}-{}", draft.name, &id[id.len() - 6..])
    } else {
        draft.run_name
    };
    let scheduled = State::new(Phase::Scheduled, now);
    let mut run = Run {
        id: draft.id,
        namespace: draft.namespace,
        kind: draft.kind,
        name: draft.name,
        run_name,
        placement: draft.placement,
        parent: draft.parent,
        root,
        depth,
        policies: draft.policies,
        priority: draft.priority,
        tags: draft.tags,
        labels,
        deployment: draft.deployment,
        deployment_version: draft.deployment_version,
        work_pool: draft.work_pool,
        schedule: draft.schedule,
        fire_at: draft.fire_at,
        cache: draft.cache,
        concurrency_limits: draft.concurrency_limits,
        queue_slot: false,
        fairness_key: draft.fairness_key,
        required_labels: draft.required_labels,
        preferred_worker,
        traceparent: draft.traceparent,
        created_at: now,
        due_at: draft.due_at.unwrap_or(now).max(now),
        expires_at: draft.expires_at,
        started_at: None,
        state: scheduled.clone(),
        epoch: Epoch(0),
        attempt: 0,
        crashes: 0,
        retries: 0,
        event_seq: 1,
        cascade_pending: false,
        pause_key: None,
        resumed_keys: Vec::new(),
    };
    let mut transitions = vec![scheduled];
    let mut effects = Vec::new();
    let next = match (&run.placement, draft.cached_from) {
        (_, Some(from)) => Some(cached(from, now)),
        (Placement::Session(session), None) => {
            run.epoch = run.epoch.next();
            let holder = Holder::Session(*session);
            Some(State::new(Phase::Pending { holder, start_by: None }, now))
        }
        (Placement::Queue(_), None) => {
            effects.push(Effect::Enqueue);
            None
        }
    };
    if let Some(state) = next {
        run.state = state.clone();
        run.event_seq += 1;
        transitions.push(state);
    }
    Ok(Step { run, transitions, effects })
}
