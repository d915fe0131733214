//! A stand-in for api: it keeps runs in a map and judges as the contract of `RunEngineService` says, without
//! policies. It can be switched off, and its claims can be held up.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tidegate_model::{Clock, RunId, SystemClock, Timestamp, limits};
use tidegate_proto::{
    internal::{
        CheckRunsRequest, CheckRunsResponse, Claim, ClaimOutcome, ClaimRunsRequest, ClaimRunsResponse,
        HolderReport, ReportRunsRequest, ReportRunsResponse, RunStanding,
        claim_outcome::{NotDue, Outcome, QueuePaused, Refused, Waiting, WorkPoolPaused},
        run_engine_service_server::RunEngineService,
    },
    v1::{Assign, ReportOutcome, RunKind, State, StateType, report::Event},
};
use tidegate_wire::{duration_from_proto, duration_to_proto, timestamp_to_proto};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

#[derive(Default)]
pub struct FakeApi {
    runs: Mutex<HashMap<RunId, FakeRun>>,
    /// Grows with every change, so that tests can wait for one.
    changes: watch::Sender<u64>,
    is_down: watch::Sender<bool>,
    claims_held_up: watch::Sender<bool>,
    large_held_up: watch::Sender<bool>,
    are_slots_taken: watch::Sender<bool>,
    /// The functions whose runs are in a paused queue, and how many claims were answered so.
    paused: Mutex<HashSet<String>>,
    n_paused_claims: watch::Sender<usize>,
    /// How many claims came before the time of their run.
    n_early_claims: AtomicUsize,
    /// How much its clock is behind that of the others.
    behind: Mutex<Duration>,
    /// How old each report was said to be that came here, also while this is down.
    ages: watch::Sender<Vec<Duration>>,
}

#[derive(Clone, Debug)]
pub struct FakeRun {
    pub kind: RunKind,
    pub name: String,
    pub state: StateType,
    pub epoch: u64,
    pub worker: String,
    pub due_at: Timestamp,
    /// The names of the reports that took effect, in order; lost leases with their cause.
    pub history: Vec<String>,
}

impl FakeApi {
    pub fn create(&self, kind: RunKind, name: &str) -> RunId {
        self.create_due(kind, name, SystemClock.now())
    }

    pub fn create_due(&self, kind: RunKind, name: &str, due_at: Timestamp) -> RunId {
        let run_id = RunId::new();
        let run = FakeRun {
            kind,
            name: name.to_owned(),
            state: StateType::Scheduled,
            epoch: 0,
            worker: String::new(),
            due_at,
            history: Vec::new(),
        };
        self.runs.lock().unwrap().insert(run_id, run);
        run_id
    }

    pub fn get(&self, run_id: RunId) -> FakeRun {
        self.runs.lock().unwrap()[&run_id].clone()
    }

    pub fn epoch(&self, run_id: RunId) -> u64 {
        self.get(run_id).epoch
    }

    pub fn due_at(&self, run_id: RunId) -> prost_types::Timestamp {
        timestamp_to_proto(self.get(run_id).due_at)
    }

    /// As a person's cancel does to a run that runs.
    pub fn set_cancelling(&self, run_id: RunId) {
        self.runs.lock().unwrap().get_mut(&run_id).unwrap().state = StateType::Cancelling;
    }

    pub fn set_down(&self, is_down: bool) {
        self.is_down.send_replace(is_down);
    }

    /// While true every claim finds that a concurrency limit has no free slot.
    pub fn set_slots_taken(&self, are_taken: bool) {
        self.are_slots_taken.send_replace(are_taken);
    }

    /// Claims of runs of this function are answered that their queue is paused.
    pub fn pause(&self, name: &str) {
        self.paused.lock().unwrap().insert(name.to_owned());
    }

    pub fn resume(&self, name: &str) {
        self.paused.lock().unwrap().remove(name);
    }

    /// Claims of runs of this flow are answered that their work pool is paused.
    pub fn pause_pool_of(&self, name: &str) {
        self.pause(&in_pool(name));
    }

    pub fn resume_pool_of(&self, name: &str) {
        self.paused.lock().unwrap().remove(&in_pool(name));
    }

    /// How many claims were answered that the queue is paused.
    pub fn n_paused_claims(&self) -> usize {
        *self.n_paused_claims.borrow()
    }

    pub async fn until_paused_claims(&self, n_claims: usize) {
        let mut counted = self.n_paused_claims.subscribe();
        let waiting = counted.wait_for(|n| *n >= n_claims);
        tokio::time::timeout(super::PATIENCE, waiting).await.expect("claims in time").unwrap();
    }

