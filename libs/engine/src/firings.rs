//! Firings: automations that were set off, and are to be carried out by whoever takes them.

use std::collections::{BTreeSet, HashMap};

use tidegate_model::{RunId, limits};
use tidegate_orchestration::Run;
use tidegate_store::{
    Automation, AutomationKey, Filter, FilteredFiring, Firing, FiringKey, FiringOutcome, FiringQuery,
    StoreError,
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

/// What is needed to judge firings.
struct Facts {
    automations: HashMap<AutomationKey, Known>,
    runs: HashMap<RunId, Run>,
}

/// An automation that is there.
struct Known {
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

    /// Asks the filters of their triggers about up to `limit` firings, and drops those whose run does not match, or whose
    /// run or automation is gone; the others may be taken from then on. Gives how many there were.
    pub async fn filter_firings(&self, limit: usize) -> Result<usize, EngineError> {
        let firings = with_retries(|| self.store().firings_to_filter(limit)).await?;
        if firings.is_empty() {
            return Ok(0);
        }
        let facts = self.facts(&firings).await?;
        let filtered = |firing: &Firing| FilteredFiring {
            key: firing.key.clone(),
            at: firing.at,
            is_kept: facts.is_kept(firing),
        };
        let filtered: Vec<FilteredFiring> = firings.iter().map(filtered).collect();
        with_retries(|| self.try_filter_firings(&filtered)).await?;
        Ok(filtered.len())
    }

    /// Takes firings that are due, with what it needs to carry them out. One whose run is gone is dropped here. So what is to
    /// be carried out may be less than `limit`, or nothing, though more are due.
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

    async fn try_filter_firings(&self, filtered: &[FilteredFiring]) -> Result<(), StoreError> {
        let store = &**self.store();
        let mut tx = store.begin().await?;
        tx.filter_firings(filtered).await?;
        commit(store, tx, &[]).await
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
        let facts = self.facts(&firings).await?;
        let (mut taken, mut finished) = (Vec::new(), Vec::new());
        for firing in firings {
            // One that was paused or deleted meanwhile: its firings wait, or have gone with it.
            let Some(Known { automation, filter }) = facts.automation(&firing) else { continue };
            if automation.is_paused {
                continue;
            }
            let outcome = match (facts.run(&firing), filter) {
                (None, _) => FiringOutcome::Dropped,
                // It was right when it was set: this program reads filters in another way. One that was tried was kept by a
                // program that could read it.
                (Some(_), Err(error)) if firing.last_error.is_empty() => {
                    FiringOutcome::GivenUp { error: error.clone() }
                }
                (Some(run), _) => {
                    taken.push(TakenFiring { firing, automation: automation.clone(), run: run.clone() });
                    continue;
                }
            };
            finished.push((firing.key, firing.n_tries, outcome));
        }
        Ok((taken, finished))
    }

    async fn facts(&self, firings: &[Firing]) -> Result<Facts, EngineError> {
        let keys: BTreeSet<&AutomationKey> = firings.iter().map(|firing| &firing.key.automation).collect();
        let now = self.clock().now();
        let mut automations = HashMap::new();
        for key in keys {
            if let Some(automation) = with_retries(|| self.store().get_automation(key)).await? {
                let filter = tidegate_filter::parse(&automation.trigger.filter, now)
                    .map_err(|error| format!("filter: {error}: set the automation anew"));
                automations.insert(key.clone(), Known { automation, filter });
            }
        }
        let run_ids: BTreeSet<RunId> = firings.iter().map(|firing| firing.key.run_id).collect();
        let run_ids: Vec<RunId> = run_ids.into_iter().collect();
        let runs = with_retries(|| self.store().get_runs(None, &run_ids)).await?;
        Ok(Facts { automations, runs: runs.into_iter().map(|run| (run.id, run)).collect() })
    }
}

impl Facts {
    fn automation(&self, firing: &Firing) -> Option<&Known> {
        self.automations.get(&firing.key.automation)
    }

    fn run(&self, firing: &Firing) -> Option<&Run> {
        // An id that was used again elsewhere is another tenant's run.
        let namespace = &firing.key.automation.namespace;
        self.runs.get(&firing.key.run_id).filter(|run| run.namespace == *namespace)
    }

    fn is_kept(&self, firing: &Firing) -> bool {
        let (Some(known), Some(run)) = (self.automation(firing), self.run(firing)) else { return false };
        // One that cannot be read is told by whoever takes the firing.
        known.filter.as_ref().map_or(true, |filter| filter.matches(run))
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
