use std::fmt;

use tidegate_model::{FunctionName, Namespace, RunId, RunKind, ScheduleId};
use tidegate_orchestration::Draft;
use tidegate_store::RunDetail;

use crate::{Engine, EngineError};

/// What an idempotency key is unique in: one key makes one run there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyScope {
    /// The deployment that the run is started through: those of one flow keep their keys apart.
    Deployment(String),
    /// The parent, for the other runs that have one.
    Parent(RunId),
    /// The schedule that makes the run: one that is made anew under the same name begins afresh.
    Schedule(ScheduleId),
    /// Kind and name, for the other runs.
    Function(RunKind, FunctionName),
}

impl KeyScope {
    /// That of a run to be created; `is_child_call`: by a call of its parent that is counted there.
    pub fn of(draft: &Draft, is_child_call: bool) -> Self {
        match (draft.parent, &draft.deployment) {
            (Some(parent), _) if is_child_call => Self::Parent(parent),
            (_, Some(deployment)) => Self::Deployment(deployment.clone()),
            (Some(parent), None) => Self::Parent(parent),
            (None, None) => Self::Function(draft.kind, draft.name.clone()),
        }
    }

    /// That of a key which a caller has given, as both are stored; `None`: the key is of something else.
    pub(crate) fn given(scope: &str, key: &str) -> Option<Self> {
        let (what, name) = scope.split_once(':')?;
        match what {
            "deployment" => Some(Self::Deployment(name.to_owned())),
            // Calls that are counted in the parent have keys, too.
            "run" if !key.starts_with("call:") => Some(Self::Parent(name.parse().ok()?)),
            "flow" => Some(Self::Function(RunKind::Flow, name.parse().ok()?)),
            "task" => Some(Self::Function(RunKind::Task, name.parse().ok()?)),
            _ => None,
        }
    }
}

impl fmt::Display for KeyScope {
    /// As it is stored: `run:<parent id>`, `deployment:<flow>/<deployment>`, `schedule:<id>`,
    /// `flow:<name>` or `task:<name>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parent(parent) => write!(f, "run:{parent}"),
            Self::Deployment(deployment) => write!(f, "deployment:{deployment}"),
            Self::Schedule(schedule) => write!(f, "schedule:{schedule}"),
            Self::Function(kind, name) => write!(f, "{kind}:{name}"),
        }
    }
}

impl Engine {
    /// The run that an idempotency key has made, with its payloads.
    ///
    /// # Errors
    /// `KeyNotFound`: it made none, or has expired, or the run was deleted.
    pub async fn find(
        &self,
        namespace: &Namespace,
        scope: &KeyScope,
        key: &str,
    ) -> Result<RunDetail, EngineError> {
        let not_found = || EngineError::KeyNotFound { scope: scope.to_string(), key: key.to_owned() };
        let now = self.clock().now();
        let found = self.store().find_key(namespace, &scope.to_string(), key, now).await?;
        let run_id = found.ok_or_else(not_found)?;
        let details = self.store().get_details(Some(namespace), &[run_id]).await?;
        details.into_iter().next().ok_or_else(not_found)
    }
}
