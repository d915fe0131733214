//! Jobs as processes of this machine.

use std::{
    fs,
    os::unix::{fs::DirBuilderExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use async_trait::async_trait;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tidegate_sdk_core::proto::Assign;
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
    sync::watch,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;

use super::{
    Backend, Exit, Running, StartError,
    escaped::{self, Identity, MARK},
    memory::OomKills,
    orphans::{self, Note},
    warden::Warden,
};
use crate::{
    job::{Job, JobKind},
    logs::{Output, Stream},
    secrets::Secrets,
    source::Sources,
};

/// Waits for a word before it becomes the job: by then the job is written down, and nothing can leave it behind.
const GATE: &str = r#"read -r go || exit 1; exec "$@" </dev/null"#;
/// How long the last lines may take after the end of a job and of all that it has started.
const LAST_LINES: Duration = Duration::from_secs(2);

/// What processes need.
#[derive(Clone, Debug)]
pub struct ProcessOptions {
    /// Where their working directories are.
    pub data_dir: PathBuf,
    /// What they may refer to.
    pub secrets: Secrets,
    /// Where their code comes from.
    pub sources: Sources,
    /// Below it are `/proc` and `/sys`, which tell whom the system has killed for want of memory: `/`.
    pub system_root: PathBuf,
}

/// Starts jobs as processes: each in a directory and a process group of its own.
pub struct Processes {
    options: ProcessOptions,
    notes: PathBuf,
    runs: PathBuf,
    warden: Arc<Warden>,
    tasks: TaskTracker,
}

impl Processes {
    /// With the directories that it needs.
    ///
    /// # Errors
    /// Where they cannot be made.
    pub fn new(options: ProcessOptions) -> anyhow::Result<Self> {
        let (notes, runs) = (options.data_dir.join("jobs"), options.data_dir.join("runs"));
        for dir in [&notes, &runs] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.with_context(|| format!("make the directory {}", dir.display()))?;
        }
        Ok(Self { options, notes, runs, warden: Arc::default(), tasks: TaskTracker::new() })
    }

    fn environment(
        &self,
        job: &Job,
        mark: &str,
        output: &Output,
    ) -> Result<Vec<(String, String)>, StartError> {
        let mut env: Vec<_> = job.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut values = Vec::new();
        for (variable, name) in &job.secret_env {
            let value = self.options.secrets.get(name).map_err(|error| StartError::Job(error.to_string()))?;
            env.push((variable.clone(), value.clone()));
            values.push(value);
        }
        output.hide(values.iter().map(String::as_str));
        env.push((MARK.to_owned(), mark.to_owned()));
        Ok(env)
    }

    /// The directory in which the job executes.
    async fn prepare(&self, job: &Job, directory: &Path, output: &Output) -> Result<PathBuf, StartError> {
        let code = match &job.source {
            Some(source) => self.options.sources.fetch(source, directory, output).await?,
            None => directory.to_owned(),
        };
        // Joined to an absolute path it is that path.
        let cwd = job.working_directory.as_ref().map_or(code.clone(), |path| code.join(path));
        if !cwd.is_dir() {
            return Err(StartError::Job(format!("the working directory {} is not there", cwd.display())));
        }
        Ok(cwd)
    }
}

#[async_trait]
impl Backend for Processes {
    async fn adopt(&self) -> Result<Vec<Assign>, StartError> {
        let notes = self.notes.clone();
        let ended = spawn_blocking(move || orphans::end_orphans(&notes)).await;
        match ended {
            Ok(Ok(_)) => Ok(Vec::new()),
            Ok(Err(error)) => {
                Err(StartError::Passing(format!("{} cannot be read: {error}", self.notes.display())))
            }
            Err(error) => Err(StartError::Passing(error.to_string())),
        }
    }

    async fn start(&self, job: &Job, output: &Output) -> Result<Box<dyn Running>, StartError> {
        let name = format!("{}-{}", job.assign.run_id, job.assign.epoch);
        let mark = format!("{name}-{:016x}", rand::random::<u64>());
        let files = Files {
            directory: self.runs.join(&name),
            note: self.notes.join(format!("{name}.json")),
            keeps_directory: !job.cleanup,
        };
        let cleanup = Cleanup(files.clone());
        let passing = |what: &str, error: std::io::Error| StartError::Passing(format!("{what}: {error}"));
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&files.directory)
            .map_err(|error| passing("the working directory of the run cannot be made", error))?;
        let mut note = Note {
            worker: Identity::of(std::process::id().cast_signed()),
            mark: mark.clone(),
            leader: None,
            directory: job.cleanup.then(|| files.directory.clone()),
        };
        let written = |error| passing("the run cannot be written down", error);
        note.write(&files.note).map_err(written)?;
        let env = self.environment(job, &mark, output)?;
        let cwd = self.prepare(job, &files.directory, output).await?;
        let program = find(&job.command[0], &cwd, &env)?;

        let before = OomKills::now(&self.options.system_root);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GATE, "tidegate-job"]).arg(program).args(&job.command[1..]);
        for (inherited, _) in std::env::vars_os() {
            if inherited.to_string_lossy().starts_with("TIDEGATE_") {
                command.env_remove(inherited);
            }
        }
        command
            .envs(env)
            .current_dir(&cwd)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| passing("no process can be started", error))?;
        let group = child.id().unwrap_or_default().cast_signed();
        let gate = child.stdin.take();
        // From here on the process is ended where it does not come to be the job.
        let process = Process {
            group,
            mark,
            files,
            _cleanup: cleanup,
            is_entrypoint: job.kind == JobKind::Entrypoint,
            warden: Arc::clone(&self.warden),
            exit: self.follow(child, before, output),
        };
        note.leader = Identity::of(group);
        note.write(&process.files.note).map_err(written)?;
        process
            .warden
            .watch(group)
            .map_err(|error| passing("the warden of jobs cannot be started", error))?;
        if let Some(mut gate) = gate {
            gate.write_all(b"go\n").await.map_err(|error| passing("the process has ended at once", error))?;
        }
        Ok(Box::new(process))
    }
}

