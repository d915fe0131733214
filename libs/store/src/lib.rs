//! The ports of storage. Postgres and SQLite are adapters of them, held together by the conformance suites
//! here. A store keeps rows and judges nothing: the rules are in `tidegate-orchestration`.

pub mod adapter;
mod artifacts;
mod automations;
mod bulk;
#[cfg(feature = "conformance")]
pub mod conformance;
mod deployments;
mod error;
mod filter;
pub mod log;
mod objects;
mod order;
mod queues;
mod run_rows;
mod run_store;
mod schedules;
mod slots;
mod variables;
mod work_pools;

pub use artifacts::{
    Artifact, ArtifactName, ArtifactQuery, ArtifactRows, ArtifactTx, ArtifactType, VersionedKey,
};
pub use automations::{
    Automation, AutomationKey, AutomationRecord, AutomationRows, AutomationTx, FilteredFiring, Firing,
    FiringKey, FiringOutcome, FiringQuery, Trigger,
};
pub use bulk::{Among, BulkAction, BulkOperation, BulkPlace, BulkState, BulkTarget, Selection};
pub use deployments::{Deployment, DeploymentKey, DeploymentRows, DeploymentTx, DeploymentVersion};
pub use error::StoreError;
pub use filter::{Comparison, Field, Filter, Value};
pub use objects::{Judged, ObjectRow, ObjectRows, ObjectState};
pub use order::{Order, OrderBy, Position};
pub use queues::{Queue, QueueKey, QueuePause, QueueRows, QueueTx};
pub use run_rows::{
    Below, CacheEntry, Count, CountQuery, EventRow, FeedCursor, FeedEvent, InputKind, InputQuery, KeyOwner,
    KeyReservation, KeyUse, ListQuery, Maintained, NewRun, RunDetail, RunInput, Session, Sweep,
};
pub use run_store::{RunStore, RunTx};
pub use schedules::{
    Schedule, ScheduleKey, SchedulePause, ScheduleProgress, ScheduleQuery, ScheduleRows, ScheduleTx,
};
pub use slots::{
    Awaited, ConcurrencyLimit, HandOut, Holders, LeaseWait, LimitKey, LimitRows, LimitSettings, LimitUse,
    Slot, SlotTx, SlotWait,
};
pub use variables::{Variable, VariableKey, VariableQuery, VariableRows, VariableTx};
pub use work_pools::{WorkPool, WorkPoolKey, WorkPoolRows, WorkPoolTx};
