use futures::future::join_all;
use tidegate_model::Timestamp;
use tidegate_orchestration::{Event, Run, apply};
use tidegate_store::{StoreError, Sweep};

use crate::{
    Engine, EngineError, LeaseQuestion, Operation,
    dispatch::{hand_over, sweep_horizon},
    lane::with_retries,
    operate::Changes,
};

/// Who asks for what time brings.
const ACTOR: &str = "scheduler";

impl Engine {
    /// Hands over up to `limit` queued runs that are due and were never handed over, or whose hand-over is older
    /// than `enqueued_before` and may be lost. Gives how many.
    pub async fn enqueue_due(&self, enqueued_before: Timestamp, limit: usize) -> Result<usize, EngineError> {
        let now = self.inner.clock.now();
        let due_before = sweep_horizon(now);
        let sweeps = [
            Sweep::NeverEnqueued { due_before },
            Sweep::EnqueuedBefore { due_before, enqueued_before: enqueued_before.min(now) },
        ];
        let mut n_runs = 0;
        for sweep in &sweeps {
            let runs = with_retries(|| self.mark_due(sweep, now, limit)).await?;
            n_runs += hand_over(&*self.inner.dispatch, &*self.inner.store, &runs).await;
        }
        Ok(n_runs)
    }

    async fn mark_due(&self, sweep: &Sweep, now: Timestamp, limit: usize) -> Result<Vec<Run>, StoreError> {
        let mut tx = self.inner.store.begin().await?;
        let runs = tx.sweep(sweep, limit).await?;
        if !runs.is_empty() {
            let rows: Vec<_> = runs.iter().map(|run| (run.clone(), Some(now))).collect();
            tx.update_runs(&rows).await?;
            match tx.commit().await {
                // Marked or not, they are handed over: a second hand-over does no harm, a mark without one would.
                Ok(()) | Err(StoreError::CommitUnknown(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(runs)
    }

    /// Fires up to `limit` timers that have come: expiry and lateness of waiting runs, start, run and cancel timeouts,
    /// the end of pauses. Gives how many runs it looked at.
    pub async fn fire_timers(&self, limit: usize) -> Result<usize, EngineError> {
        let now = self.inner.clock.now();
        let event = |_: &Run| Event::TimerFired;
        with_retries(|| self.sweep_with(Sweep::Timers { now }, &event, limit)).await
    }

    /// Crashes up to `limit` local runs of sessions that are lost. Gives how many.
    pub async fn crash_lost_sessions(&self, limit: usize) -> Result<usize, EngineError> {
        let now = self.inner.clock.now();
        let event = |_: &Run| Event::Crashed {
            cause: "its session was ended or lost: its process went away or fell silent".to_owned(),
        };
        with_retries(|| self.sweep_with(Sweep::LostSessions { now }, &event, limit)).await
    }

    async fn sweep_with(
        &self,
        sweep: Sweep,
        event: &(dyn Fn(&Run) -> Event + Sync),
        limit: usize,
    ) -> Result<usize, StoreError> {
        let now = self.inner.clock.now();
        let mut tx = self.inner.store.begin().await?;
        let runs = tx.sweep(&sweep, limit).await?;
        let n_runs = runs.len();
        let mut changes = Changes::new(Vec::new());
        for run in runs {
            let event = event(&run);
            match apply(&run, Some(run.epoch), &event, now, rand::random()) {
                Ok(step) if !step.transitions.is_empty() => {
                    changes.take(&run, &event, Some(ACTOR), step, now)
                }
                Ok(_) => {}
                Err(rejection) => {
                    tracing::error!(run.id = %run.id, %rejection, ?sweep, "a sweep found a run that its rule refuses");
                }
            }
        }
        self.send(changes.commit(&*self.inner.store, tx, now).await?);
        Ok(n_runs)
    }

    /// Crashes held queued runs that have no lease in delivery: the last resort where delivery lost its state and
    /// the worker is gone too. Looks at runs that entered their state before `entered_before`. Gives how many crashed.
    pub async fn crash_unleased(&self, entered_before: Timestamp, page: usize) -> Result<usize, EngineError> {
        let (mut after, mut n_crashed) = (None, 0);
        loop {
            let runs = self.inner.store.held_runs(after, entered_before, page).await?;
            let Some(last) = runs.last() else { return Ok(n_crashed) };
            after = Some(last.id);
            let held: Vec<_> = runs.iter().filter_map(|run| Some((run, question(run)?))).collect();
            let questions: Vec<_> = held.iter().map(|(_, question)| question.clone()).collect();
            let answers = match self.inner.dispatch.check_leases(&questions).await {
                Ok(answers) => answers,
                Err(error) => {
                    tracing::warn!(%error, "leases were not checked");
                    return Ok(n_crashed);
                }
            };
            let crashes = held
                .into_iter()
                .zip(answers)
                .filter(|(_, leased)| !leased)
                .map(|((run, question), _)| self.operate(crash(run, &question)));
            for crashed in join_all(crashes).await {
                match crashed {
                    Ok(operated) => n_crashed += usize::from(operated.changed),
                    // It moved on meanwhile: then it is not lost.
                    Err(EngineError::Rejected(_) | EngineError::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

fn crash(run: &Run, question: &LeaseQuestion) -> Operation {
    let holder = run.holder().map(ToString::to_string).unwrap_or_default();
    Operation::Report {
        namespace: run.namespace.clone(),
        run_id: run.id,
        epoch: question.epoch,
        event: Event::Crashed { cause: format!("lease lost: {holder} did not renew it") },
        happened_at: None,
        result: None,
    }
}

fn question(run: &Run) -> Option<LeaseQuestion> {
    let tidegate_orchestration::Placement::Queue(queue) = &run.placement else { return None };
    Some(LeaseQuestion {
        namespace: run.namespace.clone(),
        queue: queue.clone(),
        run_id: run.id,
        epoch: run.epoch,
    })
}
