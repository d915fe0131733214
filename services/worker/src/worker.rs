//! A worker at work: connects, takes runs, drains.

use std::{collections::HashSet, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use tidegate_sdk_core::{
    Client, ErrorKind, Options as ClientOptions, Worker, WorkerOptions,
    proto::{Assign, WorkPool, WorkPoolSpec, WorkPoolType},
};
use tidegate_service_kit::{GrpcRoutes, check_health, execute_with, serve_grpc};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;

#[cfg(feature = "containers")]
use crate::backend::{
    docker::{Docker, DockerOptions},
    kubernetes::{Kubernetes, KubernetesOptions},
    pool::Pool,
};
use crate::{
    backend::{Backend, ProcessOptions, Processes},
    config::{Options, PoolType},
    run::{self, SHUTDOWN_GRACE, Shared},
    secrets::Secrets,
    source::Sources,
};

/// What its process is called.
const NAME: &str = "tidegate-worker";
/// The exit code of a worker that the server has refused, or that cannot work as it was started.
pub const EXIT_REFUSED: u8 = 1;
/// What a worker may take to end beyond its drain: stopping jobs, last reports, last lines.
const CLOSING: Duration = Duration::from_secs(30);
/// How long the last lines of logs may take.
const FLUSH: Duration = Duration::from_secs(5);

/// A worker as a process: until SIGTERM or SIGINT, which have it drain, or until the server asks it to end.
pub fn run(options: Options) -> ExitCode {
    if let (true, Some(address)) = (options.check_health, options.health_address) {
        return check_health(NAME, address);
    }
    let grace = options.drain() + CLOSING;
    execute_with(NAME, "info", grace, |tasks| async move {
        let (ready, says) = watch::channel(false);
        if let Some(address) = options.health_address {
            let listener =
                TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
            let mut grpc = GrpcRoutes::new();
            grpc.ready_while(says);
            serve_grpc(listener, grpc, &[], &tasks).await?;
        }
        let all = tasks.clone();
        tasks.essential("worker", move |stop| async move {
            let ended = work(options, stop, ready).await;
            all.stop(); // what is left is of no use without it
            ended
        });
        Ok(())
    })
}

/// Takes runs and has them executed, until `stop`; then those that run have the time of the options. Or until the server
/// asks it to end: then they have as long as they need. `ready` says whether it takes runs now.
///
/// # Errors
/// Where the pool is not there, or the server refuses the worker.
pub async fn work(
    options: Options,
    stop: CancellationToken,
    ready: watch::Sender<bool>,
) -> anyhow::Result<()> {
    let mut connection = ClientOptions::new(&options.address, &options.namespace)?;
    connection.sdk = concat!("tidegate-worker/", env!("CARGO_PKG_VERSION")).into();
    let client = Client::new(connection)?;
    let Some(pool) = stop.run_until_cancelled(pool(&client, &options.pool)).await else { return Ok(()) };
    let pool = pool?;
    let backend = backend(&options, &client, &pool).await?;
    let shared = Arc::new(Shared { client, backend, hurry: CancellationToken::new() });
    let ended = take_runs(&options, &pool, &shared, stop, &ready).await;
    shared.client.close(FLUSH).await;
    ended
}

async fn pool(client: &Client, name: &str) -> anyhow::Result<WorkPool> {
    match client.get_work_pool(name).await {
        Ok(answer) => {
            answer.work_pool.ok_or_else(|| anyhow!("the server tells nothing of the pool `{name}`"))
        }
        // It says how to make one.
        Err(error) if error.kind() == ErrorKind::NotFound => Err(error.into()),
        Err(error) => Err(error).with_context(|| format!("ask for the pool `{name}`")),
    }
}

#[cfg_attr(
    not(feature = "containers"),
    expect(unused_variables, reason = "processes need nothing more of the server")
)]
async fn backend(options: &Options, client: &Client, pool: &WorkPool) -> anyhow::Result<Arc<dyn Backend>> {
    let spec = pool.spec.clone().unwrap_or_default();
    let data_dir = options.data_dir();
    let secrets = Secrets::new(&options.secrets_dir);
    let sources = Sources::new(data_dir.join("cache"), secrets.clone(), options.cache_mib << 20);
    match pool_type(options, pool)? {
        PoolType::Process => {
            let process_options =
                ProcessOptions { data_dir, secrets, sources, system_root: options.system_root.clone() };
            Ok(Arc::new(Processes::new(process_options)?))
        }
        #[cfg(feature = "containers")]
        PoolType::Kubernetes => {
            let kubernetes_options = KubernetesOptions {
                kubeconfig: options.kubeconfig.clone(),
                image: options.job_image.clone(),
                source_image: options.source_image.clone(),
                secret: options.job_secret.clone(),
                namespaces: options.job_namespaces.clone(),
                data_dir,
                name: options.name(),
            };
            let of_pool = Pool::new(client.clone(), pool).await?;
            Ok(Arc::new(Kubernetes::new(kubernetes_options, of_pool, &spec.job_variables).await?))
        }
        #[cfg(feature = "containers")]
        PoolType::Docker => {
            let docker_options = DockerOptions {
                host: options.docker_host.clone(),
                image: options.job_image.clone(),
                secrets,
                sources,
                data_dir,
                name: options.name(),
            };
            Ok(Arc::new(Docker::new(docker_options, Pool::new(client.clone(), pool).await?).await?))
        }
        #[cfg(not(feature = "containers"))]
        other => bail!(
            "the pool is of the type {other:?}, and this build starts processes alone: use the image `tidegate`, or build \
             with `--features containers`"
        ),
    }
}

