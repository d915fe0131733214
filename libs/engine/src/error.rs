use std::time::Duration;

use tidegate_model::{
    ArtifactId, BulkOperationId, ErrorCode, FieldViolation, Namespace, ObjectId, Reason, RunId, RunKind,
    ServiceError, WorkerId,
};
use tidegate_orchestration::{Rejection, StateType};
use tidegate_store::StoreError;

/// Why the engine did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no such run in this namespace.
    #[error("there is no run {run_id} in this namespace")]
    NotFound {
        /// The id that was asked for.
        run_id: RunId,
    },
    /// The run is there, but of the other kind.
    #[error("run {run_id} is a {actual} run, no {wanted} run")]
    WrongKind {
        /// The id that was asked for.
        run_id: RunId,
        /// What it was to be.
        wanted: RunKind,
        /// What it is.
        actual: RunKind,
    },
    /// No run was made by this key.
    #[error("the idempotency key `{key}` has made no run in `{scope}`, or it has expired")]
    KeyNotFound {
        /// What the key is unique in.
        scope: String,
        /// The key.
        key: String,
    },
    /// The parent of a run to be created is not there.
    #[error(
        "parent_run_id: there is no run {run_id} in this namespace; a parent must exist before its children"
    )]
    ParentNotFound {
        /// The id that was asked for.
        run_id: RunId,
    },
    /// There is no such concurrency limit in this namespace.
    #[error("there is no concurrency limit `{name}` in this namespace")]
    LimitNotFound {
        /// The name that was asked for.
        name: String,
    },
    /// The queue has no settings.
    #[error("queue `{name}` has no settings in this namespace")]
    QueueNotFound {
        /// The name that was asked for.
        name: String,
    },
    /// There is no such deployment in this namespace.
    #[error("{}", no_deployment(name, nearest, *is_any))]
    DeploymentNotFound {
        /// The name that was asked for.
        name: String,
        /// Those that are like it.
        nearest: Vec<String>,
        /// Whether there is any deployment in the namespace.
        is_any: bool,
    },
    /// There is no such version of a deployment, or not any more.
    #[error(
        "deployment `{name}` has no version {version} that is kept: list its versions to see those that are"
    )]
    DeploymentVersionNotFound {
        /// The deployment.
        name: String,
        /// The version that was asked for.
        version: u64,
    },
    /// There is a deployment of this name.
    #[error(
        "there is a deployment `{name}` already: choose another name, or set update_if_exists to change it"
    )]
    DeploymentExists {
        /// Its name.
        name: String,
    },
    /// The namespace has as many deployments as it may have.
    #[error(
        "the namespace has {most} deployments, which is the most: delete those that nobody starts any more"
    )]
    TooManyDeployments {
        /// How many it may have.
        most: usize,
    },
    /// The deployment has no schedule of this name.
    #[error(
        "deployment `{deployment}` has no schedule `{name}` in this namespace: list its schedules to see those that are there"
    )]
    ScheduleNotFound {
        /// The deployment that was asked for.
        deployment: String,
        /// The schedule that was asked for.
        name: String,
    },
    /// The deployment has a schedule of this name.
    #[error(
        "deployment `{deployment}` has a schedule `{name}` already: choose another name, or set update_if_exists to change it"
    )]
    ScheduleExists {
        /// The deployment.
        deployment: String,
        /// The schedule.
        name: String,
    },
    /// The deployment has as many schedules as it may have.
    #[error(
        "deployment `{deployment}` has {most} schedules, which is the most: delete some, or make one of several that differ \
         by their times alone"
    )]
    TooManySchedules {
        /// The deployment.
        deployment: String,
        /// How many it may have.
        most: usize,
    },
    /// The schedule was changed since the caller read it.
    #[error("etag: schedule `{name}` of deployment `{deployment}` was changed meanwhile: read it again")]
    ScheduleChanged {
        /// The deployment.
        deployment: String,
        /// The schedule.
        name: String,
    },
    /// A backfill has another number of times than its caller was told.
    #[error(
        "expected_count: the range has {count} times and not {expected}: the schedule was changed meanwhile, or the range is \
         another one; look at it once more with validate_only"
    )]
    BackfillCountMismatch {
        /// How many it has.
        count: usize,
        /// How many it was to have.
        expected: usize,
    },
    /// A bulk operation is about another number of runs than its caller was told.
    #[error(
        "expected_count: the operation is about {count} runs and not {expected}, as some began or ceased to match meanwhile, \
         or others are meant; nothing was started: count them once more with dry_run"
    )]
    BulkCountMismatch {
        /// How many they are.
        count: u64,
        /// How many they were to be.
        expected: u64,
    },
    /// It was changed since the caller read it.
    #[error("etag: deployment `{name}` was changed meanwhile and is at version {version}: read it again")]
    EtagMismatch {
        /// The deployment.
        name: String,
        /// Its version now.
        version: u64,
    },
    /// No live worker of this namespace has this id.
    #[error(
        "worker_id: no live worker of this namespace has the id `{worker_id}`; it has ended or never was: list the workers to \
         see those that are there"
    )]
    WorkerNotFound {
        /// The id that was asked for.
        worker_id: WorkerId,
    },
    /// There is no such work pool in this namespace.
    #[error("{}", no_work_pool(name, nearest, *is_any))]
    WorkPoolNotFound {
        /// The name that was asked for.
        name: String,
        /// Those that are like it.
        nearest: Vec<String>,
        /// Whether there is any pool in the namespace.
        is_any: bool,
    },
    /// There is a work pool of this name.
    #[error(
        "there is a work pool `{name}` already: choose another name, or set update_if_exists to change it"
    )]
    WorkPoolExists {
        /// Its name.
        name: String,
    },
    /// Deployments name the work pool.
    #[error("deployment `{deployment}` names work pool `{name}`: delete it or give it another pool first")]
    WorkPoolInUse {
        /// Its name.
        name: String,
        /// One of them.
        deployment: String,
    },
    /// The namespace has as many work pools as it may have.
    #[error("the namespace has {most} work pools, which is the most: delete those that nobody uses any more")]
    TooManyWorkPools {
        /// How many it may have.
        most: usize,
    },
    /// It was changed since the caller read it.
    #[error("etag: work pool `{name}` was changed meanwhile: read it again")]
    WorkPoolChanged {
        /// The pool.
        name: String,
    },
    /// No run of the work pool may be claimed.
    #[error("work pool `{name}` is paused: its runs start once it is resumed")]
    WorkPoolPaused {
        /// The pool.
        name: String,
    },
    /// Fields that do not hold what they must.
    #[error("{}", violations_text(violations))]
    InvalidFields {
        /// Which, and why.
        violations: Vec<FieldViolation>,
    },
    /// No run of the queue may be claimed.
    #[error("queue `{name}` is paused: its runs start once it is resumed")]
    QueuePaused {
        /// The queue.
        name: String,
    },
    /// Who asks for slots has others, or is known as something else.
    #[error("owner_id: {owner} is of a lease of other limits, or is a run: make a new UUIDv7 for each lease")]
    LeaseOwnerUsed {
        /// Who asks.
        owner: RunId,
    },
    /// A lease that has ended, or never was.
    #[error(
        "{owner} has no slots: its lease has ended, and others may have them by now; acquire them anew under a new owner_id"
    )]
    LeaseLost {
        /// Who had it.
        owner: RunId,
    },
    /// The rules do not allow it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// It neither waits at this pause of its code nor was it resumed there.
    #[error(
        "pause_key: run {run_id} is {state} and does not wait at `{key}`: give the `pause_key` that GetRun has, or none"
    )]
    NotAtPause {
        /// The run.
        run_id: RunId,
        /// The pause that was named.
        key: String,
        /// The run's state.
        state: StateType,
    },
    /// It was paused from outside, so no code would read an input.
    #[error("input: run {run_id} was paused from outside and waits for no input: resume it without one")]
    InputUnwanted {
        /// The run.
        run_id: RunId,
    },
    /// There is no such bulk operation in this namespace.
    #[error("there is no bulk operation {id} in this namespace")]
    BulkOperationNotFound {
        /// The id that was asked for.
        id: BulkOperationId,
    },
    /// The id of a bulk operation is another namespace's.
    #[error("request_id: {id} was used by another bulk operation: make a new UUIDv7")]
    BulkOperationIdUsed {
        /// The id.
        id: BulkOperationId,
    },
    /// The filter is wrong.
    #[error("filter: {cause}")]
    InvalidFilter {
        /// What, and where.
        cause: String,
    },
    /// Only what has ended can be deleted.
    #[error("run {run_id} is {state}; only a run that has ended can be deleted: cancel it first")]
    NotEnded {
        /// The run.
        run_id: RunId,
        /// Its state.
        state: StateType,
    },
    /// What is to end with it would be found no more.
    #[error(
        "run {run_id} is {state}, and what is below it is still being cancelled: delete it in a moment, when that is done"
    )]
    CascadePending {
        /// The run.
        run_id: RunId,
        /// Its state.
        state: StateType,
    },
    /// What leads to a run that has not ended, and that is to end with what is above, is not deleted.
    #[error(
        "run {open} below run {run_id} has not ended, and would not be found any more from above: cancel it, or wait for it"
    )]
    OpenBelow {
        /// The run.
        run_id: RunId,
        /// What is open below it.
        open: RunId,
    },
    /// The idempotency key was used with other parameters.
    #[error(
        "the idempotency key made run {run_id} with other parameters: use another key, or set use_existing to get that run"
    )]
    KeyReused {
        /// The run that the key made.
        run_id: RunId,
    },
    /// The run's id was used for something else.
    #[error("the id {run_id} belongs to another run: leave `id` empty or make a new UUIDv7")]
    IdReused {
        /// The id.
        run_id: RunId,
    },
    /// The session that is to execute the run is unknown, or was lost.
    #[error("the session of this run is unknown or was lost: open a new one")]
    SessionLost,
    /// A payload refers to an object that is not there.
    #[error(
        "there is no uploaded payload {object_id} in this namespace: finish its upload first; one that no run refers to \
         is deleted after a while"
    )]
    PayloadNotFound {
        /// The object.
        object_id: ObjectId,
    },
    /// A payload says of its object what is not so.
    #[error(
        "payload {object_id} was uploaded with another size or SHA-256: pass on the reference as it was given"
    )]
    PayloadDiffers {
        /// The object.
        object_id: ObjectId,
    },
    /// There is no such artifact in this namespace.
    #[error(
        "there is no artifact {artifact} in this namespace, or its run was deleted, or newer versions took its place"
    )]
    ArtifactNotFound {
        /// The id or the key that was asked for.
        artifact: String,
    },
    /// The id of an artifact is that of another.
    #[error("id: {id} is of another artifact: leave it empty or make a new UUIDv7")]
    ArtifactIdUsed {
        /// The id.
        id: ArtifactId,
    },
    /// Progress has no data, and nothing else has progress.
    #[error("{}", artifact_misfit(id, *is_progress))]
    ArtifactMisfit {
        /// The artifact.
        id: ArtifactId,
        /// True: data was given for progress. False: progress for something else.
        is_progress: bool,
    },
    /// The run has as many artifacts as it may have.
    #[error(
        "run {run_id} has {most} artifacts, which is the most: update those that are there, or make them in runs below it"
    )]
    TooManyArtifacts {
        /// The run.
        run_id: RunId,
        /// How many it may have.
        most: u64,
    },
    /// There is no such variable in this namespace.
    #[error("there is no variable `{name}` in this namespace")]
    VariableNotFound {
        /// The name that was asked for.
        name: String,
    },
    /// There is a variable of this name, and it was not to be replaced.
    #[error("variable `{name}` exists: set `overwrite` to replace it")]
    VariableExists {
        /// The name.
        name: String,
    },
    /// The variable was changed since the caller has seen it.
    #[error("etag: variable `{name}` was changed since: read it anew, and decide again")]
    VariableChanged {
        /// The name.
        name: String,
    },
    /// The namespace has as many variables as it may have.
    #[error(
        "the namespace has {most} variables, which is the most: delete some, or keep several values in one"
    )]
    TooManyVariables {
        /// How many it may have.
        most: u64,
    },
    /// There is no such automation in this namespace.
    #[error("there is no automation `{name}` in this namespace")]
    AutomationNotFound {
        /// The name that was asked for.
        name: String,
    },
    /// There is an automation of this name, and it was not to be replaced.
    #[error("automation `{name}` exists: set `overwrite` to replace it")]
    AutomationExists {
        /// The name.
        name: String,
    },
    /// The automation was changed since the caller has seen it.
    #[error("etag: automation `{name}` was changed since: read it anew, and decide again")]
    AutomationChanged {
        /// The name.
        name: String,
    },
    /// The namespace has as many automations as it may have.
    #[error(
        "the namespace has {most} automations, which is the most: delete some, or have one do what several do"
    )]
    TooManyAutomations {
        /// How many it may have.
        most: u64,
    },
    /// The queue of requests is full.
    #[error("too many requests are waiting for the store; come back a little later")]
    Overloaded,
    /// Nobody else may wait for slots here.
    #[error(
        "{most} calls wait for slots here, which is the most; come back a little later, or ask without `wait_timeout`"
    )]
    TooManyWait {
        /// How many may.
        most: usize,
    },
    /// Nobody else of this namespace may wait for slots here.
    #[error(
        "{most} calls of namespace `{namespace}` wait for slots here, which is the most of one namespace; come back a \
         little later, or ask without `wait_timeout`"
    )]
    TooManyOfNamespaceWait {
        /// Whose calls.
        namespace: Namespace,
        /// How many may.
        most: usize,
    },
    /// The process is shutting down.
    #[error("the service is shutting down; another replica will take the request")]
    Draining,
    /// The store does not answer.
    #[error("the store does not answer: {cause}")]
    StoreUnavailable {
        /// What it said, for people.
        cause: String,
    },
    /// Delivery does not answer.
    #[error("task-queue does not answer: {cause}")]
    DeliveryUnavailable {
        /// What it said, for people.
        cause: String,
    },
    /// A fault of ours.
    #[error("{cause}")]
    Internal {
        /// What went wrong, for the log.
        cause: String,
    },
}

