//! Slots of concurrency limits, for which many calls of a process wait, against a server that gives them as the test says.

#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use std::time::Duration;

use fake::{Fake, ended, soon};
use futures::{
    FutureExt as _,
    future::{BoxFuture, join},
};
use tidegate_sdk_core::{Client, Error, SlotOptions, Slots, proto::AcquireSlotsResponse};
use tokio::task::JoinSet;

/// Calls that wait for the same limits.
const N_CALLS: usize = 300;
/// How many of them ask the server at once.
const N_ASKING: usize = 64;

fn options(run_id: &str) -> SlotOptions {
    SlotOptions { run_id: run_id.to_owned(), ..SlotOptions::default() }
}

/// A call of the run `run_id` that wants a slot of `limit`.
fn acquire(
    client: &Client,
    limit: &'static str,
    options: SlotOptions,
) -> BoxFuture<'static, Result<Slots, Error>> {
    let client = client.clone();
    async move { client.acquire_slots([limit], options).await }.boxed()
}

fn acquired() -> AcquireSlotsResponse {
    AcquireSlotsResponse { acquired: true, ..Default::default() }
}

#[tokio::test]
async fn few_of_many_that_wait_for_a_slot_ask_at_once_and_other_calls_go_on() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let mut waiting = JoinSet::new();
    for n in 0..N_CALLS {
        let slots = acquire(&client, "one", options(&n.to_string()));
        waiting.spawn(async move { slots.await.map(drop) });
    }
    let (mut open, mut order) = (Vec::new(), Vec::new());
    for n_left in (1..=N_CALLS).rev() {
        while open.len() < n_left.min(N_ASKING) {
            open.push(soon(fake.acquires.recv()).await.unwrap());
        }
        let (run, ()) = soon(join(client.peek_run("another"), fake.tell_run(ended("another")))).await;
        assert_eq!(run.unwrap().id, "another");
        assert!(fake.acquires.try_recv().is_err(), "{N_ASKING} ask already");
        let (request, answer) = open.remove(0);
        order.push(request.run_id.parse::<usize>().unwrap());
        answer.send(Ok(acquired())).unwrap();
    }
    assert!(soon(waiting.join_all()).await.iter().all(Result::is_ok));
    assert!(order[N_ASKING..].is_sorted(), "who came first asks first: {order:?}");
}

#[tokio::test]
async fn who_waits_for_a_slot_no_longer_leaves_its_place_to_the_next() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let mut asking = JoinSet::new();
    let mut open = Vec::new();
    for _ in 0..N_ASKING {
        asking.spawn(acquire(&client, "one", options("first")));
    }
    for _ in 0..N_ASKING {
        open.push(soon(fake.acquires.recv()).await.unwrap());
    }
    let mut gives_up = acquire(&client, "one", options("gives up"));
    assert!((&mut gives_up).now_or_never().is_none());
    let mut is_next = acquire(&client, "one", options("is next"));
    assert!((&mut is_next).now_or_never().is_none());
    let is_late = SlotOptions { timeout: Some(Duration::from_millis(1)), ..options("is late") };
    let late = soon(acquire(&client, "one", is_late)).await.unwrap_err();
    assert!(late.is_deadline_exceeded() && late.to_string().contains("came first"), "{late}");
    // Another limit has another line.
    asking.spawn(acquire(&client, "other", options("of another")));
    assert_eq!(soon(fake.acquires.recv()).await.unwrap().0.run_id, "of another");

    drop(gives_up);
    let (_, answer) = open.remove(0);
    answer.send(Ok(acquired())).unwrap();
    let slots = soon(asking.join_next()).await.unwrap().unwrap().unwrap();
    asking.spawn(is_next);
    assert_eq!(soon(fake.acquires.recv()).await.unwrap().0.run_id, "is next");

    assert!(fake.releases.try_recv().is_err(), "the server has not heard of who gave up before it asked");
    soon(slots.release()).await;
    assert!(fake.releases.recv().await.is_some());
    asking.abort_all(); // those have a place in the line of the server, and give it up
    for _ in 0..=N_ASKING {
        assert!(soon(fake.releases.recv()).await.is_some());
    }
}
