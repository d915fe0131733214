//! Concurrency limits: never more runs are held than there are slots, also where a worker is killed, and no slot is lost.

use std::{collections::VecDeque, path::Path, time::Duration};

use tidegate_integration_tests::{Process, Suite, eventually, within};
use tidegate_sdk::{
    Client, RunHandle, SlotOptions,
    core::ConcurrencySettings,
    proto::{CollisionPolicy, ConcurrencyLimit},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    time::timeout,
};

crate::on_both_forms!(
    three_slots_are_never_more_than_three_runs,
    each_customer_of_a_template_has_slots_of_its_own,
    who_collides_gives_way_as_its_limit_says,
    code_shares_slots_with_runs,
);

const DEADLINE: Duration = Duration::from_secs(120);
const N_RUNS: usize = 30;
const N_SLOTS: usize = 3;

async fn three_slots_are_never_more_than_three_runs(suite: &Suite) {
    let client = suite.client();
    let core = client.core();
    core.put_concurrency_limit("three", N_SLOTS as u32).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("observer");
    let mut observer = Observer::at(&path);
    let mut workers: Vec<Process> = (0..3).map(|_| suite.worker("limits")).collect();
    let paths = vec![path.to_str().unwrap().to_owned(); N_RUNS];
    let call = client.task("occupy").queue("limits").concurrency_limits(["three"]);
    let runs = call.delay_many(&paths).await.unwrap();

    observer.see(N_SLOTS).await;
    until_all_wait(&client, N_RUNS).await;
    observer.see_no_more().await;
    explained(&client, &runs).await;

    let killed = observer.seen[0].pid;
    let idx = workers.iter().position(|worker| worker.pid() == killed).expect("it is one of the workers");
    workers.remove(idx).kill().await;
    observer.see_end_of(killed).await;
    for n_left in (1..=N_RUNS).rev() {
        observer.see(n_left.min(N_SLOTS)).await;
        until_all_wait(&client, n_left).await;
        observer.see_no_more().await;
        observer.end_one().await;
    }
    for run in &runs {
        within("the end of a run", DEADLINE, run.result::<()>()).await.unwrap();
    }
    let limit = limit(&client).await;
    assert_eq!((limit.used_slots, limit.waiting_runs), (0, 0), "{limit:?}");
    core.delete_concurrency_limit("three", false).await.unwrap();
    assert!(core.get_concurrency_limit("three").await.unwrap_err().is_not_found());
    for worker in workers {
        worker.stop().await;
    }
}

async fn each_customer_of_a_template_has_slots_of_its_own(suite: &Suite) {
    let client = suite.client();
    client.core().put_concurrency_limit("customer=*", 1).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("observer").to_str().unwrap().to_owned();
    let mut observer = Observer { listener: UnixListener::bind(&path).unwrap(), seen: VecDeque::new() };
    let worker = suite.worker("template");
    let mut runs = Vec::new();
    for customer in ["customer=a", "customer=b"] {
        let call = client.task("occupy").queue("template").concurrency_limits([customer]);
        runs.extend(call.delay_many(&[path.clone(), path.clone(), path.clone()]).await.unwrap());
    }
    for n_left in (1..=runs.len()).rev() {
        let n_used = n_left.min(2);
        observer.see(n_used).await;
        eventually("all others wait", DEADLINE, async || {
            let limit = client.core().get_concurrency_limit("customer=*").await.unwrap().limit.unwrap();
            let wanted = (n_used as u64, (n_left - n_used) as u64);
            ((limit.used_slots, limit.waiting_runs) == wanted).then_some(())
        })
        .await;
        observer.see_no_more().await;
        for customer in ["customer=a", "customer=b"] {
            let limit = client.core().get_concurrency_limit(customer).await.unwrap().limit.unwrap();
            assert!(limit.used_slots <= 1, "{limit:?}");
        }
        observer.end_one().await;
    }
    for run in &runs {
        within("the end of a run", DEADLINE, run.result::<()>()).await.unwrap();
    }
    worker.stop().await;
}

