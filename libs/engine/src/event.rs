use tidegate_orchestration::{Holder, Placement, Step};
use tidegate_store::EventRow;

/// The events of a step, numbered without a gap (P7). `before` is who held the run before it, `actor` who asked for it.
pub(crate) fn rows(step: &Step, before: Option<&Holder>, actor: Option<&str>) -> Vec<EventRow> {
    let run = &step.run;
    // A local run is its session's business also while it waits for a retry.
    let session = match run.placement {
        Placement::Session(session) => Some(Holder::Session(session)),
        Placement::Queue(_) => None,
    };
    let before = before.or(session.as_ref());
    let n_events = step.transitions.len();
    let mut rows = Vec::with_capacity(n_events);
    for (state_idx, state) in step.transitions.iter().enumerate() {
        let n_later = n_events - 1 - state_idx;
        let state_type = state.state_type();
        rows.push(EventRow {
            run_id: run.id,
            root: run.root,
            namespace: run.namespace.clone(),
            kind: run.kind,
            name: run.name.clone(),
            seq: run.event_seq - n_later as u64,
            state_type,
            state_name: state.name,
            message: state.message.clone(),
            at: state.at,
            holder: state.phase.holder().or(before).cloned(),
            attempt: run.attempt,
            epoch: run.epoch,
            actor: actor.map(str::to_owned),
            ended: n_later == 0 && state_type.is_terminal(),
        });
    }
    rows
}
