//! Jobs as containers of a Docker engine, or of what speaks its API.
//!
//! A run is the container whose name has its id and epoch, so that creating it twice makes one. Its labels say whose it is
//! and what the worker was assigned: a worker that is started anew finds its containers by its name, and goes on with them.

mod body;
mod container;
mod image;
mod lines;

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use async_trait::async_trait;
use bollard::{
    Docker as Engine,
    errors::Error,
    models::ContainerSummaryStateEnum,
    query_parameters::{CreateContainerOptions, ListContainersOptions, UploadToContainerOptions},
};
use tidegate_sdk_core::proto::{Assign, source::Source};
use tokio::task::spawn_blocking;
use tokio_util::io::ReaderStream;
use tracing::warn;

use self::{
    body::{CODE, TEMPLATE},
    container::{Container, Place},
};
use super::{
    Backend, Running, StartError,
    guard::Guard,
    marks::{self, ASSIGN, EPOCH, RUN_ID, SERVER},
    owner::Owner,
    pool::Pool,
};
use crate::{job::Job, logs::Output, secrets::Secrets, source::Sources};

/// What the name of a container ends with that is done, and stays as its variables ask for.
const DONE: &str = "-done";

/// Which engine, and what its containers are made of.
#[derive(Clone, Debug)]
pub struct DockerOptions {
    /// Where the engine listens. `None`: `DOCKER_HOST`, or the usual socket.
    pub host: Option<String>,
    /// The image of runs that name none.
    pub image: Option<String>,
    /// What they may refer to.
    pub secrets: Secrets,
    /// Where their code comes from.
    pub sources: Sources,
    /// Where it keeps who it is, and code on its way into a container.
    pub data_dir: PathBuf,
    /// What it is called.
    pub name: String,
}

/// Starts jobs by an engine.
pub struct Docker {
    engine: Engine,
    pool: Pool,
    options: DockerOptions,
    labels: BTreeMap<String, String>,
    lines: PathBuf,
    /// Nobody else has its containers.
    _owner: Owner,
}

