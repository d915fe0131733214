//! `#[task]` and `#[flow]` of the Rust SDK: what calls are known by and served from, what comes of values that cannot be
//! kept, when hooks are called and what they call, and how calls wait for slots.

use std::{
    collections::HashMap,
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tidegate_integration_tests::{Suite, eventually, within};
use tidegate_sdk::{
    CancellationToken, Client, Context, Error, Map as _, SlotOptions, Worker, flow,
    proto::{Failure, ListRunsRequest, Run, State, StateType},
    task,
};
use tokio::{sync::Barrier, task::JoinSet};

const DEADLINE: Duration = Duration::from_secs(60);

/// What hooks and functions have done, in order; tests find theirs by a word of their own.
static NOTES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn note(text: impl Into<String>) {
    NOTES.lock().unwrap_or_else(PoisonError::into_inner).push(text.into());
}

fn notes(word: &str) -> Vec<String> {
    let notes = NOTES.lock().unwrap_or_else(PoisonError::into_inner);
    notes.iter().filter(|note| note.contains(word)).cloned().collect()
}

async fn runs(client: &Client, filter: &str) -> Vec<Run> {
    let request = ListRunsRequest { filter: filter.to_owned(), ..ListRunsRequest::default() };
    client.list_runs(request).await.unwrap().runs
}

fn state_of(run: &Run) -> StateType {
    run.state.as_ref().map_or(StateType::Unspecified, State::r#type)
}

static N_PRICED: AtomicU32 = AtomicU32::new(0);

/// A higher price each time.
#[task(cache_key = "price of {article}")]
async fn price(article: String) -> u32 {
    assert!(!article.is_empty());
    N_PRICED.fetch_add(1, Ordering::Relaxed) + 1
}

#[task(name = "price", cache_key = "price of {article}", refresh_cache)]
async fn price_anew(article: String) -> u32 {
    assert!(!article.is_empty());
    N_PRICED.fetch_add(1, Ordering::Relaxed) + 1
}

#[flow]
async fn prices(n: usize) -> Result<Vec<u32>, Error> {
    let mut prices = Vec::new();
    for _ in 0..n {
        prices.push(price("pen".to_owned()).await?);
    }
    prices.push(price("pen".to_owned()).refresh_cache().await?);
    prices.push(price("pen".to_owned()).await?);
    prices.push(price_anew("pen".to_owned()).await?);
    prices.push(price("pen".to_owned()).await?);
    Ok(prices)
}

#[tokio::test]
async fn a_result_serves_the_next_call_with_its_key_until_it_is_refreshed() {
    let suite = Suite::embedded().await;
    let prices = prices(20).with_client(&suite.client()).await.unwrap();
    assert_eq!(prices, [vec![1; 20], vec![2, 2, 3, 3]].concat());
    suite.stop().await;
}

#[task(queue = "nobody")]
async fn counts(words: HashMap<String, u32>) -> usize {
    words.len()
}

#[tokio::test]
async fn equal_maps_are_equal_parameters() {
    let suite = Suite::embedded().await;
    let client = suite.client();
    // Each has an order of its own.
    let words = || (0..50).map(|n| (format!("word-{n}"), n)).collect::<HashMap<_, _>>();
    let call = || counts(words()).idempotency_key("once").with_client(&client);
    let run = call().delay().await.unwrap();
    assert_eq!(call().delay().await.unwrap().id(), run.id());
    let call = || client.task("counts").queue("nobody").idempotency_key("by-name");
    let run = call().delay(&words()).await.unwrap();
    assert_eq!(call().delay(&words()).await.unwrap().id(), run.id());
    suite.stop().await;
}

#[derive(Deserialize)]
struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("no words for it")
    }
}

#[task]
async fn unwritable() -> Unwritable {
    Unwritable
}

#[tokio::test]
async fn a_value_that_panics_when_it_is_written_is_a_failure_like_any_other() {
    let suite = Suite::embedded().await;
    let submitted = unwritable().with_client(&suite.client()).submit();
    let error = within("the end", DEADLINE, submitted.wait()).await.unwrap_err();
    assert!(error.is_run_failed() && error.to_string().contains("no words for it"), "{error}");
    suite.stop().await;
}

/// More than the 256 MiB of the server's default.
const TOO_MUCH: usize = 256 << 20;

#[task]
async fn makes_too_much(path: String) -> String {
    let times = std::fs::read_to_string(&path).unwrap_or_default() + "x";
    std::fs::write(&path, times).expect("the folder is there");
    "x".repeat(TOO_MUCH)
}

#[flow(retries = 1)]
async fn measures(ctx: Context, path: String) -> anyhow::Result<usize> {
    let size = makes_too_much(path).await?.len();
    anyhow::ensure!(ctx.attempt() == 2, "attempt {} fails", ctx.attempt());
    Ok(size)
}

