use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use prost::Message as _;
use tidegate_engine::{Engine, WaitSet};
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

/// Opens a `WaitRuns` stream. An id that is no run of the namespace, or of another kind, is NOT_FOUND at once.
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
    is_over: bool,
}

impl Pull<v1::WaitRunsResponse> for Wait {
    async fn pull(&mut self) -> Result<Option<v1::WaitRunsResponse>, Status> {
        if self.is_over {
            return Ok(None);
        }
        if self.read.is_empty() && self.ended.is_empty() {
            self.ended = self.set.next(self.deadline).await.map_err(|error| to_status(&error))?.into();
        }
        if self.read.is_empty() {
            self.read_ended().await?;
        }
        let runs = self.next_message();
        let timed_out = runs.is_empty();
        let is_sent = self.read.is_empty() && self.ended.is_empty();
        let n_pending = self.set.n_pending() + self.ended.len() + self.read.len();
        self.is_over = timed_out || self.is_any || (is_sent && self.set.n_pending() == 0);
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
        self.read.extend(ids.iter().filter_map(|id| by_id.remove(id)).map(|detail| detail_to_proto(&detail)));
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
