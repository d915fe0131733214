use std::time::Duration;

/// What kind of thing went wrong; each is one gRPC code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// A field does not hold what it must.
    InvalidArgument,
    /// There is no such thing in this namespace.
    NotFound,
    /// The thing is there already.
    AlreadyExists,
    /// The state of things does not allow it; repeating does not help.
    FailedPrecondition,
    /// A bound is reached; repeating later helps.
    Exhausted,
    /// Something that is needed does not answer; repeating is safe.
    Unavailable,
    /// The time given was not enough.
    DeadlineExceeded,
    /// The caller did not say who it is.
    Unauthenticated,
    /// The caller may not do this.
    PermissionDenied,
    /// A fault of ours.
    Internal,
}

/// The stable name of a cause: the closed list of `tidegate.v1.ErrorReason`, where each is explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "explained in proto/tidegate/v1/error.proto")]
pub enum Reason {
    InvalidField,
    RunNotFound,
    TransitionNotAllowed,
    StaleEpoch,
    IdempotencyKeyReused,
    ParentEnded,
    Overloaded,
    DependencyUnavailable,
    Draining,
    ProtocolVersion,
    Internal,
    SessionLost,
    TreeTooDeep,
    PayloadNotFound,
    ChecksumMismatch,
    ConcurrencyLimitNotFound,
    BulkOperationNotFound,
    BulkCountMismatch,
    UploadTooSlow,
    OpenRunsBelow,
    QueueNotFound,
    LeaseLost,
    EtagMismatch,
    DeploymentNotFound,
    DeploymentExists,
    /// The namespace has as many deployments as it may have.
    TooManyDeployments,
    WorkPoolNotFound,
    WorkPoolExists,
    WorkPoolInUse,
    TooManyWorkPools,
    WorkerNotFound,
    ScheduleNotFound,
    ScheduleExists,
    TooManySchedules,
    BackfillCountMismatch,
    ArtifactNotFound,
    TooManyArtifacts,
    VariableNotFound,
    VariableExists,
    TooManyVariables,
    AutomationNotFound,
    AutomationExists,
    TooManyAutomations,
}

impl Reason {
    /// As in `google.rpc.ErrorInfo.reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidField => "INVALID_FIELD",
            Self::RunNotFound => "RUN_NOT_FOUND",
            Self::TransitionNotAllowed => "TRANSITION_NOT_ALLOWED",
            Self::StaleEpoch => "STALE_EPOCH",
            Self::IdempotencyKeyReused => "IDEMPOTENCY_KEY_REUSED",
            Self::ParentEnded => "PARENT_ENDED",
            Self::Overloaded => "OVERLOADED",
            Self::DependencyUnavailable => "DEPENDENCY_UNAVAILABLE",
            Self::Draining => "DRAINING",
            Self::ProtocolVersion => "PROTOCOL_VERSION",
            Self::Internal => "INTERNAL",
            Self::SessionLost => "SESSION_LOST",
            Self::TreeTooDeep => "TREE_TOO_DEEP",
            Self::PayloadNotFound => "PAYLOAD_NOT_FOUND",
            Self::ChecksumMismatch => "CHECKSUM_MISMATCH",
            Self::ConcurrencyLimitNotFound => "CONCURRENCY_LIMIT_NOT_FOUND",
            Self::BulkOperationNotFound => "BULK_OPERATION_NOT_FOUND",
            Self::BulkCountMismatch => "BULK_COUNT_MISMATCH",
            Self::UploadTooSlow => "UPLOAD_TOO_SLOW",
            Self::OpenRunsBelow => "OPEN_RUNS_BELOW",
            Self::QueueNotFound => "QUEUE_NOT_FOUND",
            Self::LeaseLost => "LEASE_LOST",
            Self::EtagMismatch => "ETAG_MISMATCH",
            Self::DeploymentNotFound => "DEPLOYMENT_NOT_FOUND",
            Self::DeploymentExists => "DEPLOYMENT_EXISTS",
            Self::TooManyDeployments => "TOO_MANY_DEPLOYMENTS",
            Self::WorkPoolNotFound => "WORK_POOL_NOT_FOUND",
            Self::WorkPoolExists => "WORK_POOL_EXISTS",
            Self::WorkPoolInUse => "WORK_POOL_IN_USE",
            Self::TooManyWorkPools => "TOO_MANY_WORK_POOLS",
            Self::WorkerNotFound => "WORKER_NOT_FOUND",
            Self::ScheduleNotFound => "SCHEDULE_NOT_FOUND",
            Self::ScheduleExists => "SCHEDULE_EXISTS",
            Self::TooManySchedules => "TOO_MANY_SCHEDULES",
            Self::BackfillCountMismatch => "BACKFILL_COUNT_MISMATCH",
            Self::ArtifactNotFound => "ARTIFACT_NOT_FOUND",
            Self::TooManyArtifacts => "TOO_MANY_ARTIFACTS",
            Self::VariableNotFound => "VARIABLE_NOT_FOUND",
            Self::VariableExists => "VARIABLE_EXISTS",
            Self::TooManyVariables => "TOO_MANY_VARIABLES",
            Self::AutomationNotFound => "AUTOMATION_NOT_FOUND",
            Self::AutomationExists => "AUTOMATION_EXISTS",
            Self::TooManyAutomations => "TOO_MANY_AUTOMATIONS",
        }
    }
}

/// One field that does not hold what it must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// The path of the field in the request: `runs[3].name`.
    pub field: String,
    /// The value, the cause and the mend in one sentence.
    pub description: String,
}

/// What every error of a use case can say about itself.
pub trait ServiceError: std::error::Error {
    /// What kind of thing went wrong.
    fn code(&self) -> ErrorCode;
    /// The stable name of the cause.
    fn reason(&self) -> Reason;
    /// When to come back, where coming back helps.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
    /// The fields that are wrong, for `InvalidArgument`.
    fn field_violations(&self) -> &[FieldViolation] {
        &[]
    }
    /// Further facts for machines: `("run_id", "0190…")`.
    fn metadata(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
    /// What is not there or cannot be used: its type and its name.
    fn resource(&self) -> Option<(&'static str, &str)> {
        None
    }
}
