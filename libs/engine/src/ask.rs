//! What people ask of one run: who, why, and by which id a repeat is known.

use std::{collections::HashSet, time::Duration};

use tidegate_model::{Namespace, Payload, RunId, Timestamp};
use tidegate_orchestration::{Event, Phase, Rejection, Run};
use tidegate_store::{KeyReservation, RunTx, StoreError};

use crate::{EngineError, Operation, engine::Options};

/// Which run is meant, and who asks.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The tenant.
    pub namespace: Namespace,
    /// The run.
    pub run_id: RunId,
    /// Who asks, where that is known.
    pub actor: Option<String>,
    /// The same id again changes nothing; `None`: each request counts.
    pub request_id: Option<RunId>,
}

impl Ask {
    /// For the run, by nobody that is known.
    pub fn new(namespace: Namespace, run_id: RunId) -> Self {
        Self { namespace, run_id, actor: None, request_id: None }
    }
}

/// The requests of a batch that bear an id, and which of them were made before.
#[derive(Default)]
pub(crate) struct Requests {
    made: HashSet<KeyName>,
    /// Those that took effect in this batch.
    new: Vec<(Namespace, RunId, KeyName)>,
}

/// Scope and key, as in the table of idempotency keys.
type KeyName = (String, String);

impl Requests {
    /// Looks for those that were made before. Their runs are locked, so none can be made meanwhile.
    pub async fn of(
        tx: &mut dyn RunTx,
        operations: &[Operation],
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let named: Vec<_> = operations
            .iter()
            .filter_map(|operation| Some((operation.namespace(), operation.run_id(), key_name(operation)?)))
            .collect();
        if named.is_empty() {
            return Ok(Self::default());
        }
        let keys: Vec<_> = named
            .iter()
            .map(|(namespace, run_id, name)| reservation(namespace, *run_id, name, now))
            .collect();
        let owners = tx.find_keys(&keys, now).await?;
        let made = named.into_iter().zip(owners).filter_map(|((_, _, name), owner)| owner.map(|_| name));
        Ok(Self { made: made.collect(), new: Vec::new() })
    }

    /// True for a request that was made before.
    pub fn is_repeat(&self, operation: &Operation) -> bool {
        key_name(operation).is_some_and(|name| self.made.contains(&name))
    }

    /// Notes a request that took effect.
    pub fn note(&mut self, operation: &Operation) {
        if let Some(name) = key_name(operation) {
            self.made.insert(name.clone());
            self.new.push((operation.namespace().clone(), operation.run_id(), name));
        }
    }

    /// Keeps what was noted, so that a repeat is known.
    pub async fn keep(
        &self,
        tx: &mut dyn RunTx,
        now: Timestamp,
        options: &Options,
    ) -> Result<(), StoreError> {
        let expires_at = now + options.key_retention;
        let keys: Vec<_> = self
            .new
            .iter()
            .map(|(namespace, run_id, name)| reservation(namespace, *run_id, name, expires_at))
            .collect();
        tx.reserve_keys(&keys, now).await?;
        Ok(())
    }
}

fn key_name(operation: &Operation) -> Option<KeyName> {
    let (verb, ask) = match operation {
        Operation::Pause { ask, .. } => ("pause", ask),
        Operation::Resume { ask, .. } => ("resume", ask),
        Operation::Retry { ask, .. } => ("retry", ask),
        Operation::Claim { .. } | Operation::Report { .. } | Operation::Cancel { .. } => return None,
    };
    Some((format!("{verb}:{}", ask.run_id), ask.request_id?.to_string()))
}

/// How long a change that came without an id of its request is known by one of ours: longer than it is tried again.
const OWN_ID_RETENTION: Duration = Duration::from_secs(3_600);

/// By which id a change of something that is no run is known when it comes again, and for how long. One without an id is
/// known by one of ours: where nobody knows what became of its commit it is tried again, and is to find that it was made.
pub(crate) struct RequestKey {
    /// Of the caller or of ours.
    id: RunId,
    scope: String,
    kept: Duration,
    /// The caller gave no id: what is found under ours is this very call.
    pub is_own: bool,
}

impl RequestKey {
    /// `scope` names what is done to what: `queue/pause:name`.
    pub fn of(request_id: Option<RunId>, scope: String, options: &Options) -> Self {
        let (id, kept) = match request_id {
            Some(id) => (id, options.key_retention),
            None => (RunId::new(), OWN_ID_RETENTION),
        };
        Self { id, scope, kept, is_own: request_id.is_none() }
    }

    /// As it is looked for and kept.
    pub fn reservation(&self, namespace: &Namespace, now: Timestamp) -> [KeyReservation; 1] {
        let name = (self.scope.clone(), self.id.to_string());
        [reservation(namespace, self.id, &name, now + self.kept)]
    }
}

/// The use of a request's id. It is the run's own, so that it goes when the run is deleted.
pub(crate) fn reservation(
    namespace: &Namespace,
    run_id: RunId,
    (scope, key): &(String, String),
    expires_at: Timestamp,
) -> KeyReservation {
    KeyReservation {
        namespace: namespace.clone(),
        scope: scope.clone(),
        key: key.clone(),
        run_id,
        params_hash: [0; 32],
        expires_at,
    }
}

/// What it means to resume `run` at `key` (`None`: wherever it is) with `input`. `None`: it was resumed there before.
pub(crate) fn resume_event(
    run: &Run,
    key: Option<&str>,
    input: Option<&Payload>,
    actor: Option<&String>,
) -> Result<Option<Event>, EngineError> {
    let event = Event::ResumeRequested { actor: actor.cloned() };
    if let Some(key) = key
        && run.pause_key.as_deref() != Some(key)
    {
        return if run.resumed_keys.iter().any(|resumed| resumed == key) {
            Ok(None)
        } else {
            Err(EngineError::NotAtPause {
                run_id: run.id,
                key: key.to_owned(),
                state: run.state.state_type(),
            })
        };
    }
    if input.is_some() && run.pause_key.is_none() {
        return Err(match run.state.phase {
            Phase::Paused { .. } => EngineError::InputUnwanted { run_id: run.id },
            // Resuming what is under way is no change, but the input would be lost.
            _ => Rejection::NotAllowed { from: run.state.state_type(), event: event.name() }.into(),
        });
    }
    Ok(Some(event))
}