impl Docker {
    /// For the runs of `pool`.
    ///
    /// # Errors
    /// Where there is no engine, or the data directory cannot be used.
    pub async fn new(options: DockerOptions, pool: Pool) -> anyhow::Result<Self> {
        let owner = pool.owner(&options.name, &options.data_dir)?;
        let lines = options.data_dir.join("lines");
        for dir in [&lines, &options.data_dir.join("runs")] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.with_context(|| format!("make the directory {}", dir.display()))?;
        }
        let engine = match &options.host {
            Some(host) => Engine::connect_with_host(host),
            None => Engine::connect_with_defaults(),
        };
        let where_it_is = "reach the Docker engine: give `--docker-host`, or set DOCKER_HOST";
        let engine = engine.context(where_it_is)?.negotiate_version().await.context(where_it_is)?;
        let labels = pool.labels(&owner);
        Ok(Self { engine, pool, options, labels, lines, _owner: owner })
    }

    fn place(&self, assign: &Assign) -> Place {
        let name = marks::name_of(assign);
        Place { docker: self.engine.clone(), lines_file: self.lines.join(&name), name }
    }

    fn environment(&self, job: &Job, output: &Output) -> Result<Vec<(String, String)>, StartError> {
        let mut env: Vec<_> = job.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut values = Vec::new();
        for (variable, name) in &job.secret_env {
            let value = self.options.secrets.get(name).map_err(|error| StartError::Job(error.to_string()))?;
            env.push((variable.clone(), value.clone()));
            values.push(value);
        }
        output.hide(values.iter().map(String::as_str));
        Ok(env)
    }

    /// Puts the code of a job into its container.
    async fn bring_code(&self, job: &Job, name: &str, output: &Output) -> Result<(), StartError> {
        let source = match &job.source {
            Some(source @ (Source::Git(_) | Source::Archive(_))) => source,
            Some(Source::Path(_) | Source::Image(_)) | None => return Ok(()),
        };
        let passing =
            |error: std::io::Error| StartError::Passing(format!("the code cannot be packed: {error}"));
        let directory =
            tidy::Directory::new(self.options.data_dir.join("runs").join(name)).map_err(passing)?;
        let code = self.options.sources.fetch(source, directory.path(), output).await?;
        let packed = directory.path().join("code.tar");
        let file = packed.clone();
        match spawn_blocking(move || pack(&code, &file)).await {
            Ok(packed) => packed.map_err(passing)?,
            Err(error) => return Err(StartError::Passing(error.to_string())),
        }
        let file = tokio::fs::File::open(&packed).await.map_err(passing)?;
        let chunks = ReaderStream::new(file);
        let options = UploadToContainerOptions { path: "/".into(), ..Default::default() };
        let uploaded =
            self.engine.upload_to_container(name, Some(options), bollard::body_try_stream(chunks)).await;
        uploaded.map_err(|error| {
            StartError::Passing(format!("the code cannot be put into the container: {}", cause(&error)))
        })
    }

    async fn of_labels(&self, labels: Vec<String>) -> Result<Vec<Found>, Error> {
        let filters = Some(HashMap::from([("label".to_owned(), labels)]));
        let options = ListContainersOptions { all: true, filters, ..Default::default() };
        let found = self.engine.list_containers(Some(options)).await?;
        Ok(found
            .into_iter()
            .filter_map(|container| {
                let labels = container.labels.unwrap_or_default();
                let names = container.names.unwrap_or_default();
                Some(Found {
                    id: container.id?,
                    is_done: names.iter().any(|name| name.ends_with(DONE)),
                    was_started: container.state != Some(ContainerSummaryStateEnum::CREATED),
                    epoch: labels.get(EPOCH).and_then(|epoch| epoch.parse().ok()),
                    assign: labels.get(ASSIGN).and_then(|text| marks::read(text)),
                    server: labels.get(SERVER).cloned(),
                })
            })
            .collect())
    }

    /// Ends what earlier attempts of a run have left: whoever started them is not there any more to do it.
    async fn end_earlier(&self, assign: &Assign) -> Result<(), StartError> {
        let of_run = self.of_labels(vec![format!("{RUN_ID}={}", assign.run_id)]).await;
        for other in of_run.map_err(|error| StartError::Passing(cause(&error)))? {
            if other.epoch < Some(assign.epoch) && !other.is_done {
                Place { name: other.id, ..self.place(assign) }.remove().await;
            }
        }
        Ok(())
    }
}

/// A container of Tidegate's.
struct Found {
    id: String,
    is_done: bool,
    was_started: bool,
    epoch: Option<u64>,
    assign: Option<Assign>,
    /// `None`: an older worker has started it, and wrote none.
    server: Option<String>,
}

#[async_trait]
impl Backend for Docker {
    async fn adopt(&self) -> Result<Vec<Assign>, StartError> {
        let of_worker = self.labels.iter().filter(|(name, _)| name.as_str() != SERVER);
        let own = of_worker.map(|(name, value)| format!("{name}={value}")).collect();
        let found = self.of_labels(own).await.map_err(|error| StartError::Passing(cause(&error)))?;
        let mut adopted = Vec::new();
        for container in found.into_iter().filter(|container| !container.is_done) {
            let Some(assign) = container.assign else { continue };
            let is_own = match &container.server {
                Some(server) => self.labels.get(SERVER) == Some(server),
                None => self.pool.has_run(&assign).await?,
            };
            if !is_own {
                if container.server.is_none() {
                    let (id, run_id) = (&container.id, &assign.run_id);
                    warn!(
                        "the container {id} does not say which server's it is, and its run {run_id} is not known to this \
                         one: it is left alone; where it is nobody's, `docker rm --force {id}` takes it away"
                    );
                }
                continue;
            }
            if container.was_started {
                adopted.push(assign);
            } else {
                self.place(&assign).remove().await; // its code may not be in it
            }
        }
        Ok(adopted)
    }

