use tidegate_model::{Epoch, FunctionName, Namespace, RunId, RunKind, Timestamp, limits};

use crate::{Effect, Holder, Phase, Placement, Policies, Rejection, Run, State, StateType, Step};

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
    pub traceparent: Option<String>,
    /// `None`: at once.
    pub due_at: Option<Timestamp>,
}

/// Makes a run: SCHEDULED for a queue, or PENDING with epoch 1 for the session that executes it.
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
        traceparent: draft.traceparent,
        created_at: now,
        due_at: draft.due_at.unwrap_or(now).max(now),
        started_at: None,
        state: scheduled.clone(),
        epoch: Epoch(0),
        attempt: 0,
        crashes: 0,
        retries: 0,
        event_seq: 1,
        cascade_pending: false,
    };
    let mut transitions = vec![scheduled];
    let mut effects = Vec::new();
    match run.placement {
        Placement::Queue(_) => effects.push(Effect::Enqueue),
        Placement::Session(session) => {
            let holder = Holder::Session(session);
            run.epoch = run.epoch.next();
            run.state = State::new(Phase::Pending { holder, start_by: None }, now);
            run.event_seq = 2;
            transitions.push(run.state.clone());
        }
    }
    Ok(Step { run, transitions, effects })
}
