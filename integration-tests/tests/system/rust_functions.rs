//! `#[task]` and `#[flow]` of the Rust SDK: local runs and their hooks, and what becomes of them when their process ends.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use tidegate_integration_tests::{Suite, eventually, within};
use tidegate_sdk::{
    CancellationToken, Client, Context, Error, Map as _, NonRetryable, RunHandle, Worker, as_completed,
    delay_all, flow, gather, join_all,
    proto::{Failure, ListRunsRequest, Run, RunKind, State, StateType},
    spawn, submit_all, task,
};
use tokio::{sync::Notify, task::JoinSet};

crate::on_both_forms!(
    a_flow_that_is_killed_takes_up_its_local_children,
    a_cancel_of_a_queued_flow_reaches_its_local_children,
);

const DEADLINE: Duration = Duration::from_secs(60);

/// What functions have done, in order; tests find theirs by a word of their own.
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
    client.core().list_runs(request).await.unwrap().runs
}

fn state_of(run: &Run) -> StateType {
    run.state.as_ref().map_or(StateType::Unspecified, State::r#type)
}

/// Says on drop that its code has ended.
struct Ends(&'static str);

impl Drop for Ends {
    fn drop(&mut self) {
        note(self.0);
    }
}

#[task(tags("numbers"), labels("team=blue"), run_name = "double {n}")]
async fn double(n: i64) -> i64 {
    2 * n
}

#[derive(Debug)]
struct Odd(i64);

impl std::fmt::Display for Odd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is odd", self.0)
    }
}

impl std::error::Error for Odd {}

#[task]
async fn half(n: i64) -> Result<i64, Odd> {
    if n % 2 == 0 { Ok(n / 2) } else { Err(Odd(n)) }
}

#[task]
async fn slow_double(n: i64) -> i64 {
    tokio::time::sleep(Duration::from_millis(10)).await;
    2 * n
}

#[flow]
async fn sum_of_doubles(ctx: Context, n: i64) -> Result<i64, Error> {
    assert_eq!(ctx.run_id(), Context::current().expect("this is a run").run_id());
    let submitted = slow_double.map(0..n);
    let spawned = spawn(async { double(100).await });
    let mut sum = double(n).await? + nested(n).await?;
    let mut ended = as_completed(submitted);
    while let Some((place, doubled)) = ended.next().await {
        let doubled = doubled?;
        assert_eq!(doubled, 2 * i64::try_from(place).expect("few"));
        sum += doubled;
    }
    Ok(sum + spawned.await.expect("it does not panic")?)
}

#[flow]
async fn nested(n: i64) -> Result<i64, Error> {
    if n == 0 { Ok(0) } else { Ok(1 + nested(n - 1).await?) }
}