impl Processes {
    /// Takes what the process writes into the log, and tells its end.
    fn follow(&self, mut child: Child, before: OomKills, output: &Output) -> watch::Receiver<Option<Exit>> {
        let (ended, exit) = watch::channel(None);
        let copies = TaskTracker::new();
        if let Some(stdout) = child.stdout.take() {
            let output = output.clone();
            copies.spawn(async move { output.copy(Stream::Stdout, stdout).await });
        }
        if let Some(stderr) = child.stderr.take() {
            let output = output.clone();
            copies.spawn(async move { output.copy(Stream::Stderr, stderr).await });
        }
        copies.close();
        let group = child.id().unwrap_or_default().cast_signed();
        let system_root = self.options.system_root.clone();
        self.tasks.spawn(async move {
            let status = child.wait().await;
            escaped::signal_group(group, Signal::SIGKILL); // who is left of its group holds its pipes
            let _ = timeout(LAST_LINES, copies.wait()).await;
            ended.send_replace(Some(exit_of(status, before, &system_root)));
        });
        exit
    }
}

fn exit_of(status: std::io::Result<ExitStatus>, before: OomKills, system_root: &Path) -> Exit {
    let status = match status {
        Ok(status) => status,
        Err(error) => return Exit::Reason(format!("the end of its process cannot be told: {error}")),
    };
    match status.signal() {
        Some(number) => {
            let is_kill = number == Signal::SIGKILL as i32;
            let note = if is_kill { OomKills::now(system_root).note(before) } else { "" };
            Exit::Signal { number, note: note.to_owned() }
        }
        None => Exit::Code(status.code().unwrap_or_default()),
    }
}

/// The program, so that one that is not there is told before it is started.
fn find(program: &str, cwd: &Path, env: &[(String, String)]) -> Result<PathBuf, StartError> {
    if program.contains('/') {
        let path = cwd.join(program);
        if path.is_file() {
            return Ok(path);
        }
        return Err(StartError::Job(format!("the program {} is not there", path.display())));
    }
    let of_job = env.iter().rfind(|(name, _)| name == "PATH").map(|(_, value)| value.into());
    let path = of_job.or_else(|| std::env::var_os("PATH")).unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file());
    found.ok_or_else(|| {
        StartError::Job(format!(
            "the program `{program}` is not in the PATH of the worker: install it there, or name it by its path"
        ))
    })
}

/// What a job has on disk.
#[derive(Clone)]
struct Files {
    directory: PathBuf,
    note: PathBuf,
    keeps_directory: bool,
}

impl Files {
    fn remove(&self) {
        if !self.keeps_directory {
            orphans::remove_dir(&self.directory);
        }
        orphans::remove_file(&self.note);
    }
}

/// Takes them away when it is dropped.
struct Cleanup(Files);

impl Drop for Cleanup {
    fn drop(&mut self) {
        self.0.remove();
    }
}

/// A job that is a process. Dropped, it is ended.
struct Process {
    group: i32,
    mark: String,
    is_entrypoint: bool,
    warden: Arc<Warden>,
    exit: watch::Receiver<Option<Exit>>,
    files: Files,
    _cleanup: Cleanup,
}

#[async_trait]
impl Running for Process {
    async fn wait(&self) -> Exit {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
        ended.unwrap_or_else(|| Exit::Reason("nobody follows its process any more".into()))
    }

    async fn stop(&self, grace: Duration) {
        if self.is_entrypoint {
            // It ends its code in order first; what that has started hears of it later.
            let _ = kill(Pid::from_raw(self.group), Signal::SIGTERM);
            sleep(grace / 2).await;
            escaped::signal_group(self.group, Signal::SIGTERM);
            sleep(grace / 2).await;
        } else {
            escaped::signal_group(self.group, Signal::SIGTERM);
            sleep(grace).await;
        }
        self.kill().await;
    }

    async fn kill(&self) {
        escaped::signal_group(self.group, Signal::SIGKILL);
        let mark = self.mark.clone();
        let _ = spawn_blocking(move || escaped::end_marked(&mark)).await; // it does not panic
    }

    async fn remove(&self) {
        let files = self.files.clone();
        let _ = spawn_blocking(move || files.remove()).await; // it does not panic
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exit.borrow().is_none() {
            escaped::signal_group(self.group, Signal::SIGKILL);
            escaped::end_marked(&self.mark);
        }
        self.warden.forget(self.group);
    }
}
