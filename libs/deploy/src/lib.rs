//! What the specifications of deployments and schedules mean: runs. The engine looks into neither, so the api, which is
//! asked for runs of deployments, and the scheduler, which makes those of schedules, read them here.

pub mod job;
mod run;
mod schedule;
mod spec;
mod times;

pub use run::{Asked, N_SCHEMAS, spec_of};
pub use schedule::Scheduled;
pub use spec::{check_schedule_spec, overlap_limit, schedule_spec_of};
pub use times::Times;
