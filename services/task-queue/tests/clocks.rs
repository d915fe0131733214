//! Machines whose clocks differ by minutes: what is due and what is lost is judged by one clock.
#![allow(clippy::unwrap_used, reason = "tests only")]

mod support;

use std::{sync::Arc, time::Duration};

use support::{KEPT_LEASE, PATIENCE, Worker, config, hello, leased_for, start, start_on, started};
use tidegate_model::{Clock, SystemClock, Timestamp};
use tidegate_proto::v1::{RunKind, StateType};
use tidegate_service_kit::Supervisor;

/// How much a clock is ahead (seconds).
struct Skewed(i64);

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(SystemClock.now().as_micros() + self.0 * 1_000_000)
    }
}

const DELAY: Duration = Duration::from_secs(2);
/// What is claimed ahead of its time, because clocks are compared by messages that take time.
const MAX_EARLY_CLAIMS: usize = 10;

#[tokio::test]
async fn a_replica_with_a_wrong_clock_gives_out_delayed_runs_at_their_time() {
    for ahead in [300, -300] {
        let tasks = Supervisor::with_grace(PATIENCE);
        let mut suite = start_on(config(), |state| state, Arc::new(Skewed(ahead)), tasks).await;
        let mut worker = suite.worker("w", &["f"]).await;
        worker.credits(1, 0).await;
        let due_at = SystemClock.now() + DELAY;
        let run_id = suite.api.create_due(RunKind::Task, "f", due_at);
        suite.enqueue_again(run_id, RunKind::Task, "f", 0).await;
        worker.assigned_n(1).await; // the poll is far away
        assert!(SystemClock.now() >= due_at, "{ahead}");
        let n_early = suite.api.n_early_claims();
        assert!(n_early <= MAX_EARLY_CLAIMS, "{ahead}: {n_early} claims before the time");
        suite.end().await;
    }
}

/// It is not asked again and again until then.
#[tokio::test]
async fn a_run_that_is_due_here_and_not_yet_by_the_clock_of_api_comes_when_it_is() {
    let mut suite = start().await;
    suite.api.set_behind(Duration::from_secs(300));
    let mut worker = suite.worker("w", &["f"]).await;
    worker.credits(1, 0).await;
    let due_at = suite.api.now() + DELAY;
    let run_id = suite.api.create_due(RunKind::Task, "f", due_at);
    suite.enqueue_again(run_id, RunKind::Task, "f", 0).await;
    worker.assigned_n(1).await;
    assert!(suite.api.now() >= due_at);
    let n_early = suite.api.n_early_claims();
    assert!((1..=MAX_EARLY_CLAIMS).contains(&n_early), "{n_early} claims before the time");
    suite.end().await;
}

#[tokio::test]
async fn replicas_whose_clocks_differ_agree_on_which_lease_is_lost() {
    let tasks = Supervisor::with_grace(PATIENCE);
    let config = leased_for(KEPT_LEASE);
    let mut suite = start_on(config, |state| state, Arc::new(Skewed(300)), tasks).await;
    let other = suite.replica_with_clock(Arc::new(Skewed(-300))).await;
    suite.until_judging().await; // and so does the other, which began with it
    let mut here = suite.worker("here", &["f"]).await;
    let mut there = Worker::open_at(&other.channel, hello("there", &["g"])).await;
    let mut held = Vec::new();
    for (worker, name) in [(&mut here, "f"), (&mut there, "g")] {
        worker.credits(1, 0).await;
        let run_id = suite.task(name).await;
        let [assign] = worker.assigned().await.try_into().unwrap();
        worker.settle(&assign, started()).await;
        held.push((run_id, assign));
    }
    // Both workers say that they live for two leases.
    let until = tokio::time::Instant::now() + 2 * KEPT_LEASE;
    while tokio::time::Instant::now() < until {
        here.heartbeat(&[&held[0].1]).await;
        there.heartbeat(&[&held[1].1]).await;
        tokio::time::sleep(KEPT_LEASE / 10).await;
    }
    for (run_id, _) in &held {
        assert_eq!(suite.api.get(*run_id).history, ["started"]);
    }
    // One falls silent: its run alone is lost, once.
    there.half_close();
    let (silent, kept) = (held[1].0, held[0].0);
    let lost = async {
        loop {
            here.heartbeat(&[&held[0].1]).await;
            tokio::time::sleep(KEPT_LEASE / 10).await;
        }
    };
    tokio::select! {
        run = suite.api.until(silent, |run| run.state == StateType::Scheduled) => {
            assert_eq!(run.history.len(), 2, "{run:?}");
            assert!(run.history[1].starts_with("lease lost"), "{run:?}");
        }
        () = lost => {}
    }
    assert_eq!(suite.api.get(kept).history, ["started"]);
    other.tasks.stop();
    other.tasks.finished(PATIENCE).await.unwrap();
    suite.end().await;
}
