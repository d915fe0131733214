use std::{collections::BTreeMap, time::Duration};

use super::{Attempts, Worker, WorkerOptions};
use crate::{
    Client, Error, ErrorKind, clock,
    proto::{Assign, Run, StateType},
    stop::Stop,
};

/// How long the code has to end after a cancel, where the run does not say it: the default of the protocol.
const CANCEL_GRACE: Duration = Duration::from_secs(30);

impl Worker {
    /// Executes the run that a worker of a pool was assigned under `epoch` and has started this process for. Its only
    /// attempt comes out of [`Attempts`]; when that has ended and the server has answered, the worker has ended.
    ///
    /// `drain_grace` is how long the code may go on after [`Worker::drain`].
    ///
    /// # Errors
    /// `FailedPrecondition` where the run is no longer to be executed under `epoch`; `NotFound`, `Unavailable`.
    pub async fn execute(
        client: &Client,
        run_id: &str,
        epoch: u64,
        drain_grace: Duration,
    ) -> Result<(Self, Attempts), Error> {
        let run = client.peek_run(run_id).await?;
        let (assign, stop) = assign_of(run, epoch)?;
        let options = WorkerOptions {
            name: String::new(),
            queues: Vec::new(),
            functions: Vec::new(),
            work_pool: String::new(),
            labels: BTreeMap::new(),
            task_slots: 0,
            flow_slots: 0,
            drain_grace,
        };
        Ok(Self::launch(client, options, 1, |actor| actor.execute(assign, stop)))
    }
}

/// The assignment that the pool's worker has had for `run`, and whether it was cancelled since.
fn assign_of(run: Run, epoch: u64) -> Result<(Assign, Stop), Error> {
    let state = run.state.unwrap_or_default();
    let state_type = state.r#type();
    let is_held = matches!(state_type, StateType::Pending | StateType::Running | StateType::Cancelling);
    if run.epoch != epoch || !is_held {
        let message = format!(
            "run {} is {} under epoch {}, and this process was started to execute it under epoch {epoch}: it was \
             taken away, or has ended, and is not executed here",
            run.id,
            state_type.as_str_name().trim_start_matches("STATE_TYPE_"),
            run.epoch,
        );
        return Err(Error::new(ErrorKind::FailedPrecondition, message));
    }
    let policies = run.policies.unwrap_or_default();
    let stop = match state_type {
        StateType::Cancelling => {
            let grace = clock::duration_of(policies.cancel_grace.as_ref()).unwrap_or(CANCEL_GRACE);
            Stop::Cancel { message: state.message, grace }
        }
        _ => Stop::Go,
    };
    // A worker whose preparation takes long has said started already.
    let attempt = if state_type == StateType::Pending { run.attempt + 1 } else { run.attempt };
    let assign = Assign {
        run_id: run.id,
        epoch,
        lease_expires_at: None,
        kind: run.kind,
        name: run.name,
        run_name: run.run_name,
        attempt,
        queue: run.queue,
        parameters: run.parameters,
        run_timeout: policies.run_timeout,
        cancel_grace: policies.cancel_grace,
        traceparent: run.traceparent,
        parent_run_id: run.parent_run_id,
        root_run_id: run.root_run_id,
        tags: run.tags,
        labels: run.labels,
        deployment: run.deployment,
        job: None,
        fire_at: run.fire_at,
    };
    Ok((assign, stop))
}
