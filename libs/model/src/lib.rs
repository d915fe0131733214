//! The shared vocabulary: ids, names, times, limits and error codes. No behaviour, no I/O.

mod clock;
mod error;
mod id;
pub mod limits;
mod name;
mod payload;
mod time;
mod worker;

pub use clock::{Clock, SystemClock};
pub use error::{ErrorCode, FieldViolation, Reason, ServiceError};
pub use id::{
    ArtifactId, AutomationRevision, BulkOperationId, Epoch, InvalidId, ObjectId, RunId, ScheduleId,
    SessionId, VariableRevision,
};
pub use name::{
    ArtifactKey, AutomationName, DeploymentName, FairnessKey, FunctionName, InvalidName, Namespace,
    QueueName, RunKind, ScheduleName, VariableName, WorkPoolName, WorkerId,
};
pub use payload::{ObjectRef, Payload};
pub use time::Timestamp;
pub use worker::{Worker, WorkerAbout, WorkerEnd, WorkerLoad};