#[tokio::test]
async fn a_result_that_is_too_large_is_its_callers_alone() {
    let suite = Suite::embedded().await;
    let client = suite.client();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("times");
    let call = measures(path.to_str().unwrap().to_owned()).with_client(&client);
    assert_eq!(within("the size", DEADLINE, call.into_future()).await.unwrap(), TOO_MUCH);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "xx", "each attempt needs it");
    let made = runs(&client, "name = makes_too_much").await;
    assert_eq!(made.len(), 2);
    for run in made {
        assert_eq!(state_of(&run), StateType::Completed);
        let error = client.handle(run.id).result::<String>().await.unwrap_err();
        assert!(error.to_string().contains("larger than the server keeps"), "{error}");
    }
    suite.stop().await;
}

#[task]
async fn tells(word: String) -> String {
    note(format!("tells: {word}"));
    word
}

async fn has_it_told(ctx: Context, value: &u32) -> Result<(), Error> {
    assert_eq!(ctx.run().await?.state.unwrap_or_default().r#type(), StateType::Completed);
    let told = tells(format!("{} gave {value}", ctx.run_name())).await?;
    note(format!("tells: {told}, and that is told"));
    Ok(())
}

#[task(on_completion = has_it_told, queue = "hooks")]
async fn gives(n: u32) -> u32 {
    n
}

#[flow]
async fn gives_below() -> Result<u32, Error> {
    gives(2).run_name("a child").await
}

#[tokio::test]
async fn hooks_hear_of_what_the_server_has_and_call_through_the_client_of_their_run() {
    let suite = Suite::embedded().await;
    let client = suite.client();
    gives(1).run_name("a root").with_client(&client).await.unwrap();
    gives_below().with_client(&client).await.unwrap();
    let worker = Worker::builder(client.clone()).function(gives).queues(["hooks"]).build().unwrap();
    let stop = CancellationToken::new();
    let mut working = JoinSet::from_iter([worker.run(stop.clone())]);
    let queued = gives(3).run_name("a queued run").with_client(&client).delay().await.unwrap();
    assert_eq!(within("the result", DEADLINE, queued.result()).await.unwrap(), 3);
    stop.cancel();
    within("the worker ends", DEADLINE, working.join_next()).await.unwrap().unwrap().unwrap();
    let expected = ["a root gave 1", "a child gave 2", "a queued run gave 3"]
        .map(|told| [format!("tells: {told}"), format!("tells: {told}, and that is told")])
        .concat();
    assert_eq!(notes("tells:"), expected);
    let told = runs(&client, "name = tells").await;
    assert!(told.len() == 3 && told.iter().all(|run| run.parent_run_id.is_empty()), "{told:#?}");
    suite.stop().await;
}

async fn was_cancelled(ctx: Context) {
    note(format!("cancels: {} was cancelled", ctx.name()));
}

#[task(retries = 1, retry_delays = "1h", on_cancellation = was_cancelled)]
async fn fails_first() -> Result<(), String> {
    Err("not yet".to_owned())
}

#[tokio::test]
async fn a_cancel_between_two_attempts_is_heard() {
    let suite = Suite::embedded().await;
    let client = suite.client();
    let submitted = fails_first().with_client(&client).submit();
    let run = eventually("the next attempt is awaited", DEADLINE, async || {
        runs(&client, "name = fails_first AND state = SCHEDULED").await.pop()
    })
    .await;
    client.handle(run.id).cancel("enough").await.unwrap();
    let error = within("the end", DEADLINE, submitted).await.unwrap_err();
    assert!(error.is_run_cancelled(), "{error}");
    assert_eq!(notes("cancels:"), ["cancels: fails_first was cancelled"]);
    suite.stop().await;
}

/// Takes its time to be dropped.
struct Slow;

impl Drop for Slow {
    fn drop(&mut self) {
        std::thread::sleep(Duration::from_millis(300));
        note("drops: the code has ended");
    }
}

async fn timed_out(_: Context, failure: &Failure) {
    note(format!("drops: {}", failure.error_type));
}

#[task(timeout = "1s", on_failure = timed_out)]
async fn ends_slowly() {
    let _slow = Slow;
    std::future::pending().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_that_is_stopped_has_ended_when_that_is_told() {
    let suite = Suite::embedded().await;
    let error = ends_slowly().with_client(&suite.client()).await.unwrap_err();
    assert!(error.is_run_failed(), "{error}");
    assert_eq!(notes("drops:"), ["drops: the code has ended", "drops: TimedOut"]);
    suite.stop().await;
}

static N_OCCUPIED: AtomicU32 = AtomicU32::new(0);
static PAIR: LazyLock<Barrier> = LazyLock::new(|| Barrier::new(2));

/// Ends where another one runs beside it, and fails where more do.
#[task(concurrency_limits("two"))]
async fn occupies(n: u32) -> u32 {
    assert!(N_OCCUPIED.fetch_add(1, Ordering::SeqCst) < 2, "more than two at once");
    PAIR.wait().await;
    N_OCCUPIED.fetch_sub(1, Ordering::SeqCst);
    PAIR.wait().await; // whoever gets the slot of one that has ended finds both counted down
    n
}

#[flow]
async fn occupies_all(n: u32) -> Result<u32, Error> {
    let mut sum = 0;
    for occupied in occupies.map(0..n) {
        sum += occupied.await?;
    }
    Ok(sum)
}

#[tokio::test]
async fn submitted_calls_share_the_slots_of_their_limit() {
    let suite = Suite::embedded().await;
    let (one, other) = (suite.client(), suite.client());
    one.put_concurrency_limit("two", 2).await.unwrap();
    let all = async {
        tokio::try_join!(
            occupies_all(8).with_client(&one).into_future(),
            occupies_all(8).with_client(&other).into_future()
        )
    };
    assert_eq!(within("the sums", DEADLINE, all).await.unwrap(), (28, 28));
    let limit = one.concurrency_limit("two").await.unwrap().limit.unwrap();
    assert_eq!(limit.used_slots, 0, "{limit:?}");
    suite.stop().await;
}

async fn left_the_line(_: Context) {
    note("turns: cancelled");
}

#[task(concurrency_limits("turns"), timeout = "1s", on_cancellation = left_the_line)]
async fn takes_its_turn(n: u32) -> u32 {
    note(format!("turns: {n}"));
    n
}

#[task(timeout = "1s")]
async fn stalls() {
    std::future::pending().await
}

async fn until_it_waits(client: &Client) -> Run {
    eventually("it waits", DEADLINE, async || {
        runs(client, "name = takes_its_turn AND state = PENDING").await.pop()
    })
    .await
}

#[tokio::test]
async fn a_call_that_waits_for_a_slot_can_be_cancelled_and_its_time_does_not_run() {
    let suite = Suite::embedded().await;
    let client = suite.client();
    client.put_concurrency_limit("turns", 1).await.unwrap();
    let slots = client.acquire_slots(["turns"], SlotOptions::default()).await.unwrap();
    let cancelled = takes_its_turn(1).with_client(&client).submit();
    client.handle(until_it_waits(&client).await.id).cancel("enough").await.unwrap();
    let error = within("the end", DEADLINE, cancelled).await.unwrap_err();
    assert!(error.is_run_cancelled(), "{error}");

    let waits = takes_its_turn(2).with_client(&client).submit();
    let run = until_it_waits(&client).await;
    eventually("it says what it waits for", DEADLINE, async || {
        let summary = client.handle(&run.id).explain().await.unwrap().summary;
        summary.contains("`turns` has 1 slot, taken by code outside of runs").then_some(())
    })
    .await;
    let stalled = stalls().with_client(&client).into_future();
    let error = within("the timeout", DEADLINE, stalled).await.unwrap_err();
    assert!(error.is_run_failed(), "{error}");
    assert_eq!(notes("turns:").len(), 0);
    assert!(slots.release().await, "they were held all the time");
    assert_eq!(within("the result", DEADLINE, waits).await.unwrap(), 2);
    assert_eq!(notes("turns:"), ["turns: 2"]);
    let limit = client.concurrency_limit("turns").await.unwrap().limit.unwrap();
    assert_eq!(limit.used_slots, 0, "{limit:?}");
    suite.stop().await;
}

#[tokio::test]
async fn a_call_that_is_dropped_while_it_waits_for_a_slot_has_failed_and_not_crashed() {
    let suite = Suite::embedded().await;
    let client = suite.client();
    client.put_concurrency_limit("turns", 1).await.unwrap();
    let slots = client.acquire_slots(["turns"], SlotOptions::default()).await.unwrap();
    let mut call = Box::pin(takes_its_turn(3).with_client(&client).into_future());
    let run = tokio::select! {
        ended = &mut call => panic!("there is no slot for it: {ended:?}"),
        run = until_it_waits(&client) => run,
    };
    drop(call);
    within("the end", DEADLINE, client.core().wait(&run.id)).await.unwrap();
    let run = client.core().get_run(&run.id).await.unwrap();
    assert_eq!(state_of(&run), StateType::Failed, "{run:?}");
    assert_eq!(run.failure.unwrap().error_type, "Dropped");
    assert!(slots.release().await, "they were held all the time");
    assert_eq!(notes("turns: 3").len(), 0, "its code was not executed");
    suite.stop().await;
}
