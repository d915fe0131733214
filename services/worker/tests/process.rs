//! A worker of a pool of processes, against a service that does what the test tells it, with real processes.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../../libs/sdk-core/tests/fake/mod.rs"]
mod fake;

use std::{
    collections::VecDeque,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use clap::Parser as _;
use fake::{Conn, Event, Fake, accepted, ended, soon};
use tempfile::TempDir;
use tidegate_sdk_core::{
    new_run_id,
    proto::{
        ArchiveSource, Assign, Cancel, CancelCause, GitSource, IngestLogsResponse, Job, LogEntry, Report,
        RunKind, Source, WorkRequest, WorkResponse, source,
    },
};
use tidegate_worker::Options;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// A worker, and what it talks to.
struct Lab {
    fake: Fake,
    dir: TempDir,
    conn: Conn<WorkRequest, WorkResponse>,
    reports: VecDeque<Report>,
    lines: mpsc::UnboundedReceiver<LogEntry>,
    tasks: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
    is_ready: watch::Receiver<bool>,
}

fn options(address: &str, dir: &Path, more: &[&str]) -> Vec<String> {
    let (data, secrets) = (dir.join("data"), dir.join("secrets"));
    let fixed = ["tidegate-worker", "--pool", "lab", "--address", address, "--namespace", "test"];
    let dirs = ["--data-dir", data.to_str().unwrap(), "--secrets-dir", secrets.to_str().unwrap()];
    fixed.iter().chain(&dirs).chain(more).map(ToString::to_string).collect()
}

impl Lab {
    async fn new(more: &[&str]) -> Self {
        Self::with(more, |_| {}).await
    }

    /// With what is no option of the command line.
    async fn with(more: &[&str], change: impl FnOnce(&mut Options)) -> Self {
        let (mut fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        let mut options = Options::try_parse_from(options(&fake.address, dir.path(), more)).unwrap();
        change(&mut options);
        let (ready, is_ready) = watch::channel(false);
        tasks.spawn(tidegate_worker::work(options, stop.clone(), ready));
        let conn = fake.worker().await;
        let (mut logs, (sender, lines)) = (mpsc::channel(1).1, mpsc::unbounded_channel());
        std::mem::swap(&mut logs, &mut fake.logs);
        tasks.spawn(async move {
            while let Some(mut conn) = logs.recv().await {
                while let Ok(Some(batch)) = conn.requests.message().await {
                    conn.say(IngestLogsResponse { acked_batch_seq: batch.batch_seq }).await;
                    batch.entries.into_iter().for_each(|entry| sender.send(entry).unwrap());
                }
            }
            Ok(())
        });
        Self { fake, dir, conn, reports: VecDeque::new(), lines, tasks, stop, is_ready }
    }

    async fn assign(&self, job: Job) -> String {
        let run_id = new_run_id();
        let (kind, job) = (RunKind::Flow.into(), Some(job));
        self.conn.assign(Assign { run_id: run_id.clone(), epoch: 3, kind, job, ..Default::default() }).await;
        run_id
    }

    /// The next report, which is accepted.
    async fn report(&mut self) -> Report {
        while self.reports.is_empty() {
            let reports = self.conn.reports().await;
            self.conn.answer(reports.iter().map(accepted).collect()).await;
            self.reports.extend(reports);
        }
        self.reports.pop_front().unwrap()
    }

    /// The end of the next run, whose start is reported before.
    async fn end(&mut self) -> Event {
        match self.report().await.event.unwrap() {
            Event::Started(_) => self.report().await.event.unwrap(),
            event => event,
        }
    }

    /// The next line of the job itself.
    async fn line(&mut self) -> String {
        loop {
            let line = soon(self.lines.recv()).await.unwrap();
            if matches!(line.logger.as_str(), "stdout" | "stderr") {
                return line.message;
            }
        }
    }

    /// The process whose number the job has told.
    async fn pid(&mut self) -> u32 {
        self.line().await.parse().unwrap()
    }
}

fn shell(script: &str) -> Job {
    Job { command: ["sh", "-c", script].map(str::to_owned).to_vec(), ..Default::default() }
}

fn is_alive(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

async fn until_gone(pid: u32) {
    let gone = async {
        while is_alive(pid) {
            tokio::task::yield_now().await;
        }
    };
    soon(gone).await;
}

#[tokio::test]
async fn a_command_is_reported_by_how_it_ends() {
    let mut lab = Lab::new(&[]).await;
    lab.assign(shell("echo working in $(pwd); test -n \"$TIDEGATE_RUN_ID\"")).await;
    assert!(matches!(lab.end().await, Event::Completed(_)));
    let directory = lab.line().await.strip_prefix("working in ").unwrap().to_owned();
    assert!(directory.contains("/data/runs/") && !Path::new(&directory).exists(), "{directory}");
    lab.assign(shell("echo no such table >&2; exit 3")).await;
    let Event::Failed(failure) = lab.end().await else { panic!("it has failed") };
    assert_eq!(failure.message, "exit code 3: no such table");
    lab.assign(shell("kill -9 $$")).await;
    let Event::Crashed(crashed) = lab.end().await else { panic!("it has crashed") };
    assert!(crashed.cause.starts_with("signal 9 (SIGKILL)"), "{}", crashed.cause);
    let job = Job { command: vec!["no-such-program".into()], ..Default::default() };
    lab.assign(job).await;
    let Event::Failed(failure) = lab.end().await else { panic!("it has failed") };
    assert!(failure.non_retryable && failure.message.contains("no-such-program"), "{failure:?}");
}

#[tokio::test]
async fn a_process_that_was_killed_for_want_of_memory_says_so() {
    let system = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = system.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let (group, machine) = ("sys/fs/cgroup/jobs/memory.events", "proc/vmstat");
    write("proc/self/cgroup", "0::/jobs\n");
    write(group, "low 0\noom 0\noom_kill 0\n");
    write(machine, "oom_kill 4\n");
    let mut lab = Lab::with(&[], |options| options.system_root = system.path().to_owned()).await;
    let mut crash = async |script: &str| {
        lab.assign(shell(script)).await;
        match lab.end().await {
            Event::Crashed(crashed) => crashed.cause,
            other => panic!("it has crashed, not {other:?}"),
        }
    };
    // What the system writes at its kill, the job writes in its place.
    let counts = |file: &str, n: u32| {
        format!("printf 'oom 9\\noom_kill {n}\\n' > {}; ", system.path().join(file).display())
    };
    let killed = crash(&(counts(group, 1) + &counts(machine, 5) + "kill -9 $$")).await;
    assert!(killed.starts_with("signal 9 (SIGKILL)"), "{killed}");
    assert!(
        killed.contains("out of memory: the control group of the worker is at its memory limit"),
        "{killed}"
    );
    let elsewhere = crash(&(counts(machine, 6) + "kill -9 $$")).await;
    assert!(elsewhere.contains("probably out of memory"), "{elsewhere}");
    // Neither by somebody else's kill, nor by another signal meanwhile.
    let by_hand = crash("kill -9 $$").await;
    assert!(by_hand.starts_with("signal 9 (SIGKILL)") && !by_hand.contains("out of memory"), "{by_hand}");
    let other = crash(&(counts(group, 2) + "kill -11 $$")).await;
    assert!(other.starts_with("signal 11 (SIGSEGV)") && !other.contains("memory"), "{other}");
}

#[tokio::test]
async fn secrets_are_given_by_name_and_hidden_in_the_log() {
    let mut lab = Lab::new(&[]).await;
    fs::create_dir(lab.dir.path().join("secrets")).unwrap();
    fs::write(lab.dir.path().join("secrets/db"), "hunter22\n").unwrap();
    let variables = r#"{"secret_env": {"PASSWORD": "db"}, "env": {"HOST": "db-1"}}"#;
    let job =
        Job { job_variables: variables.into(), ..shell("echo $HOST $PASSWORD; test $PASSWORD = hunter22") };
    lab.assign(job).await;
    assert!(matches!(lab.end().await, Event::Completed(_)));
    assert_eq!(lab.line().await, "db-1 ****");
    let missing = Job { job_variables: r#"{"secret_env": {"X": "none"}}"#.into(), ..shell("true") };
    lab.assign(missing).await;
    let Event::Failed(failure) = lab.end().await else { panic!("it has failed") };
    assert!(failure.message.contains("TIDEGATE_SECRET_NONE"), "{failure:?}");
}

#[tokio::test]
async fn a_long_line_is_cut_and_binary_output_is_taken() {
    let mut lab = Lab::new(&[]).await;
    lab.assign(shell("head -c 100000 /dev/zero | tr '\\0' a; echo; printf 'a\\377\\n'; printf 'no end'"))
        .await;
    assert!(matches!(lab.end().await, Event::Completed(_)));
    let line = lab.line().await;
    assert!(line.len() < 20_000 && line.ends_with("bytes of this line are left out]"), "{}", line.len());
    assert_eq!((lab.line().await.as_str(), lab.line().await.as_str()), ("a\u{fffd}", "no end"));
}

#[tokio::test]
async fn a_cancel_ends_all_processes_of_a_run_within_its_grace() {
    let mut lab = Lab::new(&[]).await;
    // One that does not listen, and one that has left its group.
    let run_id =
        lab.assign(shell("trap '' TERM; setsid sleep 600 & echo $!; echo $$; sleep 600 & wait; wait")).await;
    let (escaped, stubborn) = (lab.pid().await, lab.pid().await);
    assert!(matches!(lab.report().await.event, Some(Event::Started(_))));
    let grace = Some(prost_types::Duration { seconds: 0, nanos: 200_000_000 });
    let cause = CancelCause::Requested.into();
    lab.conn.cancel(Cancel { run_id, epoch: 3, cause, grace, ..Default::default() }).await;
    assert!(matches!(lab.report().await.event, Some(Event::Cancelled(_))));
    until_gone(escaped).await;
    until_gone(stubborn).await;
}

#[tokio::test]
async fn a_drain_lets_runs_end_and_then_ends_them() {
    let mut lab = Lab::new(&["--drain-seconds", "0"]).await;
    lab.assign(shell("echo $$; sleep 600 & wait")).await;
    let pid = lab.pid().await;
    lab.stop.cancel();
    let Event::Crashed(crashed) = lab.end().await else { panic!("it has crashed") };
    assert!(crashed.cause.starts_with("shutdown"), "{}", crashed.cause);
    until_gone(pid).await;
    drop(lab.conn);
    soon(lab.tasks.join_next()).await.unwrap().unwrap().unwrap();

    let mut lab = Lab::new(&["--drain-seconds", "600"]).await;
    lab.assign(shell("echo $$; while ! test -e go; do sleep 0.01; done")).await;
    let pid = lab.pid().await;
    lab.stop.cancel();
    let cwd = fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    fs::write(cwd.join("go"), "").unwrap();
    assert!(matches!(lab.end().await, Event::Completed(_)));
    drop(lab.conn);
    soon(lab.tasks.join_next()).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_drain_by_the_server_lets_runs_take_as_long_as_they_need() {
    let mut lab = Lab::new(&["--drain-seconds", "0"]).await;
    lab.assign(shell("echo $$; while ! test -e go; do sleep 0.01; done")).await;
    let pid = lab.pid().await;
    assert!(matches!(lab.report().await.event, Some(Event::Started(_))));
    soon(lab.is_ready.wait_for(|is_ready| *is_ready)).await.unwrap();
    lab.conn.drain().await;
    soon(lab.is_ready.wait_for(|is_ready| !is_ready)).await.unwrap();
    lab.conn.draining_heartbeats(3).await;
    assert!(is_alive(pid));
    let cwd = fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    fs::write(cwd.join("go"), "").unwrap();
    assert!(matches!(lab.end().await, Event::Completed(_)));
    drop(lab.conn);
    soon(lab.tasks.join_next()).await.unwrap().unwrap().unwrap();
}

/// What stands in for Python: it executes no flow, and ends.
fn executed_by(lab: &Lab, script: &str) -> Job {
    use std::os::unix::fs::PermissionsExt as _;

    let program = lab.dir.path().join("python");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let job_variables = format!(r#"{{"python": "{}"}}"#, program.display());
    Job { entrypoint: "etl.py:nightly".into(), job_variables, ..Default::default() }
}

#[tokio::test]
async fn of_an_entrypoint_only_that_is_reported_which_it_could_not_say() {
    let mut lab = Lab::new(&[]).await;
    lab.assign(executed_by(&lab, "echo $*; echo no module named tidegate >&2; exit 1")).await;
    let Event::Crashed(crashed) = lab.report().await.event.unwrap() else { panic!("it has crashed") };
    assert_eq!(crashed.cause, "exit code 1: no module named tidegate");
    assert_eq!(lab.line().await, "-m tidegate.execute etl.py:nightly");

    let run_id = lab.assign(executed_by(&lab, "exit 0")).await;
    let mut run = ended(&run_id);
    run.epoch = 3;
    lab.fake.tell_run(run).await; // it has said so itself
    let run_id = lab.assign(executed_by(&lab, "exit 0")).await;
    let mut run = ended(&run_id);
    (run.epoch, run.state) = (3, Some(tidegate_sdk_core::proto::State { r#type: 3, ..Default::default() }));
    lab.fake.tell_run(run).await;
    let report = lab.report().await;
    assert_eq!(report.run_id, run_id, "nothing is reported of the one before");
    let Some(Event::Crashed(crashed)) = report.event else { panic!("it has crashed") };
    assert!(crashed.cause.contains("had not said what became of the run"), "{}", crashed.cause);
}

fn git(dir: &Path, arguments: &[&str]) {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"];
    let status =
        Command::new("git").args(identity).args(arguments).current_dir(dir).stdout(Stdio::null()).status();
    assert!(status.unwrap().success(), "git {arguments:?}");
}

#[tokio::test]
async fn code_comes_from_git_by_branch_tag_and_commit() {
    let mut lab = Lab::new(&[]).await;
    let origin = lab.dir.path().join("origin");
    fs::create_dir_all(origin.join("flows")).unwrap();
    git(&origin, &["init", "--quiet"]);
    for (content, tag) in [("one", "v1"), ("two", "v2")] {
        fs::write(origin.join("flows/version"), content).unwrap();
        git(&origin, &["add", "."]);
        git(&origin, &["commit", "--quiet", "-m", content]);
        git(&origin, &["tag", tag]);
    }
    let head = Command::new("git").args(["rev-parse", "v1"]).current_dir(&origin).output().unwrap();
    let commit = String::from_utf8(head.stdout).unwrap().trim().to_owned();
    let source = |name: &str, directory: &str| {
        let url = format!("file://{}", origin.display());
        let git = GitSource { url, r#ref: name.into(), directory: directory.into(), ..Default::default() };
        Some(Source { source: Some(source::Source::Git(git)) })
    };
    let job = |name: &str| Job { source: source(name, "flows"), ..shell("cat version") };
    for (name, content) in
        [("", "two"), ("main", "two"), ("v1", "one"), (&commit, "one"), (&commit[..10], "one")]
    {
        lab.assign(job(name)).await;
        let end = lab.end().await;
        assert!(matches!(end, Event::Completed(_)), "{name}: {end:?}");
        assert_eq!(lab.line().await, content, "{name}");
    }
    fs::write(origin.join("flows/version"), "three").unwrap();
    git(&origin, &["commit", "--quiet", "-am", "three"]);
    lab.assign(job("main")).await;
    assert!(matches!(lab.end().await, Event::Completed(_)));
    assert_eq!(lab.line().await, "three", "a branch moves");
    for (name, directory, told) in [
        ("nope", "", "no branch, tag or commit `nope`"),
        ("", "../..", "leads out"),
        ("", "none", "no directory"),
    ] {
        lab.assign(Job { source: source(name, directory), ..shell("true") }).await;
        let Event::Failed(failure) = lab.end().await else { panic!("it has failed") };
        assert!(failure.non_retryable && failure.message.contains(told), "{failure:?}");
    }
}

#[tokio::test]
async fn code_comes_from_an_archive_that_is_the_right_one() {
    let mut lab = Lab::new(&[]).await;
    let dir = lab.dir.path().to_owned();
    fs::write(dir.join("version"), "packed").unwrap();
    let packed =
        Command::new("tar").args(["-czf", "code.tar.gz", "version"]).current_dir(&dir).status().unwrap();
    assert!(packed.success());
    let hash = Command::new("sha256sum").arg(dir.join("code.tar.gz")).output().unwrap();
    let sha256 = String::from_utf8(hash.stdout).unwrap().split_whitespace().next().unwrap().to_owned();
    let job = |sha256: &str| {
        let url = format!("file://{}/code.tar.gz", dir.display());
        let archive = ArchiveSource { url, sha256: sha256.into(), directory: String::new() };
        Job {
            source: Some(Source { source: Some(source::Source::Archive(archive)) }),
            ..shell("cat version")
        }
    };
    for sha256 in ["", &sha256, &sha256] {
        lab.assign(job(sha256)).await;
        let end = lab.end().await;
        assert!(matches!(end, Event::Completed(_)), "{end:?}");
        assert_eq!(lab.line().await, "packed");
    }
    lab.assign(job(&"0".repeat(64))).await;
    let Event::Failed(failure) = lab.end().await else { panic!("it has failed") };
    assert!(failure.message.contains("SHA-256"), "{failure:?}");
}

/// A worker that is a process of its own, and is not left behind.
struct Program(Child);

impl Program {
    fn start(fake: &Fake, dir: &Path) -> Self {
        let options = options(&fake.address, dir, &[]);
        let program = env!("CARGO_BIN_EXE_tidegate-worker");
        Self(Command::new(program).args(&options[1..]).stdin(Stdio::null()).spawn().unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn no_process_outlives_a_worker_that_was_killed_and_the_next_one_ends_what_has_escaped() {
    let (mut fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
    let mut worker = Program::start(&fake, dir.path());
    let conn = fake.worker().await;
    for _ in 0..10 {
        let job = Some(shell("setsid sleep 600 & echo $!; echo $$; sleep 600 & wait"));
        let kind = RunKind::Flow.into();
        conn.assign(Assign { run_id: new_run_id(), epoch: 3, kind, job, ..Default::default() }).await;
    }
    let mut logs = soon(fake.logs.recv()).await.unwrap();
    let mut pids: Vec<u32> = Vec::new();
    while pids.len() < 20 {
        let batch = logs.next().await;
        logs.say(IngestLogsResponse { acked_batch_seq: batch.batch_seq }).await;
        let of_jobs = batch.entries.iter().filter(|entry| entry.logger == "stdout");
        pids.extend(of_jobs.map(|entry| entry.message.parse::<u32>().unwrap()));
    }
    worker.kill();
    // Those of the groups end at once, by the warden; those that have left them by the next worker.
    let mut n_left = pids.len();
    let ten_left = async {
        while n_left > 10 {
            n_left = pids.iter().filter(|pid| is_alive(**pid)).count();
            tokio::task::yield_now().await;
        }
    };
    soon(ten_left).await;
    let _next = Program::start(&fake, dir.path());
    let _conn = fake.worker().await;
    for pid in pids {
        until_gone(pid).await; // told to end before the first run could come
    }
    assert_eq!(fs::read_dir(dir.path().join("data/runs")).unwrap().count(), 0);
}