#[tokio::test]
async fn calls_are_recorded_with_their_tree() {
    let suite = Suite::embedded().await;
    let client = suite.client();
    assert!(Context::current().is_none());
    assert_eq!(double(21).with_client(&client).await.unwrap(), 42);
    let [run] = &runs(&client, "name = double").await[..] else { panic!("there is one run") };
    let run = client.core().get_run(&run.id).await.unwrap();
    assert_eq!(
        (state_of(&run), run.kind(), run.run_name.as_str()),
        (StateType::Completed, RunKind::Task, "double 21")
    );
    assert_eq!((&run.tags[..], run.labels["team"].as_str()), (&["numbers".to_owned()][..], "blue"));
    assert_eq!(run.parameters.unwrap().data, r#"{"n":21}"#);
    assert_eq!(run.result.unwrap().data, "42");

    let sum = sum_of_doubles(3).tags(["whole"]).with_client(&client).await.unwrap();
    assert_eq!(sum, 6 + 3 + (2 + 4) + 200);
    let [root] = &runs(&client, "tags:whole").await[..] else { panic!("there is one root") };
    let tree = runs(&client, &format!("root_run_id = {}", root.id)).await;
    assert!(tree.iter().all(|run| state_of(run) == StateType::Completed), "{tree:#?}");
    let children = tree.iter().filter(|run| run.parent_run_id == root.id);
    let mut names: Vec<_> = children.map(|run| run.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["double", "double", "nested", "slow_double", "slow_double", "slow_double"]);
    assert_eq!(tree.iter().filter(|run| run.name == "nested").count(), 4, "each calls the next");

    let error = half(3).with_client(&client).await.unwrap_err();
    assert!(error.is_run_failed() && error.to_string().contains("3 is odd"), "{error}");
    assert!(error.failure().unwrap().error_type.ends_with("Odd"), "{error:?}");
    suite.stop().await;
}

async fn running(_: Context) {
    note("hooks: running");
}

async fn completed(ctx: Context, value: &u32) -> Result<(), String> {
    note(format!("hooks: completed with {value} in attempt {}", ctx.attempt()));
    Err("it has a fault of its own".into())
}

async fn failed(_: Context, failure: &Failure) {
    note(format!("hooks: failed: {}", failure.message));
}

async fn also_failed(_: Context, _: &Failure) {
    note("hooks: failed, too");
}

#[task(retries = 3, retry_delays = "10ms, 20ms", on_running = running, on_completion = completed, on_failure = failed)]
async fn third_time(ctx: Context) -> anyhow::Result<u32> {
    anyhow::ensure!(ctx.attempt() == 3, "attempt {} fails", ctx.attempt());
    Ok(ctx.attempt())
}

#[task(retries = 3, retry_if = is_even, on_failure(failed, also_failed))]
async fn fails_for_good(n: i64) -> Result<i64, Odd> {
    note(format!("hooks: called with {n}"));
    Err(Odd(n))
}

fn is_even(odd: &Odd) -> bool {
    odd.0 % 2 == 0
}

#[tokio::test]
async fn the_server_decides_on_retries_and_hooks_hear_of_ends() {
    let suite = Suite::embedded().await;
    let client = suite.client();
    assert_eq!(third_time().with_client(&client).await.unwrap(), 3);
    let expected =
        ["hooks: running", "hooks: running", "hooks: running", "hooks: completed with 3 in attempt 3"];
    assert_eq!(notes("hooks"), expected);
    let [run] = &runs(&client, "name = third_time").await[..] else { panic!("there is one run") };
    assert_eq!((state_of(run), run.attempt), (StateType::Completed, 3), "a hook that fails changes nothing");
    let mut lines = client.handle(&run.id).follow_logs(false);
    let line = within("what became of the hook", DEADLINE, lines.next()).await.unwrap().unwrap();
    assert_eq!(line.message, "the hook `completed` failed: it has a fault of its own");

    let error = fails_for_good(3).with_client(&client).await.unwrap_err();
    assert!(error.is_run_failed(), "{error}");
    assert_eq!(
        notes("hooks")[4..],
        ["hooks: called with 3", "hooks: failed: 3 is odd", "hooks: failed, too"],
        "it was not tried again"
    );

    // The same by a worker.
    let (stop, mut working) = work(&client, "hooks");
    let error =
        fails_for_good(5).queue("hooks").with_client(&client).delay().await.unwrap().await.unwrap_err();
    assert!(error.is_run_failed(), "{error}");
    eventually("the hooks were called", DEADLINE, async || (notes("hooks").len() == 10).then_some(())).await;
    assert_eq!(notes("hooks")[8..], ["hooks: failed: 5 is odd", "hooks: failed, too"]);
    stop.cancel();
    within("the worker ends", DEADLINE, working.join_next()).await.unwrap().unwrap().unwrap();
    suite.stop().await;
}

/// A worker of this process for `queue`.
fn work(client: &Client, queue: &str) -> (CancellationToken, JoinSet<Result<(), Error>>) {
    let worker = Worker::builder(client.clone())
        .function(double)
        .function(half)
        .function(sum_of_doubles)
        .function(fails_for_good)
        .function(panics)
        .function(outlives)
        .function(takes_two)
        .function(labelled)
        .queues([queue])
        .build()
        .unwrap();
    let stop = CancellationToken::new();
    let working = JoinSet::from_iter([worker.run(stop.clone())]);
    (stop, working)
}

#[flow]
async fn leaves_failures() -> Result<String, Error> {
    let fine = double(1).submit();
    let unseen = half(1).submit();
    let seen = half(3).submit();
    assert!(seen.await.is_err());
    drop((fine, unseen));
    Ok("all is well".to_owned())
}

#[flow(on_unawaited_failure = "ignore")]
async fn ignores_failures() -> Result<String, Error> {
    drop(half(1).submit());
    Ok("all is well".to_owned())
}

#[tokio::test]
async fn a_flow_waits_for_what_it_submitted_and_is_no_success_over_its_failures() {
    let suite = Suite::embedded().await;
    let client = suite.client();
    let error = leaves_failures().with_client(&client).await.unwrap_err();
    let failure = error.failure().unwrap();
    assert_eq!(failure.error_type, "UnawaitedFailure");
    let expected = "1 submitted run failed and nobody asked for its result: half (";
    assert!(failure.message.starts_with(expected), "{error}");
    assert!(failure.message.contains("1 is odd"), "{error}");
    let children = runs(&client, "task:*").await;
    assert_eq!(
        children.iter().filter(|run| state_of(run) == StateType::Completed).count(),
        1,
        "{children:#?}"
    );
    assert_eq!(children.iter().filter(|run| state_of(run) == StateType::Failed).count(), 2, "{children:#?}");
    assert_eq!(ignores_failures().with_client(&client).await.unwrap(), "all is well");
    suite.stop().await;
}

#[task]
async fn panics(n: i64) -> i64 {
    panic!("no room for {n}")
}

#[task(timeout = "1s")]
async fn outlives(word: String) -> String {
    let _ends = Ends("outlives: dropped");
    std::future::pending::<()>().await;
    word
}

#[tokio::test]
async fn panics_and_timeouts_are_failures_here_and_at_a_worker() {
    let suite = Suite::embedded().await;
    let client = suite.client();
    let (_stop, _working) = work(&client, "faults");
    let here = panics(7).with_client(&client).await.unwrap_err();
    let there = panics(7).queue("faults").with_client(&client).delay().await.unwrap().await.unwrap_err();
    for error in [here, there] {
        assert!(error.is_run_failed() && error.to_string().contains("no room for 7"), "{error}");
    }
    let error = outlives("x".to_owned()).with_client(&client).await.unwrap_err();
    assert!(error.is_run_failed(), "{error}");
    assert_eq!(notes("outlives: dropped").len(), 1);
    let [run] = &runs(&client, "name = outlives").await[..] else { panic!("there is one run") };
    assert_eq!((state_of(run), run.state.as_ref().unwrap().name.as_str()), (StateType::Failed, "TimedOut"));
    suite.stop().await;
}

#[flow]
async fn in_order(n: i64) -> Result<(), Error> {
    let halved = half(n).submit();
    let after = double(n).wait_for(&halved).submit();
    let last = double(n + 1).wait_for(&after).wait_for_all([&halved]).submit();
    let ended = join_all([after, last]).await;
    let after = &ended[0];
    note(format!("in_order: {n}: {}", after.as_ref().map_or_else(|error| error.to_string(), i64::to_string)));
    Ok(())
}

#[tokio::test]
async fn what_comes_after_a_failure_is_not_executed() {
    let suite = Suite::embedded().await;
    let client = suite.client();
    in_order(4).with_client(&client).await.unwrap();
    assert_eq!(notes("in_order: 4"), ["in_order: 4: 8"]);
    in_order(5).with_client(&client).await.unwrap();
    let [told] = &notes("in_order: 5")[..] else { panic!("it was noted once") };
    assert!(told.contains("UpstreamFailed: not executed: it comes after run"), "{told}");
    assert!(told.contains("5 is odd"), "{told}");
    let failed = runs(&client, "name = double AND state_name = UpstreamFailed").await;
    let [last, after] = &failed[..] else { panic!("there are two, the newest first: {failed:?}") };
    let [halved] = &runs(&client, "name = half AND state = FAILED").await[..] else { panic!("one failed") };
    assert_eq!((state_of(after), after.attempt), (StateType::Failed, 0));
    let said = format!("run {}, whose result it needs, did not complete: ", halved.id);
    assert!(after.state.as_ref().unwrap().message.starts_with(&said), "{after:?}");
    assert!(after.state.as_ref().unwrap().message.ends_with("Odd: 5 is odd"), "{after:?}");
    assert!(last.state.as_ref().unwrap().message.starts_with(&format!("run {}, ", after.id)), "{last:?}");
    let error = client.handle(&after.id).result::<i64>().await.unwrap_err();
    assert!(error.is_run_failed() && error.is_upstream_failed(), "{error:?}");
    assert_eq!(error.failure().unwrap().message, after.state.as_ref().unwrap().message);
    let explained = client.handle(&after.id).explain().await.unwrap().summary;
    assert!(explained.starts_with(&format!("It was not executed: {said}")), "{explained}");
    suite.stop().await;
}

#[tokio::test]
async fn what_is_not_executed_neither_ends_nor_takes_the_run_of_its_key() {
    let suite = Suite::embedded().await;
    let client = suite.client();
    let queued = double(2).queue("nobody").idempotency_key("queued").with_client(&client);
    let queued = queued.delay().await.unwrap();
    let failed = half(5).with_client(&client).submit();
    for key in ["queued", "new"] {
        let call = double(2).idempotency_key(key).with_client(&client).wait_for(&failed);
        let error = call.await.unwrap_err();
        assert!(error.to_string().contains("not executed: it comes after run"), "{key}: {error}");
    }
    assert_eq!(state_of(&queued.get().await.unwrap()), StateType::Scheduled);
    assert_eq!(double(2).idempotency_key("new").with_client(&client).await.unwrap(), 4);
    suite.stop().await;
}

static NEVER_ENDS_BEGAN: Notify = Notify::const_new();

#[task]
async fn never_ends(word: String) -> String {
    let _ends = Ends("never_ends: dropped");
    NEVER_ENDS_BEGAN.notify_one();
    std::future::pending::<()>().await;
    word
}

#[flow]
async fn goes_on_without() -> Result<i64, Error> {
    let call = never_ends("x".to_owned()).into_future();
    tokio::select! {
        ended = call => panic!("{ended:?}"),
        () = NEVER_ENDS_BEGAN.notified() => {}
    }
    double(1).await
}

#[tokio::test]
async fn a_call_that_is_dropped_is_stopped() {
    let suite = Suite::embedded().await;
    let client = suite.client();
    assert_eq!(goes_on_without().with_client(&client).await.unwrap(), 2);
    assert_eq!(notes("never_ends: dropped").len(), 1);
    let [run] = &runs(&client, "name = never_ends").await[..] else { panic!("there is one run") };
    assert_eq!(state_of(run), StateType::Failed);
    let run = client.core().get_run(&run.id).await.unwrap();
    assert_eq!(run.failure.unwrap().error_type, "Dropped");
    suite.stop().await;
}

async fn told(ctx: Context) {
    note(format!("stops: {} was cancelled", ctx.name()));
}

#[task(on_cancellation = told)]
async fn waits_for_ever() {
    std::future::pending().await
}

#[flow(on_cancellation = told)]
async fn waits_below() -> Result<(), Error> {
    waits_for_ever().await
}

#[tokio::test]
async fn a_cancel_of_a_local_tree_stops_it_and_hooks_hear_of_it() {
    let suite = Suite::embedded().await;
    let client = suite.client();
    let root = waits_below().with_client(&client).submit();
    let child = eventually("the child is running", DEADLINE, async || {
        runs(&client, "name = waits_for_ever AND state = RUNNING").await.pop()
    })
    .await;
    client.handle(root.id().unwrap()).cancel("enough").await.unwrap();
    let error = within("the end", DEADLINE, root).await.unwrap_err();
    assert!(error.is_run_cancelled() && error.to_string().contains("enough"), "{error}");
    let child = within("the child's end", DEADLINE, client.handle(child.id).wait()).await.unwrap();
    assert_eq!(state_of(&child), StateType::Cancelled);
    assert_eq!(notes("stops:"), ["stops: waits_for_ever was cancelled", "stops: waits_below was cancelled"]);
    suite.stop().await;
}

#[task]
async fn takes_two(a: i64, #[serde(default)] b: i64) -> Result<i64, NonRetryable> {
    Ok(a - b)
}

/// Tells its labels, and those of a child of its own.
#[flow(labels("team=blue"))]
async fn labelled(ctx: Context) -> Result<Vec<BTreeMap<String, String>>, Error> {
    let mut labels = vec![ctx.labels().clone()];
    if ctx.parent_run_id().is_empty() {
        labels.extend(labelled().labels([("stage", "local")]).inherit_labels().await?);
    }
    Ok(labels)
}

#[tokio::test]
async fn a_worker_serves_functions_by_their_names() {
    let suite = Suite::embedded().await;
    let client = suite.client();
    let (stop, mut working) = work(&client, "served");
    let typed: RunHandle<i64> = sum_of_doubles(2).queue("served").with_client(&client).delay().await.unwrap();
    assert_eq!(within("the sum", DEADLINE, typed.result()).await.unwrap(), 4 + 2 + 2 + 200);
    let calls = (0..3).map(|n| double(n).queue("served").with_client(&client));
    let doubles = delay_all(calls).await.unwrap();
    assert_eq!(within("the doubles", DEADLINE, gather::<i64>(&doubles)).await.unwrap(), [0, 2, 4]);
    let through = |n| double(n).queue("served").with_client(&client);
    let mapped = through.delay_map(3..5).await.unwrap();
    assert_eq!(within("the doubles", DEADLINE, gather::<i64>(&mapped)).await.unwrap(), [6, 8]);
    let call = || client.task("takes_two").queue("served");
    let by_name = call().delay(&serde_json::json!({"b": 1, "a": 3})).await.unwrap();
    let in_order = call().delay(&(3, 1)).await.unwrap();
    let alone = call().delay(&serde_json::json!({"a": 2})).await.unwrap();
    for handle in [by_name, in_order, alone] {
        assert_eq!(within("the difference", DEADLINE, handle.result::<i64>()).await.unwrap(), 2);
    }
    let wrong = call().retries(3).delay(&serde_json::json!({"a": 2, "c": 1})).await.unwrap();
    let error = within("the end", DEADLINE, wrong.result::<i64>()).await.unwrap_err();
    assert!(
        error.to_string().contains("takes_two(a, b): what it is called with does not fit: unknown field `c`"),
        "{error}"
    );
    let labels = labelled().queue("served").with_client(&client).delay().await.unwrap();
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let expected = [vec![label("team", "blue")], vec![label("stage", "local"), label("team", "blue")]];
    assert_eq!(
        within("the labels", DEADLINE, labels.result()).await.unwrap(),
        expected.map(BTreeMap::from_iter)
    );
    stop.cancel();
    within("the worker ends", DEADLINE, working.join_next()).await.unwrap().unwrap().unwrap();
    suite.stop().await;
}

async fn a_flow_that_is_killed_takes_up_its_local_children(suite: &Suite) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("executions");
    let lines = || std::fs::read_to_string(&path).unwrap_or_default();
    let client = suite.client();
    let mut first = suite.worker("local");
    let handle = client.flow("notes_everywhere").queue("local").delay(&path.to_str().unwrap()).await.unwrap();
    eventually("the flow is through", DEADLINE, async || lines().contains("whole").then_some(())).await;
    // A flow does not wait for the server to have the ends of its children.
    let below = format!("root_run_id = {} AND id != {} AND name != unfinished", handle.id(), handle.id());
    eventually("the server has the ends of all children", DEADLINE, async || {
        let below = runs(&client, &below).await;
        (below.len() == 24 && below.iter().all(|run| state_of(run) == StateType::Completed)).then_some(())
    })
    .await;
    first.kill().await;
    let _second = suite.worker("local");
    let mut names: Vec<String> = within("the result", 2 * DEADLINE, handle.result()).await.unwrap();

    let mut executions = BTreeMap::<String, u32>::new();
    for line in lines().lines() {
        *executions.entry(line.to_owned()).or_default() += 1;
    }
    assert_eq!(executions.remove("whole"), Some(2), "the flow itself was executed twice");
    assert_eq!(executions.remove("unfinished"), Some(2), "what had not ended was taken up");
    assert!(executions.values().all(|&n| n == 1), "{executions:?}");
    names.sort_unstable();
    assert!(names.iter().eq(executions.keys()), "all results came back: {names:?}");
    let run = handle.get().await.unwrap();
    assert_eq!((run.crashes, run.attempt), (1, 2));
    let tree = runs(&client, &format!("root_run_id = {}", run.id)).await;
    assert!(tree.iter().all(|run| state_of(run) == StateType::Completed), "{tree:#?}");
}

