//! What an attempt of a parent does with the children of the attempts before it (P4).

use std::collections::{BTreeSet, HashMap};

use tidegate_model::{Namespace, RunId, SessionId, Timestamp};
use tidegate_orchestration::{Event, Placement, Run, StateType, apply};
use tidegate_store::{RunStore, StoreError};

use crate::{Create, dispatch::Outbound, operate::Changes};

/// A call in an attempt of a parent that has found the child of an earlier attempt.
pub(crate) struct ChildCall<'a> {
    create: &'a Create,
    parent: RunId,
    child: RunId,
}

impl<'a> ChildCall<'a> {
    /// `None` where `create` is no call of an attempt.
    pub fn new(create: &'a Create, child: RunId) -> Option<Self> {
        let parent = create.draft.parent.filter(|_| create.is_child_call)?;
        Some(Self { create, parent, child })
    }

    /// What is to become of the child. What has completed stays, and what a worker is still to bring to an end as well.
    fn event(&self, child: &Run) -> Option<Event> {
        let draft = &self.create.draft;
        // An id that the caller chose may be that of anybody's run.
        if child.namespace != draft.namespace || child.parent != Some(self.parent) {
            return None;
        }
        // The repeat of the very call that made it. Under another session it is not: that one is lost.
        if draft.id == child.id && draft.placement == child.placement {
            return None;
        }
        let state = child.state.state_type();
        match (&draft.placement, &child.placement) {
            (Placement::Session(session), Placement::Session(_)) => {
                Some(Event::Adopted { session: *session })
            }
            (Placement::Queue(_), Placement::Queue(_))
                if state.is_terminal() && state != StateType::Completed =>
            {
                let reason = "the next attempt of its parent calls it again".to_owned();
                Some(Event::RetryRequested { reason, actor: None })
            }
            _ => None,
        }
    }
}

/// Gives local children to the sessions that execute the attempts, and tries queued ones that ended without a result
/// again, in a transaction of its own: the calls themselves have nothing to write. Doing it twice changes nothing more.
///
/// Parents and children are locked together, in id order; a parent that has ended meanwhile, or has another attempt by
/// now, disposes of nothing.
pub(crate) async fn hand_on(
    store: &dyn RunStore,
    calls: &[ChildCall<'_>],
    now: Timestamp,
) -> Result<Outbound, StoreError> {
    let ids: BTreeSet<RunId> = calls.iter().flat_map(|call| [call.parent, call.child]).collect();
    let mut tx = store.begin().await?;
    let locked = tx.lock_runs(&ids.into_iter().collect::<Vec<_>>()).await?;
    let sessions: BTreeSet<SessionId> = calls.iter().filter_map(|call| session(call.create)).collect();
    let sessions: HashMap<SessionId, Namespace> = if sessions.is_empty() {
        HashMap::new()
    } else {
        let ids: Vec<_> = sessions.into_iter().collect();
        tx.live_sessions(&ids, now).await?.into_iter().collect()
    };
    let mut changes = Changes::new(locked);
    for call in calls {
        let draft = &call.create.draft;
        if session(call.create).is_some_and(|session| sessions.get(&session) != Some(&draft.namespace)) {
            continue;
        }
        let Some(parent) = changes.run(call.parent) else { continue };
        let is_stale = call.create.parent_epoch.is_some_and(|epoch| epoch != parent.epoch);
        let parent_state = parent.state.state_type();
        if is_stale || parent_state.is_terminal() || parent_state == StateType::Cancelling {
            continue;
        }
        let Some(child) = changes.run(call.child).cloned() else { continue };
        let Some(event) = call.event(&child) else { continue };
        match apply(&child, None, &event, now, 0.5) {
            Ok(step) if !step.transitions.is_empty() => {
                changes.take(&child, &event, call.create.actor.as_deref(), step, now);
            }
            Ok(_) => {}
            Err(rejection) => {
                tracing::debug!(run.id = %child.id, %rejection, "a child is left as it is");
            }
        }
    }
    changes.commit(store, tx, now).await
}

fn session(create: &Create) -> Option<SessionId> {
    if let Placement::Session(session) = create.draft.placement { Some(session) } else { None }
}
