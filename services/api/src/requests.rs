//! What people ask of one run, beside its cancel: `PauseRun` and its neighbours of `RunService`.

use std::time::Duration;

use prost::Message as _;
use tidegate_engine::{Ask, Engine, EngineError, Operated, Operation, Pause};
use tidegate_model::limits;
use tidegate_payload::Payloads;
use tidegate_proto::v1;
use tidegate_store::{InputKind, InputQuery, RunInput};
use tidegate_wire::{
    Violations, duration_from_proto, invalid, invalid_field, namespace, pause_timeout, payload_from_proto,
    payload_to_proto, run_to_proto, to_status,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use crate::{actor::actor, convert::run_id, offload::offload};

/// Bytes of a page of inputs, but for its first pause.
const MAX_INPUTS_SIZE: usize = limits::MAX_MESSAGE_SIZE / 2;

pub(crate) async fn pause(
    engine: &Engine,
    request: Request<v1::PauseRunRequest>,
) -> Result<v1::PauseRunResponse, Status> {
    let actor = actor(&request);
    let request = request.into_inner();
    let ask = ask(&request.namespace, &request.run_id, actor, &request.request_id)?;
    check_reason(&request.reason)?;
    let mut violations = Violations::default();
    let timeout = pause_timeout(request.timeout.as_ref(), "timeout", &mut violations);
    if !violations.is_empty() {
        return Err(invalid(violations.into_vec()));
    }
    let run = operate(engine, Operation::Pause { ask, timeout, reason: request.reason }).await?.run;
    Ok(v1::PauseRunResponse { run: Some(run_to_proto(&run)) })
}

pub(crate) async fn resume(
    engine: &Engine,
    payloads: &Payloads,
    request: Request<v1::ResumeRunRequest>,
) -> Result<v1::ResumeRunResponse, Status> {
    let actor = actor(&request);
    let request = request.into_inner();
    let ask = ask(&request.namespace, &request.run_id, actor, &request.request_id)?;
    let mut violations = Violations::default();
    violations.text("pause_key", &request.pause_key, 0, limits::MAX_PAUSE_KEY_SIZE);
    let input = payload_from_proto(request.input.as_ref(), "input", &mut violations);
    if !violations.is_empty() {
        return Err(invalid(violations.into_vec()));
    }
    let input = offload(payloads, &ask.namespace, input, None).await.map_err(|error| to_status(&error))?;
    let key = (!request.pause_key.is_empty()).then_some(request.pause_key);
    let run = operate(engine, Operation::Resume { ask, key, input }).await?.run;
    Ok(v1::ResumeRunResponse { run: Some(run_to_proto(&run)) })
}

pub(crate) async fn retry(
    engine: &Engine,
    request: Request<v1::RetryRunRequest>,
) -> Result<v1::RetryRunResponse, Status> {
    let actor = actor(&request);
    let request = request.into_inner();
    let ask = ask(&request.namespace, &request.run_id, actor, &request.request_id)?;
    check_reason(&request.reason)?;
    let run = operate(engine, Operation::Retry { ask, reason: request.reason }).await?.run;
    Ok(v1::RetryRunResponse { run: Some(run_to_proto(&run)) })
}

pub(crate) async fn delete(
    engine: &Engine,
    request: Request<v1::DeleteRunRequest>,
) -> Result<v1::DeleteRunResponse, Status> {
    let actor = actor(&request);
    let request = request.into_inner();
    let ask = ask(&request.namespace, &request.run_id, actor, &request.request_id)?;
    engine.delete(&ask).await.map_err(|error| to_status(&error))?;
    Ok(v1::DeleteRunResponse {})
}

pub(crate) async fn await_resume(
    engine: &Engine,
    request: v1::AwaitResumeRequest,
    stop: &CancellationToken,
) -> Result<v1::AwaitResumeResponse, Status> {
    let namespace = namespace(&request.namespace)?;
    let run_id = run_id("run_id", &request.run_id)?;
    let mut violations = Violations::default();
    violations.text("pause_key", &request.pause_key, 1, limits::MAX_PAUSE_KEY_SIZE);
    let timeout = wait_timeout(request.timeout.as_ref(), &mut violations);
    if !violations.is_empty() {
        return Err(invalid(violations.into_vec()));
    }
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let waited = engine.await_resume(&namespace, run_id, &request.pause_key, deadline);
    let Some(pause) = stop.run_until_cancelled(waited).await else {
        return Err(to_status(&EngineError::Draining));
    };
    let (resumed, input) = match pause.map_err(|error| to_status(&error))? {
        Pause::Waiting => (false, None),
        Pause::Resumed(input) => (true, input),
    };
    Ok(v1::AwaitResumeResponse { resumed, input: input.as_ref().map(payload_to_proto) })
}

pub(crate) async fn list_inputs(
    engine: &Engine,
    request: v1::ListRunInputsRequest,
) -> Result<v1::ListRunInputsResponse, Status> {
    const DEFAULT: usize = 10;
    const MOST: usize = 50;

    let namespace = namespace(&request.namespace)?;
    let run_id = run_id("run_id", &request.run_id)?;
    let limit = tidegate_wire::page_size(request.page_size, DEFAULT)?.min(MOST);
    let mut violations = Violations::default();
    // The key of the last pause.
    violations.text("page_token", &request.page_token, 0, limits::MAX_PAUSE_KEY_SIZE);
    if !violations.is_empty() {
        return Err(invalid(violations.into_vec()));
    }
    engine.get_all(&namespace, &[run_id]).await.map_err(|error| to_status(&error))?;
    // Two payloads each, so that the last pause of the page is whole.
    let query = InputQuery {
        namespace,
        run_id,
        key: None,
        after: (!request.page_token.is_empty()).then_some(request.page_token),
        limit: 2 * (limit + 1),
    };
    let found = engine.store().get_inputs(&query).await.map_err(|error| to_status(&error))?;
    Ok(page_of(found, limit))
}

/// At most `limit` pauses, and no more than fit into a message.
fn page_of(found: Vec<RunInput>, limit: usize) -> v1::ListRunInputsResponse {
    let mut page = v1::ListRunInputsResponse::default();
    let mut size = 0;
    for input in found {
        let payload = payload_to_proto(&input.data);
        if page.inputs.last().is_none_or(|last| last.pause_key != input.key) {
            if page.inputs.len() == limit || size > MAX_INPUTS_SIZE {
                page.next_page_token =
                    page.inputs.last().map(|last| last.pause_key.clone()).unwrap_or_default();
                break;
            }
            page.inputs.push(v1::RunInput { pause_key: input.key, request: None, input: None });
        }
        size += payload.encoded_len();
        if let Some(last) = page.inputs.last_mut() {
            match input.kind {
                InputKind::Request => last.request = Some(payload),
                InputKind::Input => last.input = Some(payload),
            }
        }
    }
    page
}

fn ask(namespace: &str, run: &str, actor: Option<String>, request_id: &str) -> Result<Ask, Status> {
    let request_id = if request_id.is_empty() { None } else { Some(self::run_id("request_id", request_id)?) };
    Ok(Ask {
        namespace: tidegate_wire::namespace(namespace)?,
        run_id: run_id("run_id", run)?,
        actor,
        request_id,
    })
}

/// A reason that people give for the history.
pub(crate) fn check_reason(reason: &str) -> Result<(), Status> {
    if reason.len() <= limits::MAX_REASON_SIZE {
        return Ok(());
    }
    let (size, most) = (reason.len(), limits::MAX_REASON_SIZE);
    Err(invalid_field("reason", format!("has {size} bytes; at most {most} are allowed")))
}

fn wait_timeout(timeout: Option<&prost_types::Duration>, violations: &mut Violations) -> Option<Duration> {
    let parsed = duration_from_proto(timeout?);
    if parsed.is_none() {
        violations.add("timeout", "is negative; 0 only looks");
    }
    // More than anyone waits, and less than an instant overflows at.
    parsed.map(|timeout| timeout.min(limits::MAX_PAUSE))
}

async fn operate(engine: &Engine, operation: Operation) -> Result<Operated, Status> {
    engine.operate(operation).await.map_err(|error| to_status(&error))
}
