//! Events and records for tests.

use std::time::Duration;

use tidegate_sdk::proto::{RunEvent, State, StateType};

use crate::record::{Record, What};

pub(crate) const RUN: &str = "run-1";

pub(crate) fn event(seq: u64, state: StateType, epoch: u64) -> RunEvent {
    let ended = state == StateType::Completed;
    let state = Some(State { r#type: state.into(), ..Default::default() });
    RunEvent { run_id: RUN.into(), seq, state, epoch, ended, ..Default::default() }
}

pub(crate) fn record(what: What, epoch: u64, pid: u32, at_s: u64) -> Record {
    let at = Duration::from_secs(at_s);
    Record { what, key: "task-1".into(), run_id: RUN.into(), epoch, attempt: 1, pid, at }
}
