//! Artifacts: what runs have to show to people. Those of a run are made under its epoch, as all that it reports.

use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::{AtomicBool, Ordering},
};

use tidegate_model::{ArtifactId, ArtifactKey, Epoch, Namespace, Payload, RunId, Timestamp, limits};
use tidegate_orchestration::{Rejection, Run};
use tidegate_store::{Artifact, ArtifactName, ArtifactQuery, ArtifactType, RunTx, StoreError, VersionedKey};

use crate::{Engine, EngineError, commit::commit, lane::with_retries, objects::Objects};

/// An artifact to be made.
#[derive(Clone, Debug)]
pub struct NewArtifact {
    /// Its id, by which a repeat is known.
    pub id: ArtifactId,
    /// What it is a version of.
    pub key: Option<ArtifactKey>,
    /// How it is to be shown.
    pub artifact_type: ArtifactType,
    /// What it is, for people.
    pub description: String,
    /// In percent; set for progress, and for that alone.
    pub progress: Option<f64>,
    /// Free pairs.
    pub labels: BTreeMap<String, String>,
    /// What is shown; unset for progress, and for that alone.
    pub data: Option<Payload>,
    /// The run that makes it, with the epoch under which the caller has it.
    pub run: Option<(RunId, Epoch)>,
}

/// An artifact, and whether this call has made it.
#[derive(Clone, Debug, PartialEq)]
pub struct MadeArtifact {
    /// It, without its data.
    pub artifact: Artifact,
    /// False: an earlier call had.
    pub created: bool,
}

/// What is to be changed of an artifact. What is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct ArtifactChange {
    /// What it is, for people.
    pub description: Option<String>,
    /// In percent.
    pub progress: Option<f64>,
    /// What is shown.
    pub data: Option<Payload>,
    /// The epoch under which the caller has `run`; `None`: anyone asks.
    pub epoch: Option<Epoch>,
    /// The run whose code asks; `None`: that of the artifact.
    pub run: Option<RunId>,
}

impl Engine {
    /// Makes artifacts in one transaction. Each has an outcome of its own, in their order.
    pub async fn create_artifacts(
        &self,
        namespace: &Namespace,
        new: &[NewArtifact],
    ) -> Result<Vec<Result<MadeArtifact, EngineError>>, EngineError> {
        with_retries(|| self.try_create_artifacts(namespace, new)).await
    }

    /// An artifact with its data.
    pub async fn get_artifact(
        &self,
        namespace: &Namespace,
        name: &ArtifactName,
    ) -> Result<Artifact, EngineError> {
        let found = self.store().get_artifact(namespace, name).await?;
        found.ok_or_else(|| EngineError::ArtifactNotFound { artifact: shown(name) })
    }

    /// A page of artifacts, without their data.
    pub async fn list_artifacts(&self, query: &ArtifactQuery) -> Result<Vec<Artifact>, EngineError> {
        Ok(self.store().list_artifacts(query).await?)
    }

    /// Changes an artifact. Gives it without its data.
    pub async fn update_artifact(
        &self,
        namespace: &Namespace,
        id: ArtifactId,
        change: &ArtifactChange,
    ) -> Result<Artifact, EngineError> {
        with_retries(|| self.try_update_artifact(namespace, id, change)).await?
    }

    /// Takes an artifact away. False: there was none.
    pub async fn delete_artifact(&self, namespace: &Namespace, id: ArtifactId) -> Result<bool, EngineError> {
        // A try whose commit went unanswered may have taken it away.
        let was_seen = AtomicBool::new(false);
        with_retries(|| async {
            let store = &**self.store();
            let mut tx = store.begin().await?;
            if tx.delete_artifact(namespace, id).await? {
                was_seen.store(true, Ordering::Relaxed);
            }
            commit(store, tx, &[]).await?;
            Ok(was_seen.load(Ordering::Relaxed))
        })
        .await
    }

