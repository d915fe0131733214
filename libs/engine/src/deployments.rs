//! Deployments: what people do with them.

use bytes::Bytes;
use tidegate_model::{DeploymentName, Namespace, RunId, WorkPoolName, limits};
use tidegate_store::{
    Deployment, DeploymentKey, DeploymentVersion, LimitSettings, RunStore, StoreError, WorkPoolKey,
};

use crate::{
    Engine, EngineError, ask::RequestKey, commit::commit, dispatch::Outbound, lane::with_retries, nearest,
    slots::Freed, work_pools,
};

/// Names that are looked through for those that are like one that is not there: all of them.
const N_NAMES: usize = limits::MAX_DEPLOYMENTS;

/// Which deployment is meant, and who asks.
#[derive(Clone, Debug)]
pub struct DeploymentAsk {
    /// The deployment.
    pub key: DeploymentKey,
    /// What it is to be as it was read; `None`: whatever it is.
    pub etag: Option<String>,
    /// Who asks, where that is known.
    pub actor: Option<String>,
    /// The same id again changes nothing; `None`: each request counts.
    pub request_id: Option<RunId>,
}

/// What the runs of a deployment have in common, as far as the engine looks into it.
#[derive(Clone, Debug)]
pub struct Spec {
    /// All of it.
    pub encoded: Bytes,
    /// How many of its runs may be held at once.
    pub limit: Option<LimitSettings>,
    /// The work pool that it names.
    pub work_pool: Option<WorkPoolName>,
}

/// What a deployment becomes, by what it is. An error leaves it as it is.
pub type SpecChange<'a> = &'a (dyn Fn(Option<&Deployment>) -> Result<Spec, EngineError> + Send + Sync);

/// By what a state of a deployment is known.
pub fn etag(deployment: &Deployment) -> String {
    format!("{:x}-{:x}", deployment.version, deployment.updated_at.as_micros())
}

impl Engine {
    /// Makes a deployment or changes it. Gives it as it is then, and whether it is new. What changes nothing makes no
    /// version.
    ///
    /// # Errors
    /// `EtagMismatch`, `TooManyDeployments`, and whatever `change` gives.
    pub async fn change_deployment(
        &self,
        ask: &DeploymentAsk,
        change: SpecChange<'_>,
    ) -> Result<(Deployment, bool), EngineError> {
        let request = self.deployment_request(ask, "put");
        let (deployment, is_new) =
            with_retries(|| self.try_change_deployment(ask, change, &request)).await??;
        self.hand_out_deployment(&ask.key);
        Ok((deployment, is_new))
    }

    /// What is wrong with such a change, which is not made. Gives the deployment as it is, where it is there.
    ///
    /// # Errors
    /// `EtagMismatch`, and whatever `change` gives.
    pub async fn check_deployment(
        &self,
        ask: &DeploymentAsk,
        change: SpecChange<'_>,
    ) -> Result<Option<Deployment>, EngineError> {
        let before = self.store().get_deployments(std::slice::from_ref(&ask.key)).await?.pop();
        check_etag(ask, before.as_ref()).and_then(|()| change(before.as_ref()))?;
        Ok(before)
    }

    async fn try_change_deployment(
        &self,
        ask: &DeploymentAsk,
        change: SpecChange<'_>,
        request: &RequestKey,
    ) -> Result<Result<(Deployment, bool), EngineError>, StoreError> {
        let (store, now) = (&*self.inner.store, self.inner.clock.now());
        let mut tx = store.begin().await?;
        let before = tx.lock_deployment(&ask.key).await?;
        let named = request.reservation(&ask.key.namespace, now);
        if let Some(before) = &before
            && tx.find_keys(&named, now).await?.iter().any(Option::is_some)
        {
            return Ok(Ok((before.clone(), request.is_own && before.version == 1)));
        }
        let spec = match check_etag(ask, before.as_ref()).and_then(|()| change(before.as_ref())) {
            Ok(spec) => spec,
            Err(error) => return Ok(Err(error)),
        };
        let most = limits::MAX_DEPLOYMENTS;
        if before.is_none() && tx.count_deployments(&ask.key.namespace, most).await? >= most {
            return Ok(Err(EngineError::TooManyDeployments { most }));
        }
        if let Some(name) = &spec.work_pool {
            let pool = WorkPoolKey { namespace: ask.key.namespace.clone(), name: name.clone() };
            if !tx.keep_work_pool(&pool).await? {
                return Ok(Err(work_pools::not_found(&pool, &[])));
            }
        }
        tx.reserve_keys(&named, now).await?;
        let after = match &before {
            Some(before) if before.spec == spec.encoded => before.clone(),
            _ => {
                let after = Deployment {
                    key: ask.key.clone(),
                    version: before.as_ref().map_or(0, |before| before.version) + 1,
                    spec: spec.encoded,
                    work_pool: spec.work_pool,
                    created_at: before.as_ref().map_or(now, |before| before.created_at),
                    updated_at: now,
                };
                let n_kept = limits::MAX_DEPLOYMENT_VERSIONS;
                tx.put_deployment(&after, ask.actor.as_deref(), spec.limit.as_ref(), n_kept).await?;
                after
            }
        };
        commit(store, tx, &[]).await?;
        Ok(Ok((after, before.is_none())))
    }

