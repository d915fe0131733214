use std::collections::HashMap;

use futures::future::join_all;
use tidegate_engine::{Engine, EngineError, Operated, Operation};
use tidegate_model::{Epoch, FieldViolation, Namespace, Reason, RunId, ServiceError as _, Timestamp};
use tidegate_orchestration::{Run, StateType};
use tidegate_payload::Payloads;
use tidegate_proto::v1;
use tidegate_store::StoreError;
use tidegate_wire::{ParsedReport, parse_report, state_to_proto, timestamp_to_proto, to_status};
use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::offload::{is_large, offload};

/// Applies reports in their order and answers each, in that order.
///
/// The reports are queued before the returned future is first polled, so that batches that are handed over one
/// after the other keep their order without waiting for each other. `order` is that of those batches.
pub(crate) fn report_all(
    engine: &Engine,
    payloads: &Payloads,
    order: &mut Order,
    reports: Vec<(Result<Namespace, Vec<FieldViolation>>, v1::Report)>,
) -> impl Future<Output = Vec<v1::ReportOutcome>> + Send + use<> {
    let engine = engine.clone();
    order.forget_answered();
    let mut pending = Vec::with_capacity(reports.len());
    for (namespace, report) in reports {
        let (run_id, epoch) = (report.run_id.clone(), report.epoch);
        let parsed = namespace.and_then(|namespace| Ok((namespace, parse_report(report)?)));
        let submitted = parsed.map(|(namespace, parsed)| {
            let id = parsed.run_id;
            (namespace.clone(), id, submit(&engine, payloads, order, namespace, parsed))
        });
        pending.push(async move {
            match submitted {
                Ok((namespace, id, operated)) => {
                    Answered { run_id, epoch, checked: Some((namespace, id)), result: Ok(operated.await) }
                }
                Err(violations) => Answered { run_id, epoch, checked: None, result: Err(violations) },
            }
        });
    }
    async move {
        let answered = join_all(pending).await;
        let current = current_runs(&engine, &answered).await;
        answered.into_iter().map(|answered| outcome(answered, &current)).collect()
    }
}

/// The runs of which a report is on its way to object storage, each with the end of its last such report. A later report
/// of the run waits for it: the request of a pause must not come after what the run did next.
#[derive(Default)]
pub(crate) struct Order(HashMap<RunId, oneshot::Receiver<bool>>);

impl Order {
    /// A place behind those of the run that wait, where there are such or this one is to wait itself.
    fn place(&mut self, run_id: RunId, is_large: bool) -> Option<Place> {
        let before = self.0.remove(&run_id);
        if before.is_none() && !is_large {
            return None;
        }
        let (done, after) = oneshot::channel();
        self.0.insert(run_id, after);
        Some(Place { before, done })
    }

    fn forget_answered(&mut self) {
        self.0.retain(|_, last| matches!(last.try_recv(), Err(TryRecvError::Empty)));
    }
}

struct Place {
    before: Option<oneshot::Receiver<bool>>,
    /// Told whether the report was judged.
    done: oneshot::Sender<bool>,
}

/// Queues a report at once, unless its value is to go to object storage first, or one before it waits for that.
fn submit(
    engine: &Engine,
    payloads: &Payloads,
    order: &mut Order,
    namespace: Namespace,
    report: ParsedReport,
) -> impl Future<Output = Result<Operated, EngineError>> + Send + use<> {
    // By the engine's clock, and now: what waits from here on is no part of what the holder knows of.
    let happened_at = engine.clock().now() - report.age;
    let queued = match order.place(report.run_id, is_large(report.result.as_ref())) {
        Some(place) => Err((engine.clone(), payloads.clone(), place, namespace, report)),
        None => Ok(engine.operate(operation(namespace, report, happened_at))),
    };
    async move {
        match queued {
            Ok(operated) => operated.await,
            Err((engine, payloads, place, namespace, report)) => {
                let Place { before, done } = place;
                let is_next = match before {
                    Some(before) => before.await == Ok(true),
                    None => true,
                };
                let answer = if is_next {
                    operate_late(&engine, &payloads, namespace, report, happened_at).await
                } else {
                    // The one before it comes again, and then this one.
                    Err(StoreError::Unavailable("the report before this one was not taken".into()).into())
                };
                let _ = done.send(!answer.as_ref().is_err_and(may_pass)); // mostly nothing waits for it
                answer
            }
        }
    }
}