    async fn try_create_artifacts(
        &self,
        namespace: &Namespace,
        new: &[NewArtifact],
    ) -> Result<Vec<Result<MadeArtifact, EngineError>>, StoreError> {
        let (store, now) = (&**self.store(), self.clock().now());
        let mut tx = store.begin().await?;
        let batch = Batch::read(&mut *tx, namespace, new, now).await?;
        let (mut outcomes, mut accepted) = batch.judge(new, now);
        let mut keyed: BTreeMap<VersionedKey, u64> = BTreeMap::new();
        for key in accepted.iter().filter_map(versioned) {
            *keyed.entry(key).or_default() += 1;
        }
        if !keyed.is_empty() {
            number(&mut *tx, &mut accepted, keyed, now).await?;
        }
        if !accepted.is_empty() && tx.insert_artifacts(&accepted).await? != accepted.len() {
            return Err(StoreError::Unavailable("another request has made one of them meanwhile".into()));
        }
        let too_old: Vec<(VersionedKey, u64)> = newest(&accepted)
            .into_iter()
            .filter_map(|(key, last)| Some((key, last.checked_sub(limits::MAX_ARTIFACT_VERSIONS)?)))
            .filter(|(_, last)| *last > 0)
            .collect();
        if !too_old.is_empty() {
            tx.delete_versions(&too_old).await?;
        }
        commit(store, tx, &[]).await?;
        let mut made: HashMap<ArtifactId, Artifact> =
            accepted.into_iter().map(|artifact| (artifact.id, artifact)).collect();
        for outcome in outcomes.iter_mut().flatten() {
            if let Some(artifact) = made.get_mut(&outcome.artifact.id) {
                outcome.artifact = Artifact { data: None, ..artifact.clone() };
            }
        }
        Ok(outcomes)
    }

    async fn try_update_artifact(
        &self,
        namespace: &Namespace,
        id: ArtifactId,
        change: &ArtifactChange,
    ) -> Result<Result<Artifact, EngineError>, StoreError> {
        let (store, now) = (&**self.store(), self.clock().now());
        let mut tx = store.begin().await?;
        let data = change.data.iter().map(|data| (namespace, data));
        let objects = Objects::of(&mut *tx, data, now).await?;
        if let Err(error) = objects.check(namespace, change.data.as_ref()) {
            return Ok(Err(error));
        }
        let Some(artifact) = tx.lock_artifact(namespace, id).await? else {
            return Ok(Err(EngineError::ArtifactNotFound { artifact: id.to_string() }));
        };
        let is_progress = artifact.artifact_type == ArtifactType::Progress;
        let misfit = if is_progress { change.data.is_some() } else { change.progress.is_some() };
        if misfit {
            return Ok(Err(EngineError::ArtifactMisfit { id, is_progress }));
        }
        if let (Some(epoch), Some(run_id)) = (change.epoch, change.run.or(artifact.run)) {
            let found = tx.read_runs(&[run_id]).await?;
            let found = found.first().filter(|run| run.namespace == *namespace);
            if let Err(error) = check_epoch(found, run_id, epoch) {
                return Ok(Err(error));
            }
        }
        let changed = Artifact {
            description: change.description.clone().unwrap_or(artifact.description),
            progress: change.progress.or(artifact.progress),
            data: change.data.clone(),
            updated_at: now,
            ..artifact
        };
        tx.update_artifact(&changed).await?;
        commit(store, tx, &[]).await?;
        Ok(Ok(Artifact { data: None, ..changed }))
    }
}

/// What there is already of what a batch speaks of.
struct Batch<'a> {
    namespace: &'a Namespace,
    runs: HashMap<RunId, Run>,
    n_artifacts: HashMap<RunId, u64>,
    known: HashMap<ArtifactId, Artifact>,
    objects: Objects,
}

impl<'a> Batch<'a> {
    /// Locks the runs, so that their artifacts are counted and made by one at a time.
    async fn read(
        tx: &mut dyn RunTx,
        namespace: &'a Namespace,
        new: &[NewArtifact],
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut run_ids: Vec<RunId> = new.iter().filter_map(|new| Some(new.run?.0)).collect();
        run_ids.sort();
        run_ids.dedup();
        let (mut runs, mut n_artifacts) = (HashMap::new(), HashMap::new());
        if !run_ids.is_empty() {
            let found = tx.lock_runs(&run_ids).await?.into_iter().filter(|run| run.namespace == *namespace);
            runs = found.map(|run| (run.id, run)).collect();
            n_artifacts = tx.count_artifacts(&run_ids).await?.into_iter().collect();
        }
        let ids: Vec<ArtifactId> = new.iter().map(|new| new.id).collect();
        let known = tx.find_artifacts(&ids).await?.into_iter().map(|one| (one.id, one)).collect();
        let payloads = new.iter().filter_map(|new| Some((namespace, new.data.as_ref()?)));
        let objects = Objects::of(tx, payloads, now).await?;
        Ok(Self { namespace, runs, n_artifacts, known, objects })
    }

