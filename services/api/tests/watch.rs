//! Watches and waits as a client sees them.

mod common;

use std::{sync::Arc, time::Duration};

use common::{Api, fields, task};
use tidegate_model::{Clock as _, SystemClock};
use tidegate_proto::v1::{self, NewRun};
use tidegate_store::RunStore;
use tidegate_store_sqlite::SqliteStore;
use tidegate_testkit::{FaultyStore, vanish};
use tokio::time::timeout;
use tonic::{Code, Streaming};

async fn watch(api: &Api, request: v1::WatchRunsRequest) -> Streaming<v1::WatchRunsResponse> {
    api.runs.clone().watch_runs(request).await.expect("opens").into_inner()
}

/// Names of runs, numbers and states of all events until the stream ends.
async fn told(mut watch: Streaming<v1::WatchRunsResponse>) -> Vec<(String, u64, String)> {
    let mut told = Vec::new();
    while let Some(message) = watch.message().await.expect("goes on") {
        told.extend(
            message
                .events
                .into_iter()
                .map(|event| (event.name, event.seq, event.state.expect("has one").name)),
        );
    }
    told
}

fn seqs(events: &[v1::RunEvent]) -> Vec<u64> {
    events.iter().map(|event| event.seq).collect()
}

#[tokio::test]
async fn a_filter_tells_of_the_runs_that_match_when_they_are_read() {
    let api = Api::start().await;
    let named = |name: &str| NewRun { name: name.into(), tags: vec![name.into()], ..task() };
    let (wanted, other) = (api.created(named("wanted")).await, api.created(named("other")).await);
    let by_tag = v1::WatchRunsRequest {
        run_ids: vec![other.id.clone(), wanted.id.clone()],
        from_start: true,
        until_ended: true,
        filter: "tags:wanted".into(),
        ..Default::default()
    };
    // What has ended matches from now on, and the past of a run that matches is told.
    let by_end = v1::WatchRunsRequest { filter: "state = COMPLETED".into(), ..by_tag.clone() };
    let watched = watch(&api, by_tag).await;
    api.complete(&other, b"1").await;
    api.complete(&wanted, b"1").await;
    let names = ["Scheduled", "Pending", "Running", "Completed"];
    let expected: Vec<_> =
        (1..).zip(names).map(|(seq, name)| ("wanted".to_owned(), seq, name.to_owned())).collect();
    assert_eq!(told(watched).await, expected);
    assert_eq!(told(watch(&api, by_end).await).await.len(), 8);
    let gone = v1::WatchRunsRequest {
        run_ids: vec![wanted.id],
        from_start: true,
        until_ended: true,
        filter: "state = RUNNING".into(),
        ..Default::default()
    };
    assert_eq!(told(watch(&api, gone).await).await, [], "the run does not match any more");
}

#[tokio::test]
async fn a_filter_alone_watches_the_namespace() {
    let api = Api::start().await;
    let request = v1::WatchRunsRequest { filter: "priority = 7".into(), ..Default::default() };
    let mut watch = watch(&api, request).await;
    api.created(task()).await;
    let wanted = api.created(NewRun { priority: Some(7), ..task() }).await;
    let message = watch.message().await.expect("goes on").expect("has one");
    let ids: Vec<_> = message.events.iter().map(|event| event.run_id.as_str()).collect();
    assert_eq!(ids, [wanted.id.as_str()]);
}

#[tokio::test]
async fn a_wrong_filter_of_a_watch_is_pointed_at() {
    let api = Api::start().await;
    let request = v1::WatchRunsRequest { filter: "state = DONE".into(), ..Default::default() };
    let refused = api.runs.clone().watch_runs(request).await.expect_err("is refused");
    assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec!["filter".to_owned()]));
}

#[tokio::test]
async fn a_watch_of_one_run_goes_on_after_a_number() {
    let api = Api::start().await;
    let run = api.created(task()).await;
    api.complete(&run, b"1").await;
    let after = |after_seq| v1::WatchRunsRequest {
        run_ids: vec![run.id.clone()],
        after_seq,
        until_ended: true,
        ..Default::default()
    };
    let numbers = async |after_seq| {
        let told = told(watch(&api, after(after_seq)).await).await;
        told.into_iter().map(|(_, seq, _)| seq).collect::<Vec<_>>()
    };
    assert_eq!(numbers(1).await, [2, 3, 4]);
    assert_eq!(numbers(3).await, [4]);
    assert_eq!(numbers(4).await, [0; 0], "all is told, and the run has ended");

    let second = api.created(task()).await;
    for (request, told) in [
        (after(5), "the latest event"),
        (v1::WatchRunsRequest { from_start: true, ..after(1) }, "choose one"),
        (v1::WatchRunsRequest { resume_token: "1".into(), ..after(1) }, "choose one"),
        (v1::WatchRunsRequest { run_ids: vec![run.id.clone(), second.id.clone()], ..after(1) }, "one run"),
        (v1::WatchRunsRequest { run_ids: Vec::new(), until_ended: false, ..after(1) }, "one run"),
    ] {
        let refused = api.runs.clone().watch_runs(request).await.expect_err("is refused");
        assert_eq!(fields(&refused), ["after_seq"], "{refused:?}");
        assert!(refused.message().contains(told), "{}", refused.message());
    }
}

