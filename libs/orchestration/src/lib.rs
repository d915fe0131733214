//! The rules of a run's life: states, events, retry and crash policy. Pure: no async, no I/O, no clock and
//! no randomness of its own. The engine applies these rules to rows under locks.
//!
//! The heart is [`apply`]: a run and an event in, a [`Step`] or a [`Rejection`] out.

mod collision;
mod create;
mod event;
mod line;
mod policy;
mod rate;
mod run;
mod state;
mod step;
mod transition;

pub use collision::{Collision, Lack};
pub use create::{Draft, create};
pub use event::{Event, Moment};
pub use line::{LAPSES_COUNT_FOR, Line, RESERVED_FOR};
pub use policy::{CrashPolicy, ParentPolicies, ParentPolicy, Policies, RetryPolicy};
pub use rate::{Arrival, Rate};
pub use run::{CachePolicy, Failure, Holder, Placement, Run};
pub use state::{Phase, State, StateName, StateType};
pub use step::{Effect, Rejection, Step};
pub use transition::{SILENT_HOLDER_GRACE, apply};
