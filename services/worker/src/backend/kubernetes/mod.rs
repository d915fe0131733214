//! Jobs as Jobs (`batch/v1`) of a Kubernetes cluster.
//!
//! A run is the Job whose name has its id and epoch, so that creating it twice makes one. Its labels say whose it is, and an
//! annotation what the worker was assigned: a worker that is started anew finds its Jobs by its name, and goes on with
//! them. The process inside of an entrypoint keeps its own lease meanwhile.
//!
//! **Invariant:** a pod is never started again for the same epoch: what is tried again is decided by the run's policies.

mod lines;
mod manifest;
mod placed;
mod stage;
mod watch;

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use async_trait::async_trait;
use k8s_openapi::api::batch::v1 as batch;
use kube::{
    Api, Client, Config, Error,
    api::{ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;
use tidegate_sdk_core::proto::{Assign, LogLevel};
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use self::{
    manifest::{DONE, LOGS_UNTIL, Settings, TEMPLATE},
    placed::{Place, Placed},
    watch::Watch,
};
use super::{
    Backend, Running, StartError,
    guard::Guard,
    marks::{self, EPOCH, RUN_ID, SERVER},
    owner::Owner,
    pool::Pool,
    stamps::Position,
};
use crate::{job::Job, logs::Output};

/// The job variable that says where a Job is.
const NAMESPACE: &str = "namespace";
/// The job variable that says how long its pod may take to begin, and its default.
const START_TIMEOUT: &str = "pod_start_timeout_seconds";
const DEFAULT_START_TIMEOUT: Duration = Duration::from_secs(600);
/// How long it is waited before a cluster that does not answer is asked again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long the cluster may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// Which cluster, and what its Jobs are made of.
#[derive(Clone, Debug)]
pub struct KubernetesOptions {
    /// Says where the cluster is. `None`: `KUBECONFIG` or `~/.kube/config`, else the account of the worker's own pod.
    pub kubeconfig: Option<PathBuf>,
    /// The image of runs that name none.
    pub image: Option<String>,
    /// The image that fetches code. `None`: that of the job itself.
    pub source_image: Option<String>,
    /// The Secret whose keys are the secrets that jobs refer to.
    pub secret: String,
    /// Where Jobs may be, beside the namespace of the account and that of the pool.
    pub namespaces: Vec<String>,
    /// Where it keeps who it is.
    pub data_dir: PathBuf,
    /// What it is called.
    pub name: String,
}

/// Starts jobs in a cluster.
pub struct Kubernetes {
    client: Client,
    pool: Pool,
    settings: Settings,
    /// Where Jobs of an earlier worker are looked for.
    namespaces: BTreeSet<String>,
    watches: Mutex<HashMap<String, Watch>>,
    /// Nobody else has its Jobs.
    _owner: Owner,
}

impl Kubernetes {
    /// For the runs of `pool`; `variables` are the job variables of the pool, as JSON.
    ///
    /// # Errors
    /// Where it is not said which cluster, or the data directory cannot be used.
    pub async fn new(options: KubernetesOptions, pool: Pool, variables: &str) -> anyhow::Result<Self> {
        let owner = pool.owner(&options.name, &options.data_dir)?;
        let mut config = config(options.kubeconfig.as_deref()).await?;
        config.default_retry = false; // it would wait without a word
        let client = Client::try_from(config).context("make a client of the Kubernetes cluster")?;
        let variables: Value = serde_json::from_str(variables).unwrap_or_default();
        let of_pool = variables.get(NAMESPACE).and_then(Value::as_str);
        let namespaces = [Some(client.default_namespace()), of_pool];
        let namespaces = namespaces.into_iter().flatten().map(str::to_owned);
        let namespaces = namespaces.chain(options.namespaces).collect();
        let settings = Settings {
            labels: pool.labels(&owner),
            image: options.image,
            source_image: options.source_image,
            secret: options.secret,
        };
        Ok(Self { client, pool, settings, namespaces, watches: Mutex::default(), _owner: owner })
    }

    fn place(&self, job: &Job) -> Place {
        let namespace = self.namespace(job);
        Place {
            jobs: Api::namespaced(self.client.clone(), namespace),
            pods: Api::namespaced(self.client.clone(), namespace),
            name: marks::name_of(&job.assign),
        }
    }

    fn namespace<'a>(&'a self, job: &'a Job) -> &'a str {
        let named = job.variables.get(NAMESPACE).and_then(Value::as_str);
        named.unwrap_or_else(|| self.client.default_namespace())
    }

    /// Follows a Job that is there.
    fn follow(
        &self,
        job: &Job,
        guard: Guard<Place>,
        found: batch::Job,
        output: &Output,
        lines_from: Option<Position>,
    ) -> Placed {
        let (namespace, name) = (self.namespace(job), marks::name_of(&job.assign));
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let watch = watches
            .entry(namespace.to_owned())
            // Pods of an older worker do not say which server's they are.
            .or_insert_with(|| {
                let server = self.settings.labels.get(SERVER).map_or("", String::as_str);
                Watch::start(&self.client, namespace, &self.settings.selector_of_all(), server)
            });
        watch.note(&name, |seen| {
            seen.job.get_or_insert(found); // the watch may have told more
        });
        Placed::follow(guard, watch.of(&name), output, start_timeout(job), lines_from)
    }

    /// Ends what earlier attempts of a run have left: whoever started them is not there any more to do it.
    async fn end_earlier(&self, place: &Place, assign: &Assign) -> Result<(), Error> {
        let of_run = ListParams::default().labels(&format!("{RUN_ID}={}", assign.run_id));
        for other in place.jobs.list(&of_run).await?.items {
            let is_earlier = label(&other, EPOCH).and_then(|epoch| epoch.parse().ok()) < Some(assign.epoch);
            // What is done stays for its time.
            let runs_on = is_earlier && label(&other, DONE).is_none();
            let (true, Some(name)) = (runs_on, other.metadata.name) else { continue };
            // At once: a pod that takes its time to end would execute beside the one of this attempt.
            Place { name, ..place.clone() }.delete(Duration::ZERO).await;
        }
        Ok(())
    }

    async fn create(&self, place: &Place, job: &Job, made: &batch::Job) -> Result<batch::Job, Error> {
        if job.assign.epoch > 1 {
            Box::pin(self.end_earlier(place, &job.assign)).await?;
        }
        match place.jobs.create(&PostParams::default(), made).await {
            Err(Error::Api(status)) if status.is_already_exists() => place.jobs.get(&place.name).await,
            created => created,
        }
    }

    /// Those Jobs of an older worker, which wrote no server to them, whose runs this server's pool has: it may be another
    /// server's worker of the same name that has made them. From then on they say whose they are; others are left alone.
    async fn take_over(&self, namespace: &str) -> Result<Vec<Assign>, StartError> {
        let unsaid = format!("{},!{SERVER},!{DONE}", self.settings.selector_of_all());
        let mut taken = Vec::new();
        for found in self.list(namespace, &unsaid).await? {
            let name = found.metadata.name.clone().unwrap_or_default();
            let Some(assign) = manifest::assign_of(&found) else { continue };
            if !self.pool.has_run(&assign).await? {
                warn!(
                    "the Job {name} in the namespace {namespace} does not say which server's it is, and its run {} is not \
                     known to this one: it is left alone; where it is nobody's, `kubectl delete job --namespace \
                     {namespace} {name}` takes it away",
                    assign.run_id
                );
                continue;
            }
            let place = Place {
                jobs: Api::namespaced(self.client.clone(), namespace),
                pods: Api::namespaced(self.client.clone(), namespace),
                name,
            };
            if let Some(server) = self.settings.labels.get(SERVER) {
                place.mark_server(server).await;
            }
            taken.push(assign);
        }
        Ok(taken)
    }

    /// The Jobs that a selector selects, but for those that are about to go.
    async fn list(&self, namespace: &str, selector: &str) -> Result<Vec<batch::Job>, StartError> {
        let jobs: Api<batch::Job> = Api::namespaced(self.client.clone(), namespace);
        let found = in_time(jobs.list(&ListParams::default().labels(selector))).await.map_err(|error| {
            let error = cause(&error, namespace);
            StartError::Passing(format!("the Jobs in the namespace {namespace} cannot be listed: {error}"))
        })?;
        Ok(found.items.into_iter().filter(|job| job.metadata.deletion_timestamp.is_none()).collect())
    }

    fn is_own(&self, found: &batch::Job) -> bool {
        self.settings.labels.iter().all(|(name, value)| label(found, name) == Some(value))
    }
}

#[async_trait]
impl Backend for Kubernetes {
    async fn adopt(&self) -> Result<Vec<Assign>, StartError> {
        let own = format!("{},!{DONE}", self.settings.selector());
        let mut adopted = Vec::new();
        for namespace in &self.namespaces {
            let found = self.list(namespace, &own).await?;
            adopted.extend(found.iter().filter_map(manifest::assign_of));
            adopted.extend(self.take_over(namespace).await?);
        }
        Ok(adopted)
    }

    async fn start(&self, job: &Job, output: &Output) -> Result<Box<dyn Running>, StartError> {
        let described = self.pool.describe(job, TEMPLATE).await?;
        let made = manifest::manifest(job, described, &self.settings)?;
        let place = self.place(job);
        // Should this be dropped while the Job is created, it is deleted.
        let guard = Guard::new(place.clone());
        let create = || self.create(&place, job, &made);
        let found = Box::pin(insistently(job, output, self.namespace(job), create)).await?;
        if !self.is_own(&found) || found.metadata.deletion_timestamp.is_some() {
            guard.let_go();
            let name = &place.name;
            return Err(StartError::Passing(format!("the Job {name} is there already, and is another's")));
        }
        Ok(Box::new(self.follow(job, guard, found, output, None)))
    }

    async fn resume(&self, job: &Job, output: &Output) -> Result<Box<dyn Running>, StartError> {
        let place = self.place(job);
        let found = insistently(job, output, self.namespace(job), || place.jobs.get_opt(&place.name));
        let Some(found) = found.await? else {
            return Err(StartError::Passing(format!("the Job {} is not there any more", place.name)));
        };
        let annotations = found.metadata.annotations.as_ref();
        let lines_from = annotations.and_then(|all| all.get(LOGS_UNTIL)?.parse().ok());
        Ok(Box::new(self.follow(job, Guard::new(place), found, output, lines_from)))
    }

    async fn abandon(&self, job: &Job) {
        self.place(job).delete(Duration::ZERO).await;
    }

    fn outlives_worker(&self) -> bool {
        true
    }
}

async fn config(kubeconfig: Option<&Path>) -> anyhow::Result<Config> {
    let Some(file) = kubeconfig else {
        return Config::infer().await.context(
            "which cluster the Jobs are for: give `--kubeconfig`, set KUBECONFIG, or start the worker in a pod that has \
             a service account",
        );
    };
    let read = Kubeconfig::read_from(file).with_context(|| format!("read {}", file.display()))?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
    config.with_context(|| format!("find the cluster in {}", file.display()))
}

/// Calls until the cluster answers, as long as the pod of the job may take to begin.
async fn insistently<T, F: Future<Output = Result<T, Error>>>(
    job: &Job,
    output: &Output,
    namespace: &str,
    call: impl Fn() -> F,
) -> Result<T, StartError> {
    let give_up_at = Instant::now() + start_timeout(job);
    let mut pause = PAUSES.0;
    loop {
        let error = match in_time(call()).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let told = cause(&error, namespace);
        match &error {
            Error::Api(status) if matches!(status.code, 400 | 404 | 422) => {
                return Err(StartError::Job(told));
            }
            Error::Api(status) if matches!(status.code, 401 | 403 | 409) => {
                return Err(StartError::Passing(told));
            }
            _ if Instant::now() >= give_up_at => return Err(StartError::Passing(told)),
            _ => {}
        }
        if pause == PAUSES.0 {
            output.note(LogLevel::Warn, &format!("the job waits for the cluster: {told}"));
            output.hinders(&told);
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// The answer to a call. One that is cut off may say nothing for ever.
async fn in_time<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match timeout(ANSWER, call).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::Service(format!("nothing came within {ANSWER:?}").into())),
    }
}

/// What people are told of an error of the cluster.
fn cause(error: &Error, namespace: &str) -> String {
    match error {
        Error::Api(status) if status.code == 403 && !status.message.contains("quota") => format!(
            "{}: the worker's service account needs the rights on Jobs and pods in the namespace {namespace} that the \
             chart gives it",
            status.message
        ),
        Error::Api(status) => status.message.clone(),
        other => {
            let chain: Vec<_> = anyhow::Chain::new(other).map(ToString::to_string).collect();
            format!("the cluster does not answer: {}", chain.join(": "))
        }
    }
}

fn is_not_there(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 404)
}

fn label<'a>(job: &'a batch::Job, name: &str) -> Option<&'a String> {
    job.metadata.labels.as_ref()?.get(name)
}

fn start_timeout(job: &Job) -> Duration {
    job.variables
        .get(START_TIMEOUT)
        .and_then(Value::as_u64)
        .map_or(DEFAULT_START_TIMEOUT, Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_that_nobody_answers_ends() {
        let error = in_time(std::future::pending::<Result<(), Error>>()).await.unwrap_err();
        let told = cause(&error, "flows");
        assert!(told.starts_with("the cluster does not answer") && told.contains("within 30s"), "{told}");
    }
}