async fn a_cancel_of_a_queued_flow_reaches_its_local_children(suite: &Suite) {
    let client = suite.client();
    let _worker = suite.worker("stopped");
    let handle = client.flow("holds_below").queue("stopped").delay(&()).await.unwrap();
    let children = async || runs(&client, &format!("parent_run_id = {}", handle.id())).await;
    eventually("both children are running", DEADLINE, async || {
        let children = children().await;
        let running = children.iter().filter(|run| state_of(run) == StateType::Running);
        (running.count() == 2).then_some(())
    })
    .await;
    handle.cancel("enough").await.unwrap();
    let error = within("the end", DEADLINE, handle.result::<()>()).await.unwrap_err();
    assert!(error.is_run_cancelled(), "{error}");
    eventually("the children are cancelled", DEADLINE, async || {
        children().await.iter().all(|run| state_of(run) == StateType::Cancelled).then_some(())
    })
    .await;
}

#[tokio::test]
async fn only_so_many_children_execute_at_once() {
    let suite = Suite::embedded().await;
    let client = suite.client();
    assert_eq!(two_at_once().with_client(&client).await.unwrap(), 2);
    suite.stop().await;
}

#[flow(max_concurrency = 2)]
async fn two_at_once() -> Result<usize, Error> {
    for ended in join_all(submit_all((0..6).map(counted))).await {
        ended?;
    }
    Ok(notes("counted:")
        .iter()
        .filter_map(|note| note.rsplit(' ').next()?.parse().ok())
        .max()
        .unwrap_or_default())
}