async fn who_collides_gives_way_as_its_limit_says(suite: &Suite) {
    let client = suite.client();
    let put = async |on_collision| {
        let settings = ConcurrencySettings { on_collision, ..1.into() };
        client.core().put_concurrency_limit("one", settings).await.unwrap();
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("observer").to_str().unwrap().to_owned();
    let mut observer = Observer { listener: UnixListener::bind(&path).unwrap(), seen: VecDeque::new() };
    let worker = suite.worker("collisions");
    let call = || client.task("occupy").queue("collisions").concurrency_limits(["one"]);
    put(CollisionPolicy::CancelOldest).await;
    let first = call().delay(&path).await.unwrap();
    observer.see(1).await;
    let second = call().delay(&path).await.unwrap();
    observer.seen.pop_front().unwrap().see_end().await;
    let cancelled = within("the end of the oldest", DEADLINE, first.result::<()>()).await.unwrap_err();
    assert!(cancelled.is_run_cancelled(), "{cancelled}");
    assert!(cancelled.message().contains("`one`"), "{cancelled}");
    observer.see(1).await;

    put(CollisionPolicy::Skip).await;
    let skipped = call().delay(&path).await.unwrap();
    let cancelled = within("the end of the skipped", DEADLINE, skipped.result::<()>()).await.unwrap_err();
    assert!(cancelled.is_run_cancelled(), "{cancelled}");
    assert_eq!(skipped.state().await.unwrap().name, "Skipped");

    put(CollisionPolicy::CancelNewest).await;
    let newest = call().delay(&path).await.unwrap();
    let cancelled = within("the end of the newest", DEADLINE, newest.result::<()>()).await.unwrap_err();
    assert!(cancelled.is_run_cancelled(), "{cancelled}");
    observer.end_one().await;
    within("the end of the second", DEADLINE, second.result::<()>()).await.unwrap();
    worker.stop().await;
}

async fn code_shares_slots_with_runs(suite: &Suite) {
    let client = suite.client();
    client.core().put_concurrency_limit("shared", 1).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("observer").to_str().unwrap().to_owned();
    let mut observer = Observer { listener: UnixListener::bind(&path).unwrap(), seen: VecDeque::new() };
    let worker = suite.worker("shared");
    let slots = client.acquire_slots(["shared"], SlotOptions::default()).await.unwrap();
    let run =
        client.task("occupy").queue("shared").concurrency_limits(["shared"]).delay(&path).await.unwrap();
    eventually("the run waits", DEADLINE, async || {
        let found = client.core().get_concurrency_limit("shared").await.unwrap();
        let limit = found.limit.unwrap();
        assert_eq!(found.slots[0].owner_id, slots.owner_id());
        ((limit.used_slots, limit.waiting_runs) == (1, 1)).then_some(())
    })
    .await;
    observer.see_no_more().await;
    let timeout = Some(Duration::from_millis(100));
    let refused = client.acquire_slots(["shared"], SlotOptions { timeout, ..SlotOptions::default() }).await;
    assert!(refused.unwrap_err().is_deadline_exceeded());
    assert!(slots.release().await, "they were held all the time");
    observer.see(1).await;
    let waiting = client.acquire_slots(["shared"], SlotOptions::default());
    let ((), slots) = tokio::join!(observer.end_one(), waiting);
    drop(slots.unwrap());
    within("the end of the run", DEADLINE, run.result::<()>()).await.unwrap();
    eventually("what was dropped is given up", DEADLINE, async || {
        let limit = client.core().get_concurrency_limit("shared").await.unwrap().limit.unwrap();
        (limit.used_slots == 0).then_some(())
    })
    .await;
    worker.stop().await;
}

async fn limit(client: &Client) -> ConcurrencyLimit {
    client.core().get_concurrency_limit("three").await.unwrap().limit.unwrap()
}

/// Waits until of the runs that are left, those without a slot have been refused one: none of them is on its way to a
/// worker. A run that executes without a slot would be missing for ever.
async fn until_all_wait(client: &Client, n_left: usize) {
    let used = n_left.min(N_SLOTS);
    let wanted = (used as u64, (n_left - used) as u64);
    eventually("all others wait", DEADLINE, async || {
        let limit = limit(client).await;
        assert!(limit.used_slots <= N_SLOTS as u64, "{limit:?}");
        ((limit.used_slots, limit.waiting_runs) == wanted).then_some(())
    })
    .await;
}

/// A run that waits says for what, and who has it.
async fn explained(client: &Client, runs: &[RunHandle]) {
    let holders = client.core().get_concurrency_limit("three").await.unwrap().slots;
    let waiting = runs.iter().find(|run| holders.iter().all(|slot| slot.run_id != run.id())).unwrap();
    let explanation = client.core().explain_run(waiting.id()).await.unwrap();
    for holder in holders {
        assert!(explanation.summary.contains(&holder.run_id), "{}", explanation.summary);
    }
}

/// Sees from outside which attempts execute: each has a connection for as long as it does.
pub(crate) struct Observer {
    listener: UnixListener,
    /// The oldest first.
    pub(crate) seen: VecDeque<Seen>,
}

pub(crate) struct Seen {
    pub(crate) pid: u32,
    stream: BufReader<UnixStream>,
}

impl Observer {
    /// Listens at this path.
    pub(crate) fn at(path: &Path) -> Self {
        Self { listener: UnixListener::bind(path).unwrap(), seen: VecDeque::new() }
    }

    /// Waits until `n` attempts execute.
    pub(crate) async fn see(&mut self, n: usize) {
        while self.seen.len() < n {
            let (stream, _) = within("another attempt", DEADLINE, self.listener.accept()).await.unwrap();
            let (mut stream, mut pid) = (BufReader::new(stream), String::new());
            within("its process id", DEADLINE, stream.read_line(&mut pid)).await.unwrap();
            self.seen.push_back(Seen { pid: pid.trim().parse().unwrap(), stream });
        }
    }

    /// Nobody else has come in.
    pub(crate) async fn see_no_more(&self) {
        let more = timeout(Duration::ZERO, self.listener.accept()).await;
        assert!(more.is_err(), "an attempt executes beside {} others", self.seen.len());
    }

    /// Waits until the attempts of this process have ended.
    pub(crate) async fn see_end_of(&mut self, pid: u32) {
        let (ended, others) = std::mem::take(&mut self.seen).into_iter().partition(|seen| seen.pid == pid);
        self.seen = others;
        for attempt in ended {
            attempt.see_end().await;
        }
    }

    /// Has the oldest attempt end.
    pub(crate) async fn end_one(&mut self) {
        let mut attempt = self.seen.pop_front().expect("one executes");
        attempt.stream.write_all(b"\n").await.unwrap();
        attempt.see_end().await;
    }
}

impl Seen {
    async fn see_end(mut self) {
        let mut rest = Vec::new();
        // A process that was killed may break the connection off.
        let _ = within("the end of an attempt", DEADLINE, self.stream.read_to_end(&mut rest)).await;
    }
}
