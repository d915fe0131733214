use std::{collections::HashSet, time::Duration};

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use tidegate_integration_tests::{Process, Suite, program};
use tidegate_sdk::{CancellationToken, Client, Context, RunHandle, Worker};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::{
    database::Database,
    latencies::Latencies,
    load::until_counted,
    report::{Spread, Table, fine},
    settings::Settings,
};

/// For so many runs that a worker has and has not begun, it has begun one.
const BEGUN_SHARE: usize = 10;
/// How long a part of a round may take before the bench gives up.
const DEADLINE: Duration = Duration::from_secs(120);

/// What one worker holds when it is asked to end.
#[derive(Clone, Copy)]
struct Held {
    /// Runs that it was given and has not begun.
    n_waiting: usize,
    /// Runs whose code it executes.
    n_begun: usize,
}

impl Held {
    fn of(n_waiting: usize) -> Self {
        Self { n_waiting, n_begun: n_waiting.div_ceil(BEGUN_SHARE) }
    }

    fn n_runs(self) -> usize {
        self.n_waiting + self.n_begun
    }
}

/// Times of one round, all from just before the signal is sent.
struct Round {
    /// Until each of the runs that had not begun begins at the other worker.
    starts: Latencies,
    /// Until the process of the worker has ended.
    end: Duration,
    /// How many of those that had begun ended there, in the attempt that they were in.
    n_ended_there: usize,
}

/// The four services, Redis and the worker that gets SIGTERM are processes of their own. The worker that has room is this
/// one, whose clock is both the signal's and the starts'.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    let database = Database::create(&settings).await?;
    let suite = Suite::separate_on(database.url()).await;
    let held = Held::of(settings.n_runs(500));
    println!(
        "{} rounds of a worker that gets SIGTERM when it executes {} tasks, whose code takes 0.3 s more, and was given {} that \
         it has not begun, while another has room for all of them: from the signal until they begin there, for which 1 s is \
         allowed",
        settings.rounds, held.n_begun, held.n_waiting
    );
    round(&suite, "drain-warm", Held::of(held.n_waiting.min(100))).await?; // plans, caches
    let mut rounds = Vec::new();
    for number in 0..settings.rounds.get() {
        database.checkpoint().await?;
        rounds.push(round(&suite, &format!("drain-{number}"), held).await?);
    }
    let mut table = Table::new(&["until", "ms: median (min to max)"]);
    let each = |of: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(of).collect()).show(fine);
    for (name, percentile) in [("p50", 50.0), ("p99", 99.0), ("max", 100.0)] {
        let line = format!("one that was not begun begins elsewhere, {name}");
        table.add([line, each(&|round| round.starts.percentile_ms(percentile))]);
    }
    let ended = each(&|round| round.end.as_secs_f64() * 1_000.0);
    table.add(["the worker has ended".to_owned(), ended]);
    println!("{table}");
    let n_ended_there: usize = rounds.iter().map(|round| round.n_ended_there).sum();
    let n_begun = rounds.len() * held.n_begun;
    println!("{n_ended_there} of the {n_begun} that had begun ended where they ran, in the same attempt\n");
    drop(suite);
    database.remove().await
}