/// True where the same report may be taken when it comes again.
fn may_pass(error: &EngineError) -> bool {
    matches!(error.reason(), Reason::DependencyUnavailable | Reason::Overloaded | Reason::Draining)
}

async fn operate_late(
    engine: &Engine,
    payloads: &Payloads,
    namespace: Namespace,
    mut report: ParsedReport,
    happened_at: Timestamp,
) -> Result<Operated, EngineError> {
    report.result = offload(payloads, &namespace, report.result, None).await?;
    engine.operate(operation(namespace, report, happened_at)).await
}

struct Answered {
    run_id: String,
    epoch: u64,
    checked: Option<(Namespace, RunId)>,
    result: Result<Result<Operated, EngineError>, Vec<FieldViolation>>,
}

fn operation(namespace: Namespace, report: ParsedReport, happened_at: Timestamp) -> Operation {
    Operation::Report {
        namespace,
        run_id: report.run_id,
        epoch: report.epoch,
        event: report.event,
        happened_at: Some(happened_at),
        result: report.result,
    }
}

/// The rows of refused reports, so that their holders learn how things stand. A read that fails leaves that out.
async fn current_runs(engine: &Engine, answered: &[Answered]) -> HashMap<RunId, Run> {
    let ids: Vec<RunId> = answered
        .iter()
        .filter(|answered| matches!(answered.result, Ok(Err(EngineError::Rejected(_)))))
        .filter_map(|answered| answered.checked.as_ref().map(|(_, id)| *id))
        .collect();
    if ids.is_empty() {
        return HashMap::new();
    }
    let found = engine.store().get_runs(None, &ids).await.unwrap_or_default();
    found.into_iter().map(|run| (run.id, run)).collect()
}

fn outcome(answered: Answered, current: &HashMap<RunId, Run>) -> v1::ReportOutcome {
    let base =
        v1::ReportOutcome { run_id: answered.run_id, epoch: answered.epoch, ..v1::ReportOutcome::default() };
    match answered.result {
        Ok(Ok(operated)) => v1::ReportOutcome { accepted: true, ..standing(base, &operated.run) },
        Ok(Err(error)) => {
            let known = answered
                .checked
                .and_then(|(namespace, id)| current.get(&id).filter(|run| run.namespace == namespace));
            let base = match known {
                Some(run) => standing(base, run),
                None => base,
            };
            // As for other errors: the text of an internal one goes to the log.
            let message = to_status(&error).message().to_owned();
            v1::ReportOutcome { reason: error.reason().as_str().to_owned(), message, ..base }
        }
        Err(violations) => {
            let message: Vec<_> = violations
                .iter()
                .map(|violation| format!("{}: {}", violation.field, violation.description))
                .collect();
            v1::ReportOutcome {
                reason: Reason::InvalidField.as_str().to_owned(),
                message: message.join("; "),
                ..base
            }
        }
    }
}

fn standing(outcome: v1::ReportOutcome, run: &Run) -> v1::ReportOutcome {
    let Epoch(current_epoch) = run.epoch;
    let is_scheduled = run.state.state_type() == StateType::Scheduled;
    v1::ReportOutcome {
        state: Some(state_to_proto(&run.state)),
        due_at: is_scheduled.then(|| timestamp_to_proto(run.due_at)),
        current_epoch,
        attempt: run.attempt,
        ..outcome
    }
}
