//! How answers look: tables and trees for people, JSON for programs. Pure functions of messages and a time, so
//! that snapshots hold them.

mod artifact;
mod automation;
mod bulk;
mod concurrency;
mod cut;
mod deployment;
mod detail;
mod explanation;
mod form;
mod json;
mod pool;
mod queue;
mod schedule;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod tree;
mod variable;
mod worker;

pub use artifact::{artifact_detail, artifact_json, artifact_table};
pub use automation::{automation_detail, automation_json, automation_table, firing_json, firing_table};
pub use bulk::{bulk_json, bulk_table, bulk_text, progress_text};
pub use concurrency::{limit_detail, limit_json, limit_table, slot_json};
pub use cut::cut;
pub use deployment::{deployment_detail, deployment_json, deployment_table, version_json, version_table};
pub use detail::{event_line, input_table, log_line, run_detail};
pub use explanation::{explanation_json, explanation_text};
pub use form::{escaped, names, painted, yaml};
pub use json::{count_json, event_json, input_json, log_json, run_json, tree_json};
pub use pool::{pool_detail, pool_detail_json, pool_json, pool_table};
pub use queue::{queue_detail, queue_detail_json, queue_json, queue_table};
pub use schedule::{
    backfill_json, backfill_text, fire_json, fire_text, schedule_detail, schedule_json, schedule_table,
};
pub use table::{Table, count_text, run_table};
pub use text::{duration_text, printable, state_text};
pub use tree::{RunTree, tree_text};
pub use variable::{variable_json, variable_table};
pub use worker::{worker_detail, worker_json, worker_table};