async fn round(suite: &Suite, queue: &str, held: Held) -> anyhow::Result<Round> {
    let client = suite.client();
    let asked_to_end = hesitant_worker(suite, queue, held);
    asked_to_end.line("ready", DEADLINE).await;
    let handles = client.task("whoami").queue(queue).delay_many(&vec![1_u32; held.n_runs()]).await?;
    until_counted(&client, &format!("queue = \"{queue}\" state = RUNNING"), held.n_begun).await;
    until_counted(&client, &format!("queue = \"{queue}\" state = PENDING"), held.n_waiting).await;
    let mut other = Other::start(suite, queue, held.n_runs()).await?;

    let pid = asked_to_end.pid();
    let asked_at = Instant::now();
    asked_to_end.signal("TERM");
    let ending = async {
        let ended = asked_to_end.ended(DEADLINE).await;
        ensure!(ended.code == Some(0), "the worker did not end in order: {}", ended.stderr);
        anyhow::Ok(asked_at.elapsed())
    };
    let (starts, end) = tokio::join!(other.starts(held.n_waiting), ending);
    let (starts, end) = (starts?, end?);

    let mut released: HashSet<String> = HashSet::new();
    let mut latencies = Latencies::new();
    for (run_id, started_at) in starts {
        latencies.record(started_at - asked_at);
        ensure!(released.insert(run_id), "a run that was given back began twice");
    }
    let begun = handles.iter().filter(|handle| !released.contains(handle.id()));
    let ended_there = try_join_all(begun.map(|handle| has_ended_at(handle, pid))).await?;
    other.stop().await?;
    client.close(Duration::from_secs(5)).await;
    let n_ended_there = ended_there.into_iter().filter(|is_so| *is_so).count();
    Ok(Round { starts: latencies, end, n_ended_there })
}

/// It takes all of the runs, and begins as many as it is to.
fn hesitant_worker(suite: &Suite, queue: &str, held: Held) -> Process {
    let address = ("TIDEGATE_ADDRESS".to_owned(), suite.address().to_owned());
    let args = ["hesitate", queue, &held.n_runs().to_string(), &held.n_begun.to_string()].map(str::to_owned);
    Process::start(&program("tidegate-test-worker"), args, [address])
}

/// True where its first attempt has brought it to its end, in the process of this id.
async fn has_ended_at(handle: &RunHandle, pid: u32) -> anyhow::Result<bool> {
    let ended_in = timeout(DEADLINE, handle.result::<u32>()).await;
    let ended_in = ended_in.context("a run that had begun does not end")??;
    let run = handle.get().await?;
    Ok((ended_in, run.attempt, run.crashes) == (pid, 1, 0))
}

/// The worker that has room, in this process.
struct Other {
    client: Client,
    /// The runs whose code has begun here, and when.
    started: mpsc::UnboundedReceiver<(String, Instant)>,
    stop: CancellationToken,
    working: JoinHandle<Result<(), tidegate_sdk::Error>>,
}

impl Other {
    /// Its slots are known to be free when this returns.
    async fn start(suite: &Suite, queue: &str, n_slots: usize) -> anyhow::Result<Self> {
        let client = suite.client();
        let (sender, started) = mpsc::unbounded_channel();
        let whoami = move |context: Context, _: u32| {
            let sender = sender.clone();
            async move {
                sender.send((context.run_id().to_owned(), Instant::now())).context("the bench has ended")?;
                anyhow::Ok(std::process::id())
            }
        };
        let ready = |_: Context, (): ()| async { anyhow::Ok(()) };
        let worker = Worker::builder(client.clone()).task("whoami", whoami).task("ready", ready);
        let worker = worker.queues([queue]).task_slots(u32::try_from(n_slots)?).build()?;
        let stop = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "it ends with the round, which looks at how it ended")]
        let working = tokio::spawn(worker.run(stop.clone()));
        // The one that is to end serves no such task, and has no slot left.
        let probe = client.task("ready").queue(queue).delay(&()).await?;
        timeout(DEADLINE, probe.result::<()>()).await.context("the other worker takes nothing")??;
        Ok(Self { client, started, stop, working })
    }

    async fn starts(&mut self, n_runs: usize) -> anyhow::Result<Vec<(String, Instant)>> {
        let mut starts = Vec::with_capacity(n_runs);
        while starts.len() < n_runs {
            let start = timeout(DEADLINE, self.started.recv()).await;
            let start =
                start.with_context(|| format!("{} of {n_runs} have begun elsewhere", starts.len()))?;
            starts.push(start.context("the other worker has ended")?);
        }
        Ok(starts)
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.working.await??;
        self.client.close(Duration::from_secs(5)).await;
        Ok(())
    }
}
