//! The line of those who wait for a concurrency limit: customers are served in turn, no stream of new runs comes before who
//! waits, and what is kept for a run that nobody takes is kept for a moment only.

use std::{cell::Cell, path::Path, time::Duration};

use tidegate_integration_tests::{Suite, eventually, within};
use tidegate_sdk::Client;
use tokio::time::Instant;

use crate::limits::Observer;

crate::on_both_forms!(
    one_customer_with_many_tasks_keeps_no_other_from_a_limit,
    no_stream_of_new_runs_comes_before_who_waits,
    runs_that_nobody_takes_keep_a_slot_from_others_for_a_moment_only,
);

const DEADLINE: Duration = Duration::from_secs(180);
const N_MANY: usize = 1_000;
const N_OTHERS: usize = 3;
const N_FEW: usize = 5;

/// Judged by the order in which tasks start: by when the others are through, the large one has had a turn in each round.
async fn one_customer_with_many_tasks_keeps_no_other_from_a_limit(suite: &Suite) {
    let client = suite.client();
    client.core().put_concurrency_limit("fair", 1).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("starts").to_str().unwrap().to_owned();
    let worker = suite.worker("fair-limit");
    let mut holders = Holders::of(&client, folder.path(), "fair", "fair-limit", 1).await;
    let note = |customer: &str, n: usize| {
        let calls: Vec<_> = (0..n).map(|_| (path.clone(), customer.to_owned())).collect();
        let call =
            client.task("note").queue("fair-limit").concurrency_limits(["fair"]).fairness_key(customer);
        async move { call.delay_many(&calls).await.unwrap() }
    };
    note("many", N_MANY).await;
    until_waiting(&client, "fair", N_MANY).await;
    let mut few = Vec::new();
    for n in 0..N_OTHERS {
        few.extend(note(&format!("few-{n}"), N_FEW).await);
    }
    until_waiting(&client, "fair", N_MANY + N_OTHERS * N_FEW).await;
    holders.end().await;
    for run in &few {
        within("the end of a run", DEADLINE, run.wait()).await.unwrap();
    }
    crate::routing::were_in_turn(&path, N_OTHERS, N_FEW);
    worker.stop().await;
}

/// Judged by the order in which tasks start, of which one runs at a time: all that waited come in their order, and before
/// all that are newer, though a newer one asks at any moment.
async fn no_stream_of_new_runs_comes_before_who_waits(suite: &Suite) {
    let client = suite.client();
    client.core().put_concurrency_limit("stream", 1).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("starts").to_str().unwrap().to_owned();
    let worker = suite.worker("stream");
    let mut holders = Holders::of(&client, folder.path(), "stream", "stream", 1).await;
    let call = || client.task("note").queue("stream").concurrency_limits(["stream"]);
    let mut waiting = Vec::new();
    for n in 0..5 {
        waiting.push(call().delay(&(path.clone(), format!("waited-{n}"))).await.unwrap());
    }
    until_waiting(&client, "stream", waiting.len()).await;
    let is_over = Cell::new(false);
    let stream = async {
        let mut new = Vec::new();
        while !is_over.get() {
            new.push(call().delay(&(path.clone(), "new".to_owned())).await.unwrap());
        }
        new
    };
    let served = async {
        until_waiting(&client, "stream", waiting.len() + 5).await;
        holders.end().await;
        let begin = Instant::now();
        for run in &waiting {
            within("the end of a run that waited", DEADLINE, run.wait()).await.unwrap();
        }
        is_over.set(true);
        begin.elapsed()
    };
    let (new, took) = tokio::join!(stream, served);
    client.core().delete_concurrency_limit("stream", false).await.unwrap();
    for run in &new {
        within("the end of a new run", DEADLINE, run.wait()).await.unwrap();
    }
    let starts = std::fs::read_to_string(&path).unwrap();
    let starts: Vec<&str> = starts.lines().collect();
    assert_eq!(starts.len(), waiting.len() + new.len());
    let mut n_new = 0;
    let mut served = Vec::new();
    for start in starts {
        if start == "new" && served.len() < waiting.len() {
            n_new += 1;
        } else if start != "new" {
            served.push(start.to_owned());
        }
    }
    assert_eq!(served, (0..waiting.len()).map(|n| format!("waited-{n}")).collect::<Vec<_>>());
    // A slot is kept for 5 s. One that takes longer to come lets a new one through, and has one more handed out.
    let most = (1_u64 << (took.as_secs() / 5).min(20)) - 1;
    assert!(
        n_new <= most,
        "{n_new} of {} new ones came before those that waited, within {took:?}",
        new.len()
    );
    worker.stop().await;
}

async fn runs_that_nobody_takes_keep_a_slot_from_others_for_a_moment_only(suite: &Suite) {
    let client = suite.client();
    client.core().put_concurrency_limit("gone", 1).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("starts").to_str().unwrap().to_owned();
    let (here, mut gone) = (suite.worker("here"), suite.worker("gone"));
    let mut holders = Holders::of(&client, folder.path(), "gone", "here", 1).await;
    let call = |queue: &str| client.task("note").queue(queue).concurrency_limits(["gone"]);
    let lost = call("gone").delay_many(&vec![(path.clone(), "lost".to_owned()); 20]).await.unwrap();
    until_waiting(&client, "gone", lost.len()).await;
    gone.kill().await;
    let waiting = call("here").delay(&(path.clone(), "waited".to_owned())).await.unwrap();
    until_waiting(&client, "gone", lost.len() + 1).await;
    holders.end().await;
    let new = call("here").delay(&(path.clone(), "new".to_owned())).await.unwrap();
    for run in [&waiting, &new] {
        within("the end of a run", DEADLINE, run.wait()).await.unwrap();
    }
    // Those that were passed over are there still.
    let gone = suite.worker("gone");
    for run in &lost {
        within("the end of a run that nobody took", DEADLINE, run.wait()).await.unwrap();
    }
    let limit = client.core().get_concurrency_limit("gone").await.unwrap().limit.unwrap();
    assert_eq!((limit.used_slots, limit.waiting_runs), (0, 0), "{limit:?}");
    for worker in [here, gone] {
        worker.stop().await;
    }
}

/// Runs that have all the slots of a limit until they are told to end.
struct Holders {
    observer: Observer,
}

impl Holders {
    async fn of(client: &Client, folder: &Path, limit: &str, queue: &str, n: usize) -> Self {
        let path = folder.join("observer");
        let mut observer = Observer::at(&path);
        let call = client.task("occupy").queue(queue).concurrency_limits([limit]);
        let paths = vec![path.to_str().unwrap().to_owned(); n];
        call.delay_many(&paths).await.unwrap();
        observer.see(n).await;
        Self { observer }
    }

    async fn end(&mut self) {
        while !self.observer.seen.is_empty() {
            self.observer.end_one().await;
        }
    }
}

/// Waits until at least `n` runs wait for the limit.
async fn until_waiting(client: &Client, limit: &str, n: usize) {
    eventually("all wait", DEADLINE, async || {
        let limit = client.core().get_concurrency_limit(limit).await.unwrap().limit.unwrap();
        (limit.waiting_runs >= n as u64).then_some(())
    })
    .await;
}