    /// Takes a deployment away; its runs stay. False: it was not there.
    ///
    /// # Errors
    /// `EtagMismatch`.
    pub async fn delete_deployment(&self, ask: &DeploymentAsk) -> Result<bool, EngineError> {
        let request = self.deployment_request(ask, "delete");
        let was_there = with_retries(|| self.try_delete_deployment(ask, &request)).await??;
        self.hand_out_deployment(&ask.key);
        Ok(was_there)
    }

    async fn try_delete_deployment(
        &self,
        ask: &DeploymentAsk,
        request: &RequestKey,
    ) -> Result<Result<bool, EngineError>, StoreError> {
        let (store, now) = (&*self.inner.store, self.inner.clock.now());
        let mut tx = store.begin().await?;
        let before = tx.lock_deployment(&ask.key).await?;
        let named = request.reservation(&ask.key.namespace, now);
        if tx.find_keys(&named, now).await?.iter().any(Option::is_some) {
            return Ok(Ok(true));
        }
        let Some(before) = before else { return Ok(Ok(false)) };
        if let Err(error) = check_etag(ask, Some(&before)) {
            return Ok(Err(error));
        }
        tx.reserve_keys(&named, now).await?;
        tx.delete_deployment(&ask.key).await?;
        commit(store, tx, &[]).await?;
        Ok(Ok(true))
    }

    fn deployment_request(&self, ask: &DeploymentAsk, verb: &str) -> RequestKey {
        let scope = format!("deployment/{verb}:{}", ask.key.name);
        RequestKey::of(ask.request_id, scope, &self.inner.options)
    }

    /// One deployment.
    ///
    /// # Errors
    /// `DeploymentNotFound`, with names like it.
    pub async fn get_deployment(&self, key: &DeploymentKey) -> Result<Deployment, EngineError> {
        match self.store().get_deployments(std::slice::from_ref(key)).await?.pop() {
            Some(deployment) => Ok(deployment),
            None => Err(self.no_deployment(key).await?),
        }
    }

    /// Up to `limit` versions of a deployment before `before`, the newest first.
    ///
    /// # Errors
    /// `DeploymentNotFound`, with names like it.
    pub async fn deployment_versions(
        &self,
        key: &DeploymentKey,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<DeploymentVersion>, EngineError> {
        let found = self.store().list_deployment_versions(key, before, limit).await?;
        if found.is_empty() {
            self.get_deployment(key).await?;
        }
        Ok(found)
    }

    /// The error for a deployment that is not there.
    pub async fn no_deployment(&self, key: &DeploymentKey) -> Result<EngineError, EngineError> {
        Ok(not_found(key, &known_names(&**self.store(), &key.namespace).await?))
    }

    /// Those who wait for one of its slots may have them now.
    fn hand_out_deployment(&self, key: &DeploymentKey) {
        self.send(Outbound { freed: Freed::from([(key.limit(), u64::MAX)]), ..Outbound::default() });
    }
}

/// The names among which those that are like a wrong one are looked for.
pub(crate) async fn known_names(
    store: &dyn RunStore,
    namespace: &Namespace,
) -> Result<Vec<DeploymentName>, StoreError> {
    store.list_deployment_names(namespace, N_NAMES).await
}

/// The error for a deployment that is not there, though these are.
pub(crate) fn not_found(key: &DeploymentKey, known: &[DeploymentName]) -> EngineError {
    let nearest = nearest::nearest(key.name.as_str(), known.iter().map(DeploymentName::as_str));
    let nearest = nearest.into_iter().map(str::to_owned).collect();
    EngineError::DeploymentNotFound { name: key.name.to_string(), nearest, is_any: !known.is_empty() }
}

fn check_etag(ask: &DeploymentAsk, before: Option<&Deployment>) -> Result<(), EngineError> {
    match (&ask.etag, before) {
        (Some(asked), Some(before)) if *asked != etag(before) => {
            Err(EngineError::EtagMismatch { name: ask.key.name.to_string(), version: before.version })
        }
        _ => Ok(()),
    }
}