    /// How many claims were answered that the run is not due yet.
    pub fn n_early_claims(&self) -> usize {
        self.n_early_claims.load(Ordering::Relaxed)
    }

    /// Its clock is behind that of the others.
    pub fn set_behind(&self, behind: Duration) {
        *self.behind.lock().unwrap() = behind;
    }

    /// By its clock.
    pub fn now(&self) -> Timestamp {
        SystemClock.now() - *self.behind.lock().unwrap()
    }

    pub fn hold_up_claims(&self, hold: bool) {
        self.claims_held_up.send_replace(hold);
    }

    /// How old the reports were said to be that came here, also while this is down, once there are so many.
    pub async fn until_ages(&self, n_reports: usize) -> Vec<Duration> {
        let mut ages = self.ages.subscribe();
        let waiting = ages.wait_for(|ages| ages.len() >= n_reports);
        tokio::time::timeout(super::PATIENCE, waiting).await.expect("reports in time").unwrap().clone()
    }

    /// While true batches with a large result are not answered, as where object storage is silent.
    pub fn hold_up_large(&self, hold: bool) {
        self.large_held_up.send_replace(hold);
    }

    /// Waits until a run is as the test wants it.
    pub async fn until(&self, run_id: RunId, wanted: impl Fn(&FakeRun) -> bool) -> FakeRun {
        let mut changes = self.changes.subscribe();
        let waiting = async {
            while !wanted(&self.get(run_id)) {
                changes.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(super::PATIENCE, waiting).await;
        waited.unwrap_or_else(|_| panic!("the run stays as {:?}", self.get(run_id)));
        self.get(run_id)
    }

    fn check_up(&self) -> Result<(), Status> {
        if *self.is_down.borrow() { Err(Status::unavailable("down, as the test says")) } else { Ok(()) }
    }

    fn claim(&self, claim: &Claim) -> ClaimOutcome {
        let run_id = claim.run_id.parse().unwrap();
        let mut runs = self.runs.lock().unwrap();
        let outcome = match runs.get_mut(&run_id) {
            Some(run) if run.state == StateType::Scheduled && run.epoch == claim.epoch => {
                let now = self.now();
                if run.due_at > now {
                    self.n_early_claims.fetch_add(1, Ordering::Relaxed);
                    let delay = Some(duration_to_proto(run.due_at.since(now)));
                    Outcome::NotDue(NotDue { due_at: Some(timestamp_to_proto(run.due_at)), delay })
                } else if self.paused.lock().unwrap().contains(&in_pool(&run.name)) {
                    self.n_paused_claims.send_modify(|n| *n += 1);
                    Outcome::WorkPoolPaused(WorkPoolPaused {})
                } else if self.paused.lock().unwrap().contains(&run.name) {
                    self.n_paused_claims.send_modify(|n| *n += 1);
                    Outcome::QueuePaused(QueuePaused {})
                } else if *self.are_slots_taken.borrow() {
                    run.epoch += 1;
                    Outcome::Waiting(Waiting {})
                } else {
                    run.state = StateType::Pending;
                    run.epoch += 1;
                    run.worker.clone_from(&claim.worker_id);
                    Outcome::Assign(assign(run_id, run))
                }
            }
            Some(run)
                if run.state == StateType::Pending
                    && run.epoch == claim.epoch + 1
                    && run.worker == claim.worker_id =>
            {
                Outcome::Assign(assign(run_id, run))
            }
            _ => Outcome::Refused(Refused { reason: "STALE_EPOCH".to_owned() }),
        };
        ClaimOutcome { run_id: claim.run_id.clone(), outcome: Some(outcome) }
    }

    fn report(&self, report: &HolderReport) -> ReportOutcome {
        let inner = report.report.as_ref().unwrap();
        let mut outcome =
            ReportOutcome { run_id: inner.run_id.clone(), epoch: inner.epoch, ..ReportOutcome::default() };
        let mut runs = self.runs.lock().unwrap();
        let Some(run) = runs.get_mut(&inner.run_id.parse().unwrap()) else {
            outcome.reason = "RUN_NOT_FOUND".to_owned();
            return outcome;
        };
        let (name, next, fences) = match inner.event.as_ref().unwrap() {
            Event::Started(_) => ("started".to_owned(), StateType::Running, false),
            Event::Completed(_) => ("completed".to_owned(), StateType::Completed, false),
            Event::Failed(_) | Event::TimedOut(_) | Event::UpstreamFailed(_) => {
                ("failed".to_owned(), StateType::Failed, false)
            }
            Event::Paused(paused) if paused.suspend => ("suspended".to_owned(), StateType::Paused, true),
            Event::Paused(_) => ("paused".to_owned(), StateType::Paused, false),
            Event::Cancelled(_) => ("cancelled".to_owned(), StateType::Cancelled, false),
            Event::Released(_) => ("released".to_owned(), StateType::Scheduled, true),
            Event::Crashed(crashed) => {
                let is_lost = crashed.cause.starts_with("lease lost");
                let what = if is_lost { &crashed.cause } else { "crashed" };
                (what.to_owned(), StateType::Scheduled, true)
            }
        };
        // What has begun is not given back.
        let may_be = name != "released" || run.state == StateType::Pending;
        let is_held = is_held(run.state) && may_be;
        if run.epoch != inner.epoch {
            outcome.reason = "STALE_EPOCH".to_owned();
        } else if is_held {
            run.state = next;
            run.epoch += u64::from(fences);
            run.history.push(name);
            outcome.accepted = true;
        } else {
            outcome.reason = "TRANSITION_NOT_ALLOWED".to_owned();
        }
        outcome.state = Some(State { r#type: run.state.into(), ..State::default() });
        outcome.current_epoch = run.epoch;
        outcome
    }
}

fn is_held(state: StateType) -> bool {
    matches!(state, StateType::Pending | StateType::Running | StateType::Paused | StateType::Cancelling)
}

fn is_large(report: &HolderReport) -> bool {
    match report.report.as_ref().and_then(|report| report.event.as_ref()) {
        Some(Event::Completed(completed)) => completed
            .result
            .as_ref()
            .is_some_and(|result| result.data.len() > limits::MAX_INLINE_PAYLOAD_SIZE),
        _ => false,
    }
}

fn assign(run_id: RunId, run: &FakeRun) -> Assign {
    Assign {
        run_id: run_id.to_string(),
        epoch: run.epoch,
        kind: run.kind.into(),
        name: run.name.clone(),
        attempt: 1,
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
        ..Assign::default()
    }
}

#[tonic::async_trait]
impl RunEngineService for FakeApi {
    async fn claim_runs(
        &self,
        request: Request<ClaimRunsRequest>,
    ) -> Result<Response<ClaimRunsResponse>, Status> {
        self.check_up()?;
        let outcomes = request.into_inner().claims.iter().map(|claim| self.claim(claim)).collect();
        self.changes.send_modify(|changes| *changes += 1);
        self.claims_held_up.subscribe().wait_for(|held_up| !held_up).await.unwrap();
        Ok(Response::new(ClaimRunsResponse { outcomes }))
    }

    async fn report_runs(
        &self,
        request: Request<ReportRunsRequest>,
    ) -> Result<Response<ReportRunsResponse>, Status> {
        let reports = request.into_inner().reports;
        let age = |report: &HolderReport| duration_from_proto(report.report.as_ref()?.age.as_ref()?);
        self.ages.send_modify(|ages| ages.extend(reports.iter().filter_map(age)));
        self.check_up()?;
        if reports.iter().any(is_large) {
            self.large_held_up.subscribe().wait_for(|held_up| !held_up).await.unwrap();
        }
        let outcomes = reports.iter().map(|report| self.report(report)).collect();
        self.changes.send_modify(|changes| *changes += 1);
        Ok(Response::new(ReportRunsResponse { outcomes }))
    }

    async fn check_runs(
        &self,
        request: Request<CheckRunsRequest>,
    ) -> Result<Response<CheckRunsResponse>, Status> {
        self.check_up()?;
        let runs = self.runs.lock().unwrap();
        let standing = |held: &tidegate_proto::v1::HeldRun| {
            let run = runs.get(&held.run_id.parse().unwrap()).filter(|run| run.epoch == held.epoch);
            let state = run.map_or(StateType::Unspecified, |run| run.state);
            RunStanding {
                run_id: held.run_id.clone(),
                held: is_held(state),
                cancelling: state == StateType::Cancelling,
            }
        };
        let standings = request.get_ref().runs.iter().map(standing).collect();
        Ok(Response::new(CheckRunsResponse { standings }))
    }
}

/// How a flow is noted whose work pool is paused.
fn in_pool(name: &str) -> String {
    format!("pool of {name}")
}
