//! Results that serve runs with the same cache key.

use std::collections::{BTreeSet, HashMap};

use tidegate_model::{Namespace, RunId, Timestamp, limits};
use tidegate_orchestration::{CachePolicy, Event, Run, StateType};
use tidegate_store::{CacheEntry, RunTx, StoreError};

/// The runs whose results serve, by tenant and cache key. They stay as they are until the transaction ends.
#[derive(Default)]
pub(crate) struct Served(HashMap<(Namespace, String), RunId>);

impl Served {
    /// Looks for what serves by `now`. Costs nothing where nobody has a cache key.
    pub async fn find<'a>(
        tx: &mut dyn RunTx,
        wanted: impl Iterator<Item = (&'a Namespace, &'a CachePolicy)>,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let keys: BTreeSet<_> =
            wanted.map(|(namespace, cache)| (namespace.clone(), cache.key.clone())).collect();
        if keys.is_empty() {
            return Ok(Self::default());
        }
        let keys: Vec<_> = keys.into_iter().collect();
        let found = tx.find_cache_keys(&keys, now).await?;
        let ids: BTreeSet<RunId> = found.iter().flatten().copied().collect();
        if ids.is_empty() {
            return Ok(Self::default());
        }
        let runs = tx.share_runs(&ids.into_iter().collect::<Vec<_>>()).await?;
        // One that was tried again has no result to give until it has completed anew.
        let is_completed = |id: &RunId| {
            runs.iter().any(|run| run.id == *id && run.state.state_type() == StateType::Completed)
        };
        let serving = |(key, id): ((Namespace, String), Option<RunId>)| Some((key, id.filter(is_completed)?));
        Ok(Self(keys.into_iter().zip(found).filter_map(serving).collect()))
    }

    /// The run whose result serves for this policy.
    pub fn get(&self, namespace: &Namespace, cache: Option<&CachePolicy>) -> Option<RunId> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&(namespace.clone(), cache?.key.clone())).copied()
    }
}

/// Has what served for the run's key serve no longer: an entry that has expired takes its place.
pub(crate) fn outdated(run: &Run, now: Timestamp) -> Option<CacheEntry> {
    let key = run.cache.as_ref()?.key.clone();
    Some(CacheEntry { namespace: run.namespace.clone(), key, run_id: run.id, expires_at: now })
}

/// What a run that has just completed by its own code has to offer.
pub(crate) fn offer(run: &Run, event: &Event) -> Option<CacheEntry> {
    let cache = run.cache.as_ref()?;
    if !matches!(event, Event::Completed | Event::CompletedAs { .. })
        || run.state.state_type() != StateType::Completed
    {
        return None;
    }
    Some(CacheEntry {
        namespace: run.namespace.clone(),
        key: cache.key.clone(),
        run_id: run.id,
        expires_at: run.state.at + cache.expires_after.unwrap_or(limits::MAX_CACHE_AGE),
    })
}
