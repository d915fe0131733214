//! Firings: automations that were set off, and are to be carried out by whoever takes them.

use std::collections::{BTreeSet, HashMap};

use tidegate_model::{RunId, limits};
use tidegate_orchestration::Run;
use tidegate_store::{
    Automation, AutomationKey, Filter, Firing, FiringKey, FiringOutcome, FiringQuery, StoreError,
};

use crate::{Engine, EngineError, commit::commit, lane::with_retries};

/// A firing that is to be carried out.
#[derive(Clone, Debug)]
pub struct TakenFiring {
    /// It.
    pub firing: Firing,
    /// What is to be done.
    pub automation: Automation,
    /// The run that set it off, as it is now.
    pub run: Run,
}

/// What one look for firings has found.
#[derive(Clone, Debug)]
pub struct TakenFirings {
    /// They are to be carried out.
    pub taken: Vec<TakenFiring>,
    /// Some were due, and may have been dropped: there may be more.
    pub any_due: bool,
}

/// A firing, how often it was taken, and what has become of it.
type Finished = (FiringKey, u32, FiringOutcome);

/// An automation that is not paused.
struct Active {
    automation: Automation,
    /// That of its trigger, or what is wrong with that.
    filter: Result<Filter, String>,
}

impl Engine {
    /// Up to `limit` firings of an automation by run and number, after `after`; those that were given up among them.
    pub async fn list_firings(
        &self,
        key: &AutomationKey,
        after: Option<(RunId, u64)>,
        limit: usize,
    ) -> Result<Vec<Firing>, EngineError> {
        self.get_automation(key).await?;
        Ok(self.store().list_firings(key, after, limit).await?)
    }

    /// Takes firings that are due, with what it needs to carry them out. The filter of the trigger is asked before the
    /// first try, and a firing whose run does not match, or is gone, is dropped here. So what is to be carried out may be
    /// less than `limit`, or nothing, though more are due.
    pub async fn take_firings(&self, query: &FiringQuery) -> Result<TakenFirings, EngineError> {
        // A commit that goes unanswered leaves some that nobody carries out now: they are due again at `until`.
        let firings = with_retries(|| self.try_take_firings(query)).await?;
        let any_due = !firings.is_empty();
        let (taken, finished) = self.judge(firings).await?;
        if !finished.is_empty() {
            self.finish_firings(&finished).await?;
        }
        Ok(TakenFirings { taken, any_due })
    }

    /// Keeps what has become of firings that were taken, each with its number of tries by then. One that was taken again
    /// since is another's business.
    pub async fn finish_firings(
        &self,
        finished: &[(FiringKey, u32, FiringOutcome)],
    ) -> Result<(), EngineError> {
        let finished: Vec<_> = finished
            .iter()
            .map(|(key, n_tries, outcome)| (key.clone(), *n_tries, bounded(outcome.clone())))
            .collect();
        with_retries(|| self.try_finish_firings(&finished)).await
    }

    /// Forgets up to `limit` firings that were given up long ago. Gives how many.
    pub async fn purge_firings(&self, limit: usize) -> Result<usize, EngineError> {
        with_retries(|| self.try_purge_firings(limit)).await
    }

    /// Pauses the automations that have more firings than they may have: who does not answer is to be asked about by people,
    /// and not for ever. Gives which.
    pub async fn pause_crowded_automations(&self) -> Result<Vec<AutomationKey>, EngineError> {
        with_retries(|| self.try_pause_crowded()).await
    }

    async fn try_pause_crowded(&self) -> Result<Vec<AutomationKey>, StoreError> {
        let (store, most) = (&**self.store(), limits::MAX_FIRINGS);
        let mend = "see why, then delete it and set it anew";
        let error = format!("it was paused: more than {most} firings wait or were given up; {mend}");
        let mut tx = store.begin().await?;
        let paused = tx.pause_crowded(most, &error).await?;
        commit(store, tx, &[]).await?;
        Ok(paused)
    }

    async fn try_take_firings(&self, query: &FiringQuery) -> Result<Vec<Firing>, StoreError> {
        let store = &**self.store();
        let mut tx = store.begin().await?;
        let firings = tx.take_firings(query).await?;
        commit(store, tx, &[]).await?;
        Ok(firings)
    }