async fn take_runs(
    options: &Options,
    pool: &WorkPool,
    shared: &Arc<Shared>,
    stop: CancellationToken,
    ready: &watch::Sender<bool>,
) -> anyhow::Result<()> {
    let adopted = shared.backend.adopt().await.context("see to what an earlier worker has left")?;
    let key = |assign: &Assign| (assign.run_id.clone(), assign.epoch);
    let mut left: HashSet<_> = adopted.iter().map(key).collect();
    if !adopted.is_empty() {
        info!("{} jobs of an earlier worker go on", adopted.len());
    }
    let worker_options = WorkerOptions {
        name: options.name.clone(),
        queues: queues(options, pool)?,
        functions: Vec::new(),
        work_pool: pool.name.clone(),
        labels: options.labels(),
        task_slots: 0,
        flow_slots: options.limit,
        // The jobs are ended before the core gives up on them.
        drain_grace: options.drain() + SHUTDOWN_GRACE + FLUSH,
    };
    let queues = worker_options.queues.join(", ");
    let (worker, mut attempts) = Worker::start_holding(&shared.client, worker_options, adopted)?;
    info!("worker {} takes runs of pool {} from {queues}, {} at once", worker.id(), pool.name, options.limit);
    let (runs, mut status) = (TaskTracker::new(), worker.status());
    let refused = loop {
        let attempt = tokio::select! {
            biased;
            () = stop.cancelled() => break None,
            ended = worker.stopped() => break Some(ended),
            Ok(()) = status.changed() => {
                ready.send_replace(status.borrow_and_update().connected);
                continue;
            }
            attempt = attempts.next() => attempt,
        };
        let Some(attempt) = attempt else { break None }; // the server has asked it to end
        let is_adopted = left.remove(&key(attempt.assign()));
        runs.spawn(run::run(attempt, is_adopted, Arc::clone(shared)));
    };
    ready.send_replace(false);
    drop(attempts); // what has come and was not begun is given back
    runs.close();
    if refused.is_none() && !stop.is_cancelled() {
        info!("the server asks this worker to end: {} runs may take as long as they need", runs.len());
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = runs.wait() => {}
        }
    }
    worker.drain();
    if refused.is_none() && !runs.is_empty() {
        info!("{} runs have {:?} to end", runs.len(), options.drain());
    }
    let drained = tokio::time::timeout(options.drain(), runs.wait()).await;
    if drained.is_err() || refused.is_some() {
        shared.hurry.cancel();
        runs.wait().await;
    }
    worker.stopped().await?;
    Ok(())
}

