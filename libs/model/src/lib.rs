//! The shared vocabulary: ids, names, times, limits and error codes. No behaviour, no I/O.

mod clock;
mod error;
mod id;
pub mod limits;
mod name;
mod payload;
mod time;

pub use clock::{Clock, SystemClock};
pub use error::{ErrorCode, FieldViolation, Reason, ServiceError};
pub use id::{BulkOperationId, Epoch, InvalidId, ObjectId, RunId, SessionId};
pub use name::{
    DeploymentName, FairnessKey, FunctionName, InvalidName, Namespace, QueueName, RunKind, WorkerId,
};
pub use payload::{ObjectRef, Payload};
pub use time::Timestamp;