#[tokio::test]
async fn many_runs_are_watched_out_of_the_feed_of_all() {
    let api = Api::start().await;
    let request = v1::CreateRunsRequest { runs: vec![task(); 101], ..Default::default() };
    let outcomes = api.runs.clone().create_runs(request).await.expect("are created").into_inner().outcomes;
    let run_ids: Vec<String> = outcomes.into_iter().map(|outcome| outcome.run_id).collect();
    let mut watch =
        watch(&api, v1::WatchRunsRequest { run_ids: run_ids.clone(), ..Default::default() }).await;
    api.created(task()).await;
    let request = v1::GetRunRequest { run_id: run_ids[100].clone(), ..Default::default() };
    let last = api.runs.clone().get_run(request).await.expect("is there").into_inner().run.expect("is told");
    api.complete(&last, b"1").await;
    let mut events = Vec::new();
    while events.len() < 3 {
        events.extend(watch.message().await.expect("goes on").expect("has one").events);
    }
    assert!(events.iter().all(|event| event.run_id == last.id), "{events:?}");
    assert_eq!(seqs(&events), [2, 3, 4]);
}

#[tokio::test]
async fn a_resumed_watch_repeats_nothing() {
    let store = Arc::new(FaultyStore::new(Arc::new(SqliteStore::in_memory().await.expect("opens")), 0.0));
    let api = Api::over(Arc::clone(&store) as Arc<dyn RunStore>).await;
    let run = api.created(task()).await;
    let of_run = v1::WatchRunsRequest {
        run_ids: vec![run.id.clone()],
        from_start: true,
        until_ended: true,
        ..Default::default()
    };
    // What happens between the opening and the look into the past is in both: it has no place to resume from.
    store.hold_histories();
    let mut first = watch(&api, of_run.clone()).await;
    api.complete(&run, b"1").await;
    store.release_histories();
    let mut seen = Vec::new();
    while let Some(message) = first.message().await.expect("goes on") {
        seen.extend(seqs(&message.events));
        if !message.resume_token.is_empty() {
            let resumed = v1::WatchRunsRequest {
                from_start: false,
                resume_token: message.resume_token,
                ..of_run.clone()
            };
            let told = told(watch(&api, resumed).await).await;
            assert!(told.iter().all(|(_, seq, _)| !seen.contains(seq)), "{seen:?}, then {told:?}");
        } else {
            assert!(seen.starts_with(&[1]), "the past begins with the first event: {seen:?}");
        }
    }
    assert_eq!(seen, [1, 2, 3, 4]);
}

/// Its end went with it, and comes no more.
#[tokio::test]
async fn a_watch_of_a_run_that_is_deleted_ends() {
    let store = Arc::new(SqliteStore::in_memory().await.expect("opens"));
    let api = Api::over(Arc::clone(&store) as Arc<dyn RunStore>).await;
    let (gone, ended) = (api.created(task()).await, api.created(task()).await);
    let request = v1::WatchRunsRequest {
        run_ids: vec![gone.id.clone(), ended.id.clone()],
        until_ended: true,
        ..Default::default()
    };
    let watch = watch(&api, request).await;
    vanish(&*store, gone.id.parse().expect("is an id"), SystemClock.now()).await;
    api.complete(&ended, b"1").await;
    let told = timeout(Duration::from_secs(60), told(watch)).await.expect("ends");
    let numbers: Vec<_> = told.into_iter().map(|(_, seq, _)| seq).collect();
    assert_eq!(numbers, [2, 3, 4], "those of the other one");
}

/// The wake-ups of the store are lost, all of them: what they would have told is found by looking.
#[tokio::test]
async fn lost_wakeups_delay_and_lose_nothing() {
    let store = Arc::new(FaultyStore::new(Arc::new(SqliteStore::in_memory().await.expect("opens")), 0.0));
    store.lose_wakeups();
    let api = Api::over(store).await;
    let run = api.created(task()).await;
    let of_run = v1::WatchRunsRequest {
        run_ids: vec![run.id.clone()],
        from_start: true,
        until_ended: true,
        ..Default::default()
    };
    let of_tree = v1::WatchRunsRequest { run_ids: Vec::new(), root_run_id: run.id.clone(), ..of_run.clone() };
    let (of_run, of_tree) = (watch(&api, of_run).await, watch(&api, of_tree).await);
    let mut of_all =
        watch(&api, v1::WatchRunsRequest { filter: "name = resize".into(), ..Default::default() }).await;
    let request = v1::WaitRunsRequest { run_ids: vec![run.id.clone()], ..Default::default() };
    let mut wait = api.runs.clone().wait_runs(request).await.expect("opens").into_inner();
    api.complete(&run, b"1").await;

    let ended = wait.message().await.expect("goes on").expect("has one");
    assert_eq!((ended.runs.len(), ended.timed_out), (1, false));
    for watched in [of_run, of_tree] {
        let numbers: Vec<_> = told(watched).await.into_iter().map(|(_, seq, _)| seq).collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
    }
    let mut events = Vec::new();
    while events.len() < 3 {
        events.extend(of_all.message().await.expect("goes on").expect("has one").events);
    }
    assert_eq!(seqs(&events), [2, 3, 4]);
}