    /// What becomes of each, and those that are to be made, without their numbers yet.
    fn judge(
        mut self,
        new: &[NewArtifact],
        now: Timestamp,
    ) -> (Vec<Result<MadeArtifact, EngineError>>, Vec<Artifact>) {
        let (mut outcomes, mut accepted) = (Vec::with_capacity(new.len()), Vec::new());
        for new in new {
            let outcome = match self.known.get(&new.id) {
                Some(known) if is_repeat(known, new, self.namespace) => {
                    Ok(MadeArtifact { artifact: known.clone(), created: false })
                }
                Some(_) => Err(EngineError::ArtifactIdUsed { id: new.id }),
                None => self.make(new, now).map(|artifact| MadeArtifact { artifact, created: true }),
            };
            if let Ok(MadeArtifact { artifact, created: true }) = &outcome {
                self.known.insert(artifact.id, Artifact { data: None, ..artifact.clone() });
                accepted.push(artifact.clone());
            }
            outcomes.push(outcome);
        }
        (outcomes, accepted)
    }

    fn make(&mut self, new: &NewArtifact, now: Timestamp) -> Result<Artifact, EngineError> {
        let mut root = None;
        if let Some((run_id, epoch)) = new.run {
            root = Some(check_epoch(self.runs.get(&run_id), run_id, epoch)?.root);
            let n_artifacts = self.n_artifacts.entry(run_id).or_default();
            if *n_artifacts >= limits::MAX_ARTIFACTS {
                return Err(EngineError::TooManyArtifacts { run_id, most: limits::MAX_ARTIFACTS });
            }
            *n_artifacts += 1;
        }
        self.objects.check(self.namespace, new.data.as_ref())?;
        Ok(Artifact {
            id: new.id,
            namespace: self.namespace.clone(),
            key: new.key.clone(),
            version: 0,
            artifact_type: new.artifact_type,
            description: new.description.clone(),
            progress: new.progress,
            labels: new.labels.clone(),
            data: new.data.clone(),
            run: new.run.map(|(run_id, _)| run_id),
            root,
            created_at: now,
            updated_at: now,
        })
    }
}

/// Whether an artifact is what a request with its id asks for.
fn is_repeat(known: &Artifact, new: &NewArtifact, namespace: &Namespace) -> bool {
    let run = new.run.map(|(run_id, _)| run_id);
    known.namespace == *namespace
        && (&known.key, known.artifact_type, known.run) == (&new.key, new.artifact_type, run)
}

fn check_epoch(run: Option<&Run>, run_id: RunId, epoch: Epoch) -> Result<&Run, EngineError> {
    match run {
        None => Err(EngineError::NotFound { run_id }),
        Some(run) if run.epoch == epoch => Ok(run),
        Some(run) => Err(Rejection::StaleEpoch { current: run.epoch }.into()),
    }
}

fn versioned(artifact: &Artifact) -> Option<VersionedKey> {
    Some(VersionedKey { namespace: artifact.namespace.clone(), key: artifact.key.clone()? })
}

/// Gives the artifacts of a key the next numbers, in their order.
async fn number(
    tx: &mut dyn RunTx,
    artifacts: &mut [Artifact],
    keyed: BTreeMap<VersionedKey, u64>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let keys: Vec<(VersionedKey, u64)> = keyed.into_iter().collect();
    let last = tx.take_versions(&keys, now).await?;
    let mut next: HashMap<VersionedKey, u64> =
        keys.into_iter().zip(last).map(|((key, n), last)| (key, last - n)).collect();
    for artifact in artifacts {
        if let Some(version) = versioned(artifact).and_then(|key| next.get_mut(&key)) {
            *version += 1;
            artifact.version = *version;
        }
    }
    Ok(())
}

/// The last number of each key.
fn newest(artifacts: &[Artifact]) -> BTreeMap<VersionedKey, u64> {
    artifacts.iter().filter_map(|artifact| Some((versioned(artifact)?, artifact.version))).collect()
}

fn shown(name: &ArtifactName) -> String {
    match name {
        ArtifactName::Id(id) => id.to_string(),
        ArtifactName::Key(key, None) => key.to_string(),
        ArtifactName::Key(key, Some(version)) => format!("{key} (version {version})"),
    }
}