fn artifact_misfit(id: &ArtifactId, is_progress: bool) -> String {
    if is_progress {
        format!("data: artifact {id} shows progress and has no data: set `progress`")
    } else {
        format!("progress: artifact {id} does not show progress: set `data`")
    }
}

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(cause)
            | StoreError::TooSlow(cause)
            | StoreError::CommitUnknown(cause) => Self::StoreUnavailable { cause: cause.to_string() },
            StoreError::InvalidCursor(cause) | StoreError::Internal(cause) => Self::Internal { cause },
        }
    }
}

impl ServiceError for EngineError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound { .. }
            | Self::WrongKind { .. }
            | Self::KeyNotFound { .. }
            | Self::LimitNotFound { .. }
            | Self::QueueNotFound { .. }
            | Self::DeploymentNotFound { .. }
            | Self::DeploymentVersionNotFound { .. }
            | Self::WorkPoolNotFound { .. }
            | Self::WorkerNotFound { .. }
            | Self::ScheduleNotFound { .. }
            | Self::LeaseLost { .. }
            | Self::BulkOperationNotFound { .. }
            | Self::ArtifactNotFound { .. }
            | Self::VariableNotFound { .. }
            | Self::AutomationNotFound { .. }
            | Self::ParentNotFound { .. } => ErrorCode::NotFound,
            Self::BulkOperationIdUsed { .. }
            | Self::DeploymentExists { .. }
            | Self::WorkPoolExists { .. } => ErrorCode::AlreadyExists,
            Self::ScheduleExists { .. } => ErrorCode::AlreadyExists,
            Self::Rejected(Rejection::TooManyLabels { .. })
            | Self::InvalidFilter { .. }
            | Self::InvalidFields { .. }
            | Self::ArtifactMisfit { .. } => ErrorCode::InvalidArgument,
            Self::Rejected(_)
            | Self::SessionLost
            | Self::QueuePaused { .. }
            | Self::NotAtPause { .. }
            | Self::InputUnwanted { .. }
            | Self::NotEnded { .. }
            | Self::CascadePending { .. }
            | Self::EtagMismatch { .. }
            | Self::OpenBelow { .. }
            | Self::TooManyArtifacts { .. }
            | Self::VariableChanged { .. }
            | Self::AutomationChanged { .. }
            | Self::TooManyAutomations { .. }
            | Self::TooManyDeployments { .. }
            | Self::TooManyWorkPools { .. }
            | Self::WorkPoolInUse { .. }
            | Self::WorkPoolChanged { .. }
            | Self::WorkPoolPaused { .. }
            | Self::TooManySchedules { .. }
            | Self::ScheduleChanged { .. }
            | Self::BackfillCountMismatch { .. }
            | Self::BulkCountMismatch { .. }
            | Self::TooManyVariables { .. } => ErrorCode::FailedPrecondition,
            Self::KeyReused { .. }
            | Self::IdReused { .. }
            | Self::LeaseOwnerUsed { .. }
            | Self::ArtifactIdUsed { .. }
            | Self::VariableExists { .. }
            | Self::AutomationExists { .. } => ErrorCode::AlreadyExists,
            Self::PayloadNotFound { .. } => ErrorCode::NotFound,
            Self::PayloadDiffers { .. } => ErrorCode::FailedPrecondition,
            Self::Overloaded | Self::TooManyWait { .. } | Self::TooManyOfNamespaceWait { .. } => {
                ErrorCode::Exhausted
            }
            Self::Draining | Self::StoreUnavailable { .. } | Self::DeliveryUnavailable { .. } => {
                ErrorCode::Unavailable
            }
            Self::Internal { .. } => ErrorCode::Internal,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::NotFound { .. }
            | Self::WrongKind { .. }
            | Self::KeyNotFound { .. }
            | Self::ParentNotFound { .. } => Reason::RunNotFound,
            Self::LimitNotFound { .. } => Reason::ConcurrencyLimitNotFound,
            Self::QueueNotFound { .. } => Reason::QueueNotFound,
            Self::DeploymentNotFound { .. } | Self::DeploymentVersionNotFound { .. } => {
                Reason::DeploymentNotFound
            }
            Self::DeploymentExists { .. } => Reason::DeploymentExists,
            Self::WorkPoolNotFound { .. } => Reason::WorkPoolNotFound,
            Self::WorkerNotFound { .. } => Reason::WorkerNotFound,
            Self::WorkPoolExists { .. } => Reason::WorkPoolExists,
            Self::WorkPoolInUse { .. } => Reason::WorkPoolInUse,
            Self::TooManyWorkPools { .. } => Reason::TooManyWorkPools,
            Self::WorkPoolChanged { .. } => Reason::EtagMismatch,
            Self::EtagMismatch { .. } | Self::ScheduleChanged { .. } => Reason::EtagMismatch,
            Self::ScheduleNotFound { .. } => Reason::ScheduleNotFound,
            Self::ScheduleExists { .. } => Reason::ScheduleExists,
            Self::TooManySchedules { .. } => Reason::TooManySchedules,
            Self::BackfillCountMismatch { .. } => Reason::BackfillCountMismatch,
            Self::Rejected(Rejection::StaleEpoch { .. }) => Reason::StaleEpoch,
            Self::Rejected(Rejection::ParentEnded { .. }) => Reason::ParentEnded,
            Self::Rejected(Rejection::TooDeep { .. }) => Reason::TreeTooDeep,
            Self::Rejected(Rejection::TooManyLabels { .. })
            | Self::InvalidFilter { .. }
            | Self::InvalidFields { .. }
            | Self::ArtifactMisfit { .. } => Reason::InvalidField,
            Self::BulkOperationNotFound { .. } => Reason::BulkOperationNotFound,
            Self::BulkCountMismatch { .. } => Reason::BulkCountMismatch,
            Self::BulkOperationIdUsed { .. } => Reason::IdempotencyKeyReused,
            Self::Rejected(
                Rejection::NotAllowed { .. }
                | Rejection::NotDue { .. }
                | Rejection::LocalRun { .. }
                | Rejection::TooManyPauses { .. },
            )
            | Self::QueuePaused { .. }
            | Self::WorkPoolPaused { .. }
            | Self::NotAtPause { .. }
            | Self::InputUnwanted { .. }
            | Self::NotEnded { .. } => Reason::TransitionNotAllowed,
            Self::CascadePending { .. } | Self::OpenBelow { .. } => Reason::OpenRunsBelow,
            Self::SessionLost => Reason::SessionLost,
            Self::KeyReused { .. }
            | Self::IdReused { .. }
            | Self::LeaseOwnerUsed { .. }
            | Self::ArtifactIdUsed { .. } => Reason::IdempotencyKeyReused,
            Self::ArtifactNotFound { .. } => Reason::ArtifactNotFound,
            Self::TooManyArtifacts { .. } => Reason::TooManyArtifacts,
            Self::VariableNotFound { .. } => Reason::VariableNotFound,
            Self::VariableExists { .. } => Reason::VariableExists,
            Self::VariableChanged { .. } => Reason::EtagMismatch,
            Self::TooManyVariables { .. } => Reason::TooManyVariables,
            Self::AutomationNotFound { .. } => Reason::AutomationNotFound,
            Self::AutomationExists { .. } => Reason::AutomationExists,
            Self::AutomationChanged { .. } => Reason::EtagMismatch,
            Self::TooManyAutomations { .. } => Reason::TooManyAutomations,
            Self::TooManyDeployments { .. } => Reason::TooManyDeployments,
            Self::LeaseLost { .. } => Reason::LeaseLost,
            Self::PayloadNotFound { .. } => Reason::PayloadNotFound,
            Self::PayloadDiffers { .. } => Reason::ChecksumMismatch,
            Self::Overloaded | Self::TooManyWait { .. } | Self::TooManyOfNamespaceWait { .. } => {
                Reason::Overloaded
            }
            Self::Draining => Reason::Draining,
            Self::StoreUnavailable { .. } | Self::DeliveryUnavailable { .. } => Reason::DependencyUnavailable,
            Self::Internal { .. } => Reason::Internal,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded | Self::TooManyWait { .. } | Self::TooManyOfNamespaceWait { .. } => {
                Some(Duration::from_millis(200))
            }
            Self::StoreUnavailable { .. } | Self::DeliveryUnavailable { .. } => {
                Some(Duration::from_millis(500))
            }
            _ => None,
        }
    }

    fn field_violations(&self) -> &[FieldViolation] {
        match self {
            Self::InvalidFields { violations } => violations,
            _ => &[],
        }
    }

    fn resource(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::DeploymentNotFound { name, .. } => Some(("deployment", name)),
            Self::WorkPoolNotFound { name, .. } => Some(("work_pool", name)),
            Self::WorkerNotFound { worker_id } => Some(("worker", worker_id.as_str())),
            _ => None,
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::NotFound { run_id }
            | Self::WrongKind { run_id, .. }
            | Self::ParentNotFound { run_id }
            | Self::InputUnwanted { run_id }
            | Self::OpenBelow { open: run_id, .. }
            | Self::KeyReused { run_id }
            | Self::TooManyArtifacts { run_id, .. }
            | Self::IdReused { run_id } => {
                vec![("run_id", run_id.to_string())]
            }
            Self::NotAtPause { run_id, state, .. }
            | Self::NotEnded { run_id, state }
            | Self::CascadePending { run_id, state } => {
                vec![("run_id", run_id.to_string()), ("state", state.to_string())]
            }
            Self::PayloadNotFound { object_id } | Self::PayloadDiffers { object_id } => {
                vec![("object_id", object_id.to_string())]
            }
            Self::LimitNotFound { name } => vec![("concurrency_limit", name.clone())],
            Self::QueueNotFound { name } | Self::QueuePaused { name } => vec![("queue", name.clone())],
            Self::DeploymentNotFound { name, .. }
            | Self::DeploymentVersionNotFound { name, .. }
            | Self::DeploymentExists { name }
            | Self::EtagMismatch { name, .. } => vec![("deployment", name.clone())],
            Self::WorkPoolInUse { name, deployment } => {
                vec![("work_pool", name.clone()), ("deployment", deployment.clone())]
            }
            Self::WorkerNotFound { worker_id } => vec![("worker_id", worker_id.to_string())],
            Self::WorkPoolNotFound { name, .. }
            | Self::WorkPoolExists { name }
            | Self::WorkPoolChanged { name }
            | Self::WorkPoolPaused { name } => vec![("work_pool", name.clone())],
            Self::ScheduleNotFound { deployment, name }
            | Self::ScheduleExists { deployment, name }
            | Self::ScheduleChanged { deployment, name } => {
                vec![("deployment", deployment.clone()), ("schedule", name.clone())]
            }
            Self::TooManySchedules { deployment, .. } => vec![("deployment", deployment.clone())],
            Self::BackfillCountMismatch { count, .. } => vec![("count", count.to_string())],
            Self::BulkCountMismatch { count, .. } => vec![("count", count.to_string())],
            Self::ArtifactNotFound { artifact } => vec![("artifact", artifact.clone())],
            Self::VariableNotFound { name }
            | Self::VariableExists { name }
            | Self::VariableChanged { name } => vec![("variable", name.clone())],
            Self::AutomationNotFound { name }
            | Self::AutomationExists { name }
            | Self::AutomationChanged { name } => vec![("automation", name.clone())],
            Self::Rejected(Rejection::StaleEpoch { current }) => vec![("epoch", current.to_string())],
            Self::Rejected(Rejection::NotAllowed { from: state, .. }) => vec![("state", state.to_string())],
            Self::Rejected(Rejection::ParentEnded { parent, state }) => {
                vec![("run_id", parent.to_string()), ("state", state.to_string())]
            }
            _ => Vec::new(),
        }
    }
}

