//! Runs of deployments: what a caller says of a run goes over what its deployment says.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, hash_map::Entry},
    fmt::Debug,
};

use bytes::Bytes;
use tidegate_model::{DeploymentName, Namespace, Payload};
use tidegate_orchestration::Draft;
use tidegate_store::{Deployment, DeploymentKey, RunStore, StoreError, WorkPool, WorkPoolKey};

use crate::{
    Create, EngineError,
    deployments::{known_names, not_found},
    work_pools,
};

/// Deployments of a batch that are not there and for which names like theirs are looked for: it is work that all in the
/// lane wait for.
const N_SEARCHED: usize = 4;

/// Makes the draft of a run of a deployment. The engine looks into neither specifications nor parameters.
pub trait Deploy: Debug + Send + Sync {
    /// What the caller asks for, over what the deployment and its work pool say as they are now.
    ///
    /// # Errors
    /// `InvalidFields`, where the two together are none, or the parameters do not fit the schema.
    fn deploy(&self, deployment: &Deployment, pool: Option<&WorkPool>) -> Result<Deployed, EngineError>;
}

/// What a run of a deployment is to be.
#[derive(Clone, Debug)]
pub struct Deployed {
    /// The run.
    pub draft: Draft,
    /// Its parameters, merged over the defaults; `None`: they are what the caller gave.
    pub parameters: Option<Payload>,
    /// What a worker of its work pool is to start: the encoded message `tidegate.v1.Job`.
    pub job: Option<Bytes>,
}

/// A batch of creates whose drafts are whole, and those that cannot be.
pub(crate) struct Batch<'a> {
    pub creates: Cow<'a, [Create]>,
    pub refused: HashMap<usize, EngineError>,
}

impl<'a> Batch<'a> {
    /// Looks up the deployments of all runs by one statement, before there is a transaction that others would wait for.
    pub async fn of(store: &dyn RunStore, creates: &'a [Create]) -> Result<Self, StoreError> {
        let keys: BTreeSet<DeploymentKey> = creates.iter().filter_map(key).collect();
        if keys.is_empty() {
            return Ok(Self { creates: Cow::Borrowed(creates), refused: HashMap::new() });
        }
        let keys: Vec<_> = keys.into_iter().collect();
        let found = store.get_deployments(&keys).await?;
        let found: HashMap<DeploymentKey, Deployment> =
            found.into_iter().map(|deployment| (deployment.key.clone(), deployment)).collect();
        let pools = pool_keys(found.values());
        let pools = if pools.is_empty() { Vec::new() } else { store.get_work_pools(&pools).await? };
        let missing = missing(store, keys.iter().filter(|key| !found.contains_key(*key)).collect()).await?;
        Ok(Self::made(creates.to_vec(), &found, pools, &missing))
    }

    /// Makes the drafts of all runs whole, by the deployments that were found, their work pools, and the errors for
    /// deployments that were not found.
    pub fn made(
        creates: Vec<Create>,
        found: &HashMap<DeploymentKey, Deployment>,
        pools: Vec<WorkPool>,
        missing: &HashMap<DeploymentKey, EngineError>,
    ) -> Self {
        let pools = pools.into_iter().map(|pool| (pool.key.clone(), pool)).collect();
        let mut batch = Self { creates: Cow::Owned(creates), refused: HashMap::new() };
        for (idx, create) in batch.creates.to_mut().iter_mut().enumerate() {
            let Some(key) = key(create) else { continue };
            let made = match found.get(&key) {
                Some(deployment) => make(create, deployment, &pools),
                None => missing.get(&key).cloned().map_or(Ok(()), Err),
            };
            if let Err(error) = made {
                batch.refused.insert(idx, error);
            }
        }
        batch
    }
}

fn key(create: &Create) -> Option<DeploymentKey> {
    create.deploy.as_ref()?;
    let name = create.draft.deployment.as_ref()?.parse().ok()?;
    Some(DeploymentKey { namespace: create.draft.namespace.clone(), name })
}

/// The work pools of these deployments, each once.
pub(crate) fn pool_keys<'a>(deployments: impl Iterator<Item = &'a Deployment>) -> Vec<WorkPoolKey> {
    deployments.filter_map(pool_key).collect::<BTreeSet<_>>().into_iter().collect()
}

fn pool_key(deployment: &Deployment) -> Option<WorkPoolKey> {
    let name = deployment.work_pool.clone()?;
    Some(WorkPoolKey { namespace: deployment.key.namespace.clone(), name })
}

fn make(
    create: &mut Create,
    deployment: &Deployment,
    pools: &HashMap<WorkPoolKey, WorkPool>,
) -> Result<(), EngineError> {
    let Some(deploy) = &create.deploy else { return Ok(()) };
    let pool_key = pool_key(deployment);
    let pool = match &pool_key {
        Some(key) => Some(pools.get(key).ok_or_else(|| work_pools::not_found(key, &[]))?),
        None => None,
    };
    let Deployed { mut draft, parameters, job } = deploy.deploy(deployment, pool)?;
    create.job = job;
    if let Some(key) = pool_key {
        draft.concurrency_limits.push(key.limit().name);
        draft.work_pool = Some(key.name);
    }
    draft.deployment_version = Some(deployment.version);
    // Also where it has no limit: it may get one while the run waits.
    draft.concurrency_limits.push(deployment.key.limit().name);
    create.draft = draft;
    if parameters.is_some() {
        create.parameters = parameters;
    }
    Ok(())
}

/// The errors for deployments that are not there, each made once.
async fn missing(
    store: &dyn RunStore,
    keys: Vec<&DeploymentKey>,
) -> Result<HashMap<DeploymentKey, EngineError>, StoreError> {
    let mut names: HashMap<&Namespace, Vec<DeploymentName>> = HashMap::new();
    let mut errors = HashMap::with_capacity(keys.len());
    for (idx, key) in keys.into_iter().enumerate() {
        let error = if idx < N_SEARCHED {
            let known = match names.entry(&key.namespace) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => place.insert(known_names(store, &key.namespace).await?),
            };
            not_found(key, known)
        } else {
            EngineError::DeploymentNotFound { name: key.name.to_string(), nearest: Vec::new(), is_any: true }
        };
        errors.insert(key.clone(), error);
    }
    Ok(errors)
}
