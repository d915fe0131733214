use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use prost::Message as _;
use tidegate_engine::{Engine, EngineError, WaitSet};
use tidegate_model::{Namespace, RunId, limits};
use tidegate_proto::v1;
use tidegate_store::RunDetail;
use tidegate_wire::{duration_from_proto, invalid_field, namespace, to_status};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    convert::{asked_kind, detail_to_proto, run_ids},
    stream::{Pull, ResponseStream, pulled},
};

/// Runs read at a time: with payloads they may be large.
const N_READ: usize = 64;
/// A message is closed once it has this many bytes.
const MESSAGE_SIZE: usize = limits::MAX_MESSAGE_SIZE / 4;

/// Opens a `WaitRuns` stream. An id that is no run of the namespace, or of another kind, is NOT_FOUND at once; one that is
/// deleted before its end was read is so after what was read before.
pub(crate) async fn open(
    engine: &Engine,
    request: v1::WaitRunsRequest,
    stop: CancellationToken,
) -> Result<ResponseStream<v1::WaitRunsResponse>, Status> {
    let namespace = namespace(&request.namespace)?;
    let ids = run_ids("run_ids", &request.run_ids, limits::MAX_WATCHED_RUNS)?;
    if ids.is_empty() {
        return Err(invalid_field("run_ids", "is empty: say which runs to wait for"));
    }
    let mode = request.mode();
    let timeout = match request.timeout {
        None => None,
        Some(timeout) => Some(
            duration_from_proto(&timeout)
                .ok_or_else(|| invalid_field("timeout", "is negative; 0 gives what has ended already"))?,
        ),
    };
    let deadline = timeout.map(|timeout| Instant::now() + timeout.min(Duration::from_secs(365 * 86_400)));
    let set =
        engine.wait(&namespace, &ids, asked_kind(request.kind)?).await.map_err(|error| to_status(&error))?;
    let state = Wait {
        engine: engine.clone(),
        namespace,
        set,
        deadline,
        is_any: mode == v1::WaitMode::Any,
        ended: VecDeque::new(),
        read: VecDeque::new(),
        gone: None,
        is_over: false,
    };
    Ok(pulled(state, stop))
}

struct Wait {
    engine: Engine,
    namespace: Namespace,
    set: WaitSet,
    deadline: Option<Instant>,
    is_any: bool,
    /// Ended, not yet read.
    ended: VecDeque<RunId>,
    /// Read, not yet sent.
    read: VecDeque<v1::Run>,
    /// One that had ended, but was deleted before it was read.
    gone: Option<RunId>,
    is_over: bool,
}

impl Pull<v1::WaitRunsResponse> for Wait {
    async fn pull(&mut self) -> Result<Option<v1::WaitRunsResponse>, Status> {
        if self.is_over {
            return Ok(None);
        }
        let mut timed_out = false;
        if self.read.is_empty() && self.ended.is_empty() && self.gone.is_none() {
            self.ended = self.set.next(self.deadline).await.map_err(|error| to_status(&error))?.into();
            timed_out = self.ended.is_empty();
        }
        if self.read.is_empty() && self.gone.is_none() {
            self.read_ended().await?;
        }
        if let Some(run_id) = self.gone.filter(|_| self.read.is_empty()) {
            return Err(to_status(&EngineError::NotFound { run_id }));
        }
        let runs = self.next_message();
        let is_sent = self.read.is_empty() && self.ended.is_empty();
        let n_pending = self.set.n_pending() + self.ended.len() + self.read.len();
        self.is_over =
            timed_out || self.is_any || (is_sent && self.gone.is_none() && self.set.n_pending() == 0);
        Ok(Some(v1::WaitRunsResponse {
            runs,
            n_pending: u32::try_from(n_pending).unwrap_or(u32::MAX),
            timed_out: timed_out && n_pending > 0,
        }))
    }
}

