//! A worker, and a service of Tidegate that does what the test tells it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    collections::VecDeque,
    process::{Child, Command, Stdio},
    time::Duration,
};

use clap::Parser as _;
use tempfile::TempDir;
use tidegate_sdk_core::{
    new_run_id,
    proto::{
        self, Assign, Cancel, CancelCause, HeldRun, IngestLogsResponse, Job, LogEntry, Report, RunKind,
        WorkPoolType, WorkRequest, WorkResponse,
    },
};
use tidegate_worker::Options;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::fake::{Conn, Event, Fake, accepted, soon};

/// A worker in this process, and what it talks to.
pub struct Lab {
    pub fake: Fake,
    pub dir: TempDir,
    pub conn: Option<Conn<WorkRequest, WorkResponse>>,
    reports: VecDeque<Report>,
    lines: mpsc::UnboundedReceiver<LogEntry>,
    tasks: JoinSet<()>,
    worker: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
    options: Vec<String>,
}

impl Lab {
    /// For workers of this name, with these options, of a pool that starts this.
    pub async fn new(dir: TempDir, name: &str, pool_type: WorkPoolType, options: &[String]) -> Self {
        let mut fake = Fake::start().await;
        fake.pool_type.send_replace(pool_type);
        let (mut logs, (sender, lines)) = (mpsc::channel(1).1, mpsc::unbounded_channel());
        std::mem::swap(&mut logs, &mut fake.logs);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut streams = JoinSet::new();
            while let Some(mut conn) = logs.recv().await {
                let sender = sender.clone();
                streams.spawn(async move {
                    while let Ok(Some(batch)) = conn.requests.message().await {
                        conn.say(IngestLogsResponse { acked_batch_seq: batch.batch_seq }).await;
                        for entry in batch.entries {
                            let _ = sender.send(entry); // the test may be over
                        }
                    }
                });
            }
        });
        let data = dir.path().join("data");
        let fixed = ["tidegate-worker", "--pool", "lab", "--address", &fake.address, "--namespace", "test"];
        let own = ["--data-dir", data.to_str().unwrap(), "--name", name];
        let options =
            fixed.iter().chain(&own).map(ToString::to_string).chain(options.iter().cloned()).collect();
        let (reports, stop) = (VecDeque::new(), CancellationToken::new());
        Self { fake, dir, conn: None, reports, lines, tasks, worker: JoinSet::new(), stop, options }
    }

    /// Starts a worker here.
    pub async fn start(&mut self) {
        self.stop = CancellationToken::new();
        let options = Options::try_parse_from(&self.options).unwrap();
        self.worker.spawn(tidegate_worker::work(options, self.stop.clone(), watch::channel(false).0));
        self.conn = Some(self.fake.worker().await);
    }

    /// Starts a worker here that first asks for so many runs, of which the server knows these.
    pub async fn start_asking(&mut self, n_asked: usize, known: &[proto::Run]) {
        self.stop = CancellationToken::new();
        let options = Options::try_parse_from(&self.options).unwrap();
        self.worker.spawn(tidegate_worker::work(options, self.stop.clone(), watch::channel(false).0));
        for _ in 0..n_asked {
            let answer = |run_id: &str| {
                let found = known.iter().find(|run| run.id == run_id).cloned();
                found.ok_or_else(|| tonic::Status::not_found("there is no such run"))
            };
            self.fake.answer_run(answer).await;
        }
        self.conn = Some(self.fake.worker().await);
    }

    /// Starts a worker as a process of its own.
    pub async fn start_program(&mut self) -> Program {
        let program = env!("CARGO_BIN_EXE_tidegate-worker");
        let program =
            Program(Command::new(program).args(&self.options[1..]).stdin(Stdio::null()).spawn().unwrap());
        self.conn = Some(self.fake.worker().await);
        program
    }

    /// Asks the worker to end, and waits until it has.
    pub async fn end(&mut self) {
        self.stop.cancel();
        let mut conn = self.conn.take().expect("a worker was started");
        soon(async { while let Ok(Some(_)) = conn.requests.message().await {} }).await; // until it has said all
        drop(conn);
        soon(self.worker.join_next()).await.unwrap().unwrap().unwrap();
    }

    /// The worker that was started has ended by itself: why.
    pub async fn refused(mut self) -> String {
        let options = Options::try_parse_from(&self.options).unwrap();
        self.worker.spawn(tidegate_worker::work(options, self.stop.clone(), watch::channel(false).0));
        let ended = soon(self.worker.join_next()).await.unwrap().unwrap();
        format!("{:#}", ended.unwrap_err())
    }

    fn conn(&mut self) -> &mut Conn<WorkRequest, WorkResponse> {
        self.conn.as_mut().expect("a worker was started")
    }

    pub async fn assign(&mut self, job: Job) -> String {
        let run_id = new_run_id();
        self.assign_again(&run_id, 3, job).await;
        run_id
    }

    pub async fn assign_again(&mut self, run_id: &str, epoch: u64, job: Job) {
        let (run_id, kind, job) = (run_id.to_owned(), RunKind::Flow.into(), Some(job));
        let cancel_grace = Some(prost_types::Duration { seconds: 45, nanos: 0 });
        self.conn().assign(Assign { run_id, epoch, kind, job, cancel_grace, ..Default::default() }).await;
    }

    /// The next report, which is accepted.
    pub async fn report(&mut self) -> Report {
        while self.reports.is_empty() {
            let reports = self.conn().reports().await;
            self.conn().answer(reports.iter().map(accepted).collect()).await;
            self.reports.extend(reports);
        }
        self.reports.pop_front().unwrap()
    }

    /// The next reports, which the service takes and does not answer.
    pub async fn unanswered(&mut self) -> Vec<Report> {
        self.conn().reports().await
    }

    /// The end of the next run, whose start is reported before.
    pub async fn ended(&mut self) -> Event {
        match self.report().await.event.unwrap() {
            Event::Started(_) => self.report().await.event.unwrap(),
            event => event,
        }
    }

    /// The cause of the next run's crash.
    pub async fn crash(&mut self) -> String {
        match self.ended().await {
            Event::Crashed(crashed) => crashed.cause,
            other => panic!("it has crashed, not {other:?}"),
        }
    }

    pub async fn failure(&mut self) -> String {
        match self.ended().await {
            Event::Failed(failure) => failure.message,
            other => panic!("it has failed, not {other:?}"),
        }
    }

    pub async fn started(&mut self) {
        let event = self.report().await.event;
        assert!(matches!(event, Some(Event::Started(_))), "{event:?}");
    }

    pub async fn cancel(&mut self, run_id: &str, grace: Duration) {
        let grace = Some(prost_types::Duration::try_from(grace).unwrap());
        let (run_id, cause) = (run_id.to_owned(), CancelCause::Requested.into());
        self.conn().cancel(Cancel { run_id, epoch: 3, cause, grace, ..Default::default() }).await;
    }

    pub async fn heartbeat(&mut self) -> Vec<HeldRun> {
        soon(self.conn().heartbeat()).await
    }

    /// Waits until the worker says that this keeps its only run from beginning; empty: nothing does.
    pub async fn until_hindered(&mut self, message: &str) {
        let hindered = async {
            loop {
                let hindrances = self.conn().whole_heartbeat().await.hindrances;
                if hindrances.first().map_or("", |hindrance| &hindrance.message) == message {
                    return;
                }
            }
        };
        soon(hindered).await;
    }

    /// The server, or a proxy before it, will not have the worker any more, which ends; why.
    pub async fn refuse(&mut self, status: tonic::Status) -> String {
        let conn = self.conn.take().expect("a worker was started");
        soon(conn.responses.send(Err(status))).await.unwrap();
        let ended = soon(self.worker.join_next()).await.unwrap().unwrap();
        format!("{:#}", ended.unwrap_err())
    }

    /// The next line that the job itself wrote.
    pub async fn line(&mut self) -> String {
        self.line_where(|entry| entry.logger != "tidegate.worker").await
    }

    /// The next line of the worker.
    pub async fn note(&mut self) -> String {
        self.line_where(|entry| entry.logger == "tidegate.worker").await
    }

    async fn line_where(&mut self, is_wanted: impl Fn(&LogEntry) -> bool) -> String {
        loop {
            let entry = soon(self.lines.recv()).await.unwrap();
            if is_wanted(&entry) {
                return entry.message;
            }
        }
    }
}

/// A worker that is a process of its own, and is not left behind.
pub struct Program(Child);

impl Program {
    pub fn kill(&mut self) {
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

/// A command of a container, which nothing here executes.
pub fn command(variables: &serde_json::Value) -> Job {
    Job { command: vec!["load".into()], job_variables: variables.to_string(), ..Default::default() }
}