fn no_work_pool(name: &str, nearest: &[String], is_any: bool) -> String {
    let nearest: Vec<String> = nearest.iter().map(|name| format!("`{name}`")).collect();
    let mend = match (&nearest[..], is_any) {
        ([], false) => format!("make it with `tidegate pool create {name}`"),
        ([], true) => "`tidegate pool ls` shows those that are there".to_owned(),
        _ => format!("did you mean {}?", nearest.join(" or ")),
    };
    format!("there is no work pool `{name}` in this namespace: {mend}")
}

fn no_deployment(name: &str, nearest: &[String], is_any: bool) -> String {
    let nearest: Vec<String> = nearest.iter().map(|name| format!("`{name}`")).collect();
    let mend = match (&nearest[..], is_any) {
        ([], false) => "there is none at all yet: deploy the flow first".to_owned(),
        ([], true) => {
            "its name is `flow/deployment`; list the deployments to see those that are there".to_owned()
        }
        _ => format!("did you mean {}?", nearest.join(" or ")),
    };
    format!("there is no deployment `{name}` in this namespace: {mend}")
}

fn violations_text(violations: &[FieldViolation]) -> String {
    let text = |violation: &FieldViolation| format!("{}: {}", violation.field, violation.description);
    violations.iter().map(text).collect::<Vec<_>>().join("; ")
}