/// What the pool says. An option that says otherwise is refused: runs would be started where they were not meant to be, and
/// without what their deployments say of images and resources.
fn pool_type(options: &Options, pool: &WorkPool) -> anyhow::Result<PoolType> {
    let of_pool = match pool.spec.as_ref().map(WorkPoolSpec::r#type).unwrap_or_default() {
        WorkPoolType::Process => PoolType::Process,
        WorkPoolType::Docker => PoolType::Docker,
        WorkPoolType::Kubernetes => PoolType::Kubernetes,
        WorkPoolType::Unspecified => bail!(
            "pool `{}` is of a type that this worker does not know: start one of the server's version",
            pool.name
        ),
    };
    if let Some(asked) = options.pool_type.filter(|asked| *asked != of_pool) {
        bail!(
            "pool `{}` is of the type `{}`, and this worker was started with `--type {}`: leave that out, or name a pool of its \
             type",
            pool.name,
            of_pool.word(),
            asked.word()
        );
    }
    Ok(of_pool)
}

/// Those of the options, else those of the pool; one that names none has one of its own name.
fn queues(options: &Options, pool: &WorkPool) -> anyhow::Result<Vec<String>> {
    let named = pool.spec.as_ref().map(|spec| spec.queues.clone()).unwrap_or_default();
    let of_pool = if named.is_empty() { vec![pool.name.clone()] } else { named };
    // It would wait there for ever.
    if let Some(other) = options.queues.iter().find(|queue| !of_pool.contains(queue)) {
        bail!("pool `{}` has no queue `{other}`: its queues are {}", pool.name, of_pool.join(", "));
    }
    Ok(if options.queues.is_empty() { of_pool } else { options.queues.clone() })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn options(more: &[&str]) -> Options {
        Options::try_parse_from([&["tidegate-worker", "--pool", "lab"], more].concat()).unwrap()
    }

    #[test]
    fn the_type_is_that_of_the_pool_and_no_other() {
        let pool = |r#type: i32| {
            let spec = Some(WorkPoolSpec { r#type, ..WorkPoolSpec::default() });
            WorkPool { name: "lab".into(), spec, ..WorkPool::default() }
        };
        let types = [
            ("process", WorkPoolType::Process, PoolType::Process),
            ("docker", WorkPoolType::Docker, PoolType::Docker),
            ("kubernetes", WorkPoolType::Kubernetes, PoolType::Kubernetes),
        ];
        for (of_pool, told, wanted) in types {
            let pool = pool(told.into());
            assert_eq!(pool_type(&options(&[]), &pool).unwrap(), wanted);
            for (asked, ..) in types {
                let taken = pool_type(&options(&["--type", asked]), &pool);
                if asked == of_pool {
                    assert_eq!(taken.unwrap(), wanted);
                } else {
                    let error = taken.unwrap_err().to_string();
                    let told = format!(
                        "pool `lab` is of the type `{of_pool}`, and this worker was started with `--type {asked}`"
                    );
                    assert!(error.starts_with(&told), "{error}");
                }
            }
        }
        for unknown in [0, 99] {
            let error = pool_type(&options(&["--type", "process"]), &pool(unknown)).unwrap_err().to_string();
            assert!(error.contains("a type that this worker does not know"), "{error}");
        }
    }

    #[test]
    fn the_queues_are_those_of_the_pool_or_some_of_them() {
        let pool = |queues: &[&str]| WorkPool {
            name: "lab".into(),
            spec: Some(WorkPoolSpec {
                queues: queues.iter().map(ToString::to_string).collect(),
                ..WorkPoolSpec::default()
            }),
            ..WorkPool::default()
        };
        assert_eq!(queues(&options(&[]), &pool(&[])).unwrap(), ["lab"]);
        assert_eq!(queues(&options(&[]), &pool(&["urgent", "rest"])).unwrap(), ["urgent", "rest"]);
        assert_eq!(queues(&options(&["--queue", "rest"]), &pool(&["urgent", "rest"])).unwrap(), ["rest"]);
        let wrong = queues(&options(&["--queue", "res"]), &pool(&["urgent", "rest"])).unwrap_err();
        assert_eq!(wrong.to_string(), "pool `lab` has no queue `res`: its queues are urgent, rest");
    }
}