impl Wait {
    async fn read_ended(&mut self) -> Result<(), Status> {
        let n_ids = self.ended.len().min(N_READ);
        let ids: Vec<RunId> = self.ended.drain(..n_ids).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let store = self.engine.store();
        let details =
            store.get_details(Some(&self.namespace), &ids).await.map_err(|error| to_status(&error))?;
        let mut by_id: HashMap<RunId, RunDetail> =
            details.into_iter().map(|detail| (detail.run.id, detail)).collect();
        // In the order of their ends.
        for id in ids {
            match by_id.remove(&id) {
                Some(detail) => self.read.push_back(detail_to_proto(&detail)),
                None => self.gone = Some(id),
            }
        }
        Ok(())
    }

    fn next_message(&mut self) -> Vec<v1::Run> {
        let (mut runs, mut size) = (Vec::new(), 0);
        while let Some(run) = self.read.pop_front() {
            size += run.encoded_len();
            runs.push(run);
            if size >= MESSAGE_SIZE {
                break;
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::{StreamExt as _, future::try_join_all};
    use tidegate_dispatch::GrpcDispatch;
    use tidegate_engine::{Create, Operation, Options};
    use tidegate_model::{QueueName, RunKind, SystemClock};
    use tidegate_orchestration::{Draft, Event, Holder, Placement};
    use tidegate_store::RunStore;
    use tidegate_store_sqlite::SqliteStore;
    use tokio::task::JoinSet;
    use tonic::Code;

    use super::*;

    fn create() -> Create {
        let (name, queue) = ("resize".parse().expect("is a name"), Placement::Queue(QueueName::default()));
        Create {
            draft: Draft::new(RunId::new(), RunKind::Task, name, queue),
            parameters: None,
            params_hash: [0; 32],
            idempotency_key: None,
            use_existing: false,
            refresh_cache: false,
            schedule: None,
            is_child_call: false,
            parent_epoch: None,
            actor: None,
            job: None,
            deploy: None,
        }
    }

    /// One that has ended and goes before it is read is told as gone: it has not timed out, and will not end again.
    #[tokio::test]
    async fn a_run_that_is_deleted_before_it_is_read_is_not_found() {
        let store: Arc<dyn RunStore> = Arc::new(SqliteStore::in_memory().await.expect("opens"));
        let nowhere = tidegate_service_kit::channel("http://127.0.0.1:1").expect("is an address");
        let clock = Arc::new(SystemClock);
        let dispatch = Arc::new(GrpcDispatch::new(nowhere, clock.clone()));
        let (engine, tasks) = Engine::new(Arc::clone(&store), dispatch, clock, Options::default());
        let mut background = JoinSet::new();
        for (_, task) in tasks {
            background.spawn(task);
        }
        let mut ids = Vec::new();
        for created in try_join_all((0..=N_READ).map(|_| engine.create(create()))).await.expect("are created")
        {
            let (namespace, run_id) = (created.run.namespace, created.run.id);
            let holder = Holder::Worker("w".parse().expect("is a worker id"));
            let (epoch, claimed_by) = (created.run.epoch, namespace.clone());
            let claim = Operation::Claim { namespace: claimed_by, run_id, epoch, holder };
            let epoch = engine.operate(claim).await.expect("is claimed").run.epoch;
            for event in [Event::Started, Event::Completed] {
                let namespace = namespace.clone();
                let report =
                    Operation::Report { namespace, run_id, epoch, event, happened_at: None, result: None };
                engine.operate(report).await.expect("is accepted");
            }
            ids.push(run_id);
        }
        let open = engine.create(create()).await.expect("is created").run.id;
        let request = v1::WaitRunsRequest {
            run_ids: ids.iter().chain([&open]).map(RunId::to_string).collect(),
            ..Default::default()
        };
        let mut wait = super::open(&engine, request, CancellationToken::new()).await.expect("opens");
        let first = wait.next().await.expect("goes on").expect("has some");
        assert_eq!((first.runs.len(), first.n_pending, first.timed_out), (N_READ, 2, false));
        let mut tx = store.begin().await.expect("begins");
        assert_eq!(tx.delete_runs(&ids).await.expect("deletes"), ids.len());
        tx.commit().await.expect("commits");
        let gone = wait.next().await.expect("is told").expect_err("is gone");
        assert_eq!(gone.code(), Code::NotFound, "{gone:?}");
        assert!(ids.iter().any(|id| gone.message().contains(&id.to_string())), "{gone:?}");
    }
}
