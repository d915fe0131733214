//! The shell of the rules: it locks rows, applies the rules of `tidegate-orchestration` to them, and writes row
//! and events in one transaction. Concurrent requests share transactions (group commit).
//!
//! Every service that changes runs has an [`Engine`] of its own over the same store; row locks keep them from
//! treading on each other.

mod adopt;
mod artifacts;
mod ask;
mod automations;
mod bulk;
mod cached;
mod cascade;
mod commit;
mod create;
mod delete;
mod deploy;
mod deployments;
mod dispatch;
mod engine;
mod error;
mod event;
mod explain;
mod feed;
mod fires;
mod firings;
mod key;
mod lane;
mod leases;
mod limits;
mod metrics;
mod nearest;
mod objects;
mod operate;
mod pause;
mod queues;
mod repeat;
mod schedules;
mod slots;
mod sweep;
mod variables;
mod wait;
mod work_pools;
mod workers;

pub use artifacts::{ArtifactChange, MadeArtifact, NewArtifact};
pub use ask::Ask;
pub use automations::{DeleteAutomation, SetAutomation};
pub use bulk::Bulk;
pub use create::{Create, Created};
pub use deploy::{Deploy, Deployed};
pub use deployments::{DeploymentAsk, Spec, SpecChange, etag};
pub use dispatch::{
    DeliveryFacts, Dispatch, DispatchError, LeaseQuestion, QueueDepth, QueueTraffic, Standing, StopOrder,
};
pub use engine::{BackgroundTask, Engine, Options};
pub use error::EngineError;
pub use explain::{Explanation, KeyFacts, SlotFacts, Wait};
pub use fires::{Fire, Fires, Timetables};
pub use firings::{TakenFiring, TakenFirings};
pub use key::KeyScope;
pub use leases::{LeaseRequest, Leased};
pub use limits::LimitFacts;
pub use operate::{Operated, Operation};
pub use pause::Pause;
pub use queues::{QueueAsk, QueueFacts, QueueView};
pub use schedules::{ScheduleAsk, ScheduleChange, ScheduleVerb, schedule_etag};
pub use variables::{DeleteVariable, SetVariable};
pub use wait::WaitSet;
pub use work_pools::{PoolChange, PoolFacts, PoolSpec, WorkPoolAsk, pool_etag};