    async fn try_finish_firings(&self, finished: &[Finished]) -> Result<(), StoreError> {
        let store = &**self.store();
        let mut tx = store.begin().await?;
        tx.finish_firings(finished, self.clock().now()).await?;
        commit(store, tx, &[]).await
    }

    async fn try_purge_firings(&self, limit: usize) -> Result<usize, StoreError> {
        let store = &**self.store();
        let mut tx = store.begin().await?;
        let given_up_before = self.clock().now() - limits::GIVEN_UP_FIRINGS_KEPT;
        let n_firings = tx.purge_firings(given_up_before, limit).await?;
        commit(store, tx, &[]).await?;
        Ok(n_firings)
    }

    /// Which firings are to be carried out, and what becomes of the others.
    async fn judge(&self, firings: Vec<Firing>) -> Result<(Vec<TakenFiring>, Vec<Finished>), EngineError> {
        if firings.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let automations = self.active_automations(&firings).await?;
        let run_ids: BTreeSet<RunId> = firings.iter().map(|firing| firing.key.run_id).collect();
        let run_ids: Vec<RunId> = run_ids.into_iter().collect();
        let runs = with_retries(|| self.store().get_runs(None, &run_ids)).await?;
        let runs: HashMap<RunId, Run> = runs.into_iter().map(|run| (run.id, run)).collect();
        let (mut taken, mut finished) = (Vec::new(), Vec::new());
        for firing in firings {
            // One that was paused or deleted meanwhile: its firings wait, or have gone with it.
            let Some(Active { automation, filter }) = automations.get(&firing.key.automation) else {
                continue;
            };
            // An id that was used again elsewhere is another tenant's run.
            let namespace = &firing.key.automation.namespace;
            let run = runs.get(&firing.key.run_id).filter(|run| run.namespace == *namespace);
            match outcome_before(&firing, run, filter) {
                Ok(run) => {
                    taken.push(TakenFiring { firing, automation: automation.clone(), run: run.clone() });
                }
                Err(outcome) => finished.push((firing.key, firing.n_tries, outcome)),
            }
        }
        Ok((taken, finished))
    }

    /// The automations of firings, but for those that are gone or paused.
    async fn active_automations(
        &self,
        firings: &[Firing],
    ) -> Result<HashMap<AutomationKey, Active>, EngineError> {
        let keys: BTreeSet<&AutomationKey> = firings.iter().map(|firing| &firing.key.automation).collect();
        let now = self.clock().now();
        let mut automations = HashMap::new();
        for key in keys {
            let found = with_retries(|| self.store().get_automation(key)).await?;
            if let Some(automation) = found.filter(|automation| !automation.is_paused) {
                let filter = tidegate_filter::parse(&automation.trigger.filter, now)
                    .map_err(|error| format!("filter: {error}: set the automation anew"));
                automations.insert(key.clone(), Active { automation, filter });
            }
        }
        Ok(automations)
    }
}

/// The run of a firing that is to be carried out, or what becomes of it without that. A try of which nobody has told how it
/// ended does not count: its process may have gone away before the filter was asked.
fn outcome_before<'a>(
    firing: &Firing,
    run: Option<&'a Run>,
    filter: &Result<Filter, String>,
) -> Result<&'a Run, FiringOutcome> {
    let Some(run) = run else { return Err(FiringOutcome::Dropped) };
    if !firing.last_error.is_empty() {
        return Ok(run);
    }
    match filter {
        Ok(filter) if filter.matches(run) => Ok(run),
        Ok(_) => Err(FiringOutcome::Dropped),
        // It was right when it was set: this program reads filters in another way.
        Err(error) => Err(FiringOutcome::GivenUp { error: error.clone() }),
    }
}

/// The same with an error that is neither too long nor empty: an empty one would say that none has failed.
fn bounded(mut outcome: FiringOutcome) -> FiringOutcome {
    if let FiringOutcome::Failed { error, .. } | FiringOutcome::GivenUp { error } = &mut outcome {
        error.truncate(error.floor_char_boundary(limits::MAX_FIRING_ERROR_SIZE));
        if error.is_empty() {
            error.push_str("it is not told what it failed of");
        }
    }
    outcome
}
