//! `QueueService` over gRPC, without a task-queue behind it.

mod common;

use common::{Api, fields, reason, task};
use tidegate_proto::{internal::claim_outcome::Outcome, v1};
use tonic::{Code, Request};

fn put(name: &str, max_slots: Option<u32>) -> v1::PutQueueRequest {
    v1::PutQueueRequest { name: name.to_owned(), max_slots, ..Default::default() }
}

#[tokio::test]
async fn a_queue_is_set_paused_told_resumed_and_deleted() {
    let api = Api::start().await;
    let mut queues = api.queues.clone();
    let set =
        queues.put_queue(put("default", Some(1))).await.expect("is set").into_inner().queue.expect("is told");
    assert_eq!((set.name.as_str(), set.max_slots, set.pause.clone()), ("default", Some(1), None));
    assert!(set.created_at.is_some() && set.depth.is_none());

    let (first, second) = (api.created(task()).await, api.created(task()).await);
    assert!(matches!(api.claim(&first).await, Outcome::Assign(_)));
    assert!(matches!(api.claim(&second).await, Outcome::Waiting(_)));
    let mut pause = Request::new(v1::PauseQueueRequest {
        name: "default".to_owned(),
        reason: "maintenance".to_owned(),
        ..Default::default()
    });
    pause.metadata_mut().insert("tidegate-actor", "ada".parse().expect("is ASCII"));
    let paused = queues.pause_queue(pause).await.expect("is paused").into_inner().queue.expect("is told");
    let told = paused.pause.expect("is paused");
    assert_eq!((told.paused_by.as_str(), told.reason.as_str()), ("ada", "maintenance"));
    assert!(told.paused_at.is_some());
    let third = api.created(task()).await;
    assert!(matches!(api.claim(&third).await, Outcome::QueuePaused(_)));

    let get = v1::GetQueueRequest { name: "default".to_owned(), ..Default::default() };
    let got = queues.get_queue(get).await.expect("is told").into_inner();
    assert_eq!((got.waiting_runs, got.awaiting_slot_runs, got.held_runs), (2, 1, 1));
    assert_eq!(got.waiting_precision(), v1::CountPrecision::Exact);
    assert_eq!((got.workers, got.queue.and_then(|queue| queue.depth)), (None, None), "nobody answers");
    let explain = v1::ExplainRunRequest { run_id: third.id.clone(), ..Default::default() };
    let explanation =
        api.runs.clone().explain_run(explain).await.expect("is explained").into_inner().explanation;
    let explanation = explanation.expect("is told");
    assert!(explanation.summary.contains("`default` was paused by ada"), "{}", explanation.summary);
    let subject = explanation.waits.into_iter().next().and_then(|wait| wait.subject);
    let Some(v1::wait::Subject::QueuePaused(paused)) = subject else { panic!("{subject:?}") };
    assert_eq!((paused.queue.as_str(), paused.paused_by.as_str()), ("default", "ada"));

    let resume = v1::ResumeQueueRequest { name: "default".to_owned(), ..Default::default() };
    let resumed =
        queues.resume_queue(resume.clone()).await.expect("is resumed").into_inner().queue.expect("is told");
    assert_eq!((resumed.pause, resumed.max_slots), (None, Some(1)));
    queues.resume_queue(resume).await.expect("a repeat is no error");
    assert!(matches!(api.claim(&third).await, Outcome::Waiting(_)), "the limit still binds");

    let delete = |allow_missing| v1::DeleteQueueRequest {
        name: "default".to_owned(),
        allow_missing,
        ..Default::default()
    };
    queues.delete_queue(delete(false)).await.expect("is deleted");
    let refused = queues.delete_queue(delete(false)).await.expect_err("is refused");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "QUEUE_NOT_FOUND"));
    queues.delete_queue(delete(true)).await.expect("that there is none is no error");
    let get = v1::GetQueueRequest { name: "never-used".to_owned(), ..Default::default() };
    let empty = queues.get_queue(get).await.expect("is told").into_inner();
    assert_eq!((empty.waiting_runs, empty.held_runs), (0, 0));
    assert_eq!(empty.queue.map(|queue| (queue.created_at, queue.max_slots)), Some((None, None)));
}

#[tokio::test]
async fn wrong_requests_name_their_fields() {
    let api = Api::start().await;
    let mut queues = api.queues.clone();
    let refused = queues.put_queue(put("a/b", Some(1_000_001))).await.expect_err("is refused");
    assert_eq!(fields(&refused), ["max_slots", "name"]);
    let request = v1::PutQueueRequest { request_id: "x".to_owned(), ..put("q", None) };
    assert_eq!(fields(&queues.put_queue(request).await.expect_err("is refused")), ["request_id"]);
    let long =
        v1::PauseQueueRequest { name: "q".to_owned(), reason: "x".repeat(1_025), ..Default::default() };
    assert_eq!(fields(&queues.pause_queue(long).await.expect_err("is refused")), ["reason"]);
    let token = v1::ListQueuesRequest { page_token: "a b".to_owned(), ..Default::default() };
    assert_eq!(fields(&queues.list_queues(token).await.expect_err("is refused")), ["page_token"]);
    let refused = queues.list_queues(v1::ListQueuesRequest::default()).await.expect_err("is refused");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "DEPENDENCY_UNAVAILABLE"));
}

#[tokio::test]
async fn the_limit_of_a_queue_is_shown_and_belongs_to_the_queue_alone() {
    let api = Api::start().await;
    let name = "q".repeat(128);
    let held = v1::new_run::Placement::Queue(name.clone());
    let run = api.created(v1::NewRun { placement: Some(held), ..task() }).await;
    assert!(matches!(api.claim(&run).await, Outcome::Assign(_)));
    api.queues.clone().put_queue(put(&name, Some(3))).await.expect("is set");
    let mut limits = api.concurrency.clone();
    let limit = format!("queue:{name}");
    let get = v1::GetConcurrencyLimitRequest { name: limit.clone(), ..Default::default() };
    let shown = limits.get_concurrency_limit(get).await.expect("is shown").into_inner();
    assert_eq!(shown.slots.iter().map(|slot| slot.run_id.as_str()).collect::<Vec<_>>(), [run.id.as_str()]);
    let page =
        v1::ListConcurrencyLimitsRequest { page_size: 1, page_token: limit.clone(), ..Default::default() };
    limits.list_concurrency_limits(page).await.expect("its name is a page token");

    let put = v1::PutConcurrencyLimitRequest {
        name: "queue:q".to_owned(),
        max_slots: Some(1),
        ..Default::default()
    };
    let refused = limits.put_concurrency_limit(put).await.expect_err("is refused");
    assert_eq!(fields(&refused), ["name"]);
    assert!(refused.message().contains("those of queues"), "{}", refused.message());
    let delete = v1::DeleteConcurrencyLimitRequest { name: limit, ..Default::default() };
    let refused = limits.delete_concurrency_limit(delete).await.expect_err("is refused");
    assert_eq!(refused.code(), Code::InvalidArgument);
    let named = v1::NewRun { concurrency_limits: vec!["db".to_owned(), "queue:q".to_owned()], ..task() };
    let refused = api.create(named).await.expect_err("is refused");
    assert_eq!(fields(&refused), ["run.concurrency_limits[1]"]);
}