static AT_ONCE: Mutex<usize> = Mutex::new(0);

#[task]
async fn counted(n: usize) -> usize {
    {
        let mut at_once = AT_ONCE.lock().unwrap_or_else(PoisonError::into_inner);
        *at_once += 1;
        note(format!("counted: {}", *at_once));
    }
    // The others of its time come here as well.
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    *AT_ONCE.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    n
}

#[tokio::test]
async fn code_that_outlives_its_run_starts_nothing_below_it() {
    let suite = Suite::embedded().await;
    let client = suite.client();
    let context = leaks(()).with_client(&client);
    context.await.unwrap();
    let late = LEAKED.lock().unwrap().take().expect("it was leaked");
    let told = within("the late call", DEADLINE, late).await;
    assert!(told.contains("has ended: await what a run starts"), "{told}");
    suite.stop().await;
}

type Late = std::pin::Pin<Box<dyn Future<Output = String> + Send>>;
static LEAKED: Mutex<Option<Late>> = Mutex::new(None);

#[flow]
async fn leaks(nothing: ()) {
    let told = Arc::new(Notify::new());
    let late = spawn({
        let told = Arc::clone(&told);
        async move { told.notified().await }
    });
    told.notify_one();
    late.await.expect("it was told");
    let context = Context::current().expect("this is a run");
    let late = context.scope(async { double(1).await.expect_err("it is too late").to_string() });
    *LEAKED.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::pin(late));
    nothing
}