    async fn start(&self, job: &Job, output: &Output) -> Result<Box<dyn Running>, StartError> {
        let env = self.environment(job, output)?;
        let described = self.pool.describe(job, TEMPLATE).await?;
        let made = body::body(job, described, &self.labels, &env, self.options.image.as_deref())?;
        if job.assign.epoch > 1 {
            self.end_earlier(&job.assign).await?;
        }
        let image = made.image.clone().unwrap_or_default();
        image::provide(&self.engine, job, &image, &self.options.secrets, output).await?;
        // From here on it is removed where it does not come to run.
        let place = self.place(&job.assign);
        let guard = Guard::new(place.clone());
        let options = CreateContainerOptions { name: Some(place.name.clone()), ..Default::default() };
        match self.engine.create_container(Some(options), made).await {
            // It was created before, and the answer was lost.
            Err(error) if is_conflict(&error) => {}
            Err(error) => return Err(refused(&error)),
            Ok(_) => {}
        }
        self.bring_code(job, &place.name, output).await?;
        self.engine.start_container(&place.name, None).await.map_err(|error| refused(&error))?;
        Ok(Box::new(Container::follow(guard, output, None, job.cleanup)))
    }

    async fn resume(&self, job: &Job, output: &Output) -> Result<Box<dyn Running>, StartError> {
        let env = self.environment(job, output); // its secrets are to be hidden
        if let Err(error) = env {
            warn!("secrets of run {} may be seen in its log: {error}", job.assign.run_id);
        }
        let place = self.place(&job.assign);
        let lines_from = place.lines_until();
        Ok(Box::new(Container::follow(Guard::new(place), output, lines_from, job.cleanup)))
    }

    async fn abandon(&self, job: &Job) {
        self.place(&job.assign).remove().await;
    }

    fn outlives_worker(&self) -> bool {
        true
    }
}

/// Packs a directory as `CODE`.
fn pack(code: &Path, file: &Path) -> std::io::Result<()> {
    let mut archive = tar::Builder::new(fs::File::create(file)?);
    archive.follow_symlinks(false);
    archive.append_dir_all(CODE.trim_start_matches('/'), code)?;
    archive.finish()
}

/// A refusal of the engine to create or start a container.
fn refused(error: &Error) -> StartError {
    let told = cause(error);
    let is_of_job = match error {
        Error::DockerResponseServerError { status_code: 400, .. } => true,
        Error::DockerResponseServerError { .. } => {
            ["executable file not found", "no such file or directory", "permission denied", "not a directory"]
                .iter()
                .any(|sign| told.contains(sign))
        }
        _ => false,
    };
    if is_of_job { StartError::Job(told) } else { StartError::Passing(told) }
}

/// What people are told of an error of the engine.
fn cause(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        Error::DockerStreamError { error } => error.clone(),
        other => {
            let chain: Vec<_> = anyhow::Chain::new(other).map(ToString::to_string).collect();
            format!("the engine does not answer: {}", chain.join(": "))
        }
    }
}

fn is_not_there(error: &Error) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code: 404, .. })
}

/// The name is in use; or what is asked for does not fit the state, such as the end of what has ended.
fn is_conflict(error: &Error) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code: 304 | 409, .. })
}

mod tidy {
    //! A directory that is taken away when it is dropped.

    use std::path::{Path, PathBuf};

    pub(super) struct Directory(PathBuf);

    impl Directory {
        pub(super) fn new(path: PathBuf) -> std::io::Result<Self> {
            std::fs::create_dir_all(&path)?;
            Ok(Self(path))
        }

        pub(super) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            super::super::orphans::remove_dir(&self.0);
        }
    }
}
