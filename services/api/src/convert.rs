use tidegate_model::{RunId, RunKind};
use tidegate_orchestration::StateType;
use tidegate_proto::v1;
use tidegate_store::{EventRow, RunDetail};
use tidegate_wire::{
    Violations, failure_to_proto, invalid, invalid_field, kind_from_proto, kind_to_proto, payload_to_proto,
    run_to_proto, state_parts_to_proto,
};
use tonic::Status;

/// A run in full.
pub(crate) fn detail_to_proto(detail: &RunDetail) -> v1::Run {
    let mut run = run_to_proto(&detail.run);
    run.parameters = detail.parameters.as_ref().map(payload_to_proto);
    if detail.run.state.state_type() == StateType::Completed {
        run.result = detail.result.as_ref().map(payload_to_proto);
    }
    run.failure = detail.failure.as_ref().map(failure_to_proto);
    run
}

/// An event.
pub(crate) fn event_to_proto(event: &EventRow) -> v1::RunEvent {
    v1::RunEvent {
        run_id: event.run_id.to_string(),
        seq: event.seq,
        state: Some(state_parts_to_proto(event.state_type, event.state_name, &event.message, event.at)),
        attempt: event.attempt,
        epoch: event.epoch.0,
        holder: event.holder.as_ref().map(ToString::to_string).unwrap_or_default(),
        root_run_id: event.root.to_string(),
        kind: kind_to_proto(event.kind).into(),
        name: event.name.to_string(),
        ended: event.ended,
        actor: event.actor.clone().unwrap_or_default(),
    }
}

/// The id in a required field.
pub(crate) fn run_id(field: &str, text: &str) -> Result<RunId, Status> {
    let mut violations = Violations::default();
    violations.parse(field, text).ok_or_else(|| invalid(violations.into_vec()))
}

/// The ids in a repeated field of 1 to `most` entries.
pub(crate) fn run_ids(field: &str, texts: &[String], most: usize) -> Result<Vec<RunId>, Status> {
    let mut violations = Violations::default();
    if texts.len() > most {
        violations.add(field, format!("has {} ids; at most {most} are allowed", texts.len()));
        return Err(invalid(violations.into_vec()));
    }
    let ids = texts
        .iter()
        .enumerate()
        .filter_map(|(idx, text)| violations.parse(&format!("{field}[{idx}]"), text))
        .collect();
    if violations.is_empty() { Ok(ids) } else { Err(invalid(violations.into_vec())) }
}

/// The kind that a run must be of; `None`: either.
pub(crate) fn asked_kind(kind: i32) -> Result<Option<RunKind>, Status> {
    if kind == v1::RunKind::Unspecified as i32 {
        return Ok(None);
    }
    let asked = kind_from_proto(kind);
    asked.map(Some).ok_or_else(|| {
        invalid_field("kind", format!("is {kind}: RUN_KIND_FLOW (1), RUN_KIND_TASK (2) or 0 for either"))
    })
}
