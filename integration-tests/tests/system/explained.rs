//! P10 [explained]: every run can say why it is where it is.

use std::time::Duration;

use tidegate_integration_tests::{Suite, eventually, within};
use tidegate_sdk::{
    Client, RunHandle,
    proto::{Explanation, StateType, used_key::Scope, wait::Subject},
};

crate::on_both_forms!(
    a_waiting_run_says_what_it_waits_for,
    a_run_under_way_says_who_has_it,
    an_ended_run_says_what_ended_it,
    a_run_says_by_which_key_it_was_made_and_who_else_got_it,
);

const DEADLINE: Duration = Duration::from_secs(60);

async fn a_waiting_run_says_what_it_waits_for(suite: &mut Suite) {
    let client = suite.client();
    let hour = Duration::from_secs(3_600);
    let later = client.task("add").queue("why").due_in(hour).delay(&(1, 1)).await.unwrap();
    let explanation = explain(&client, &later).await;
    assert!(matches!(subject(&explanation), Some(Subject::Time(_))), "{explanation:#?}");

    let unserved = client.task("add").queue("why-not").delay(&(1, 1)).await.unwrap();
    eventually("it is in the queue", DEADLINE, async || match subject(&explain(&client, &unserved).await) {
        Some(Subject::Worker(worker)) => (worker.n_workers == 0).then_some(()),
        _ => None,
    })
    .await;
    let summary = explain(&client, &unserved).await.summary;
    assert!(summary.contains("worker") && summary.contains("why-not"), "{summary}");

    let _worker = suite.worker("why");
    let call = client.task("fail_until").queue("why").retries(1).retry_delays([hour]);
    let retried = call.delay(&2).await.unwrap();
    let explanation = eventually("it waits for its retry", DEADLINE, async || {
        let explanation = explain(&client, &retried).await;
        let run = explanation.run.as_ref().unwrap();
        (run.state.as_ref().unwrap().name == "AwaitingRetry").then_some(explanation)
    })
    .await;
    assert!(matches!(subject(&explanation), Some(Subject::Time(_))), "{explanation:#?}");
    assert!(explanation.failure.unwrap().message.contains("attempt 1 fails"));
}

async fn a_run_says_by_which_key_it_was_made_and_who_else_got_it(suite: &mut Suite) {
    let client = suite.client();
    let delayed =
        async |key: &str, b: i64| client.task("add").queue("keyed").idempotency_key(key).delay(&(1, b)).await;
    let first = delayed("order-7", 1).await.unwrap();
    assert_eq!(first.created(), Some(true));
    let explanation = explain(&client, &first).await;
    let used = explanation.idempotency_key.unwrap();
    assert_eq!((used.key.as_str(), used.answered_calls, used.last_answered_at), ("order-7", 0, None));
    assert_eq!(used.scope, Some(Scope::Task("add".into())));
    assert!(explanation.summary.ends_with("It was made with the idempotency key `order-7` of task `add`."));
    for _ in 0..2 {
        let again = delayed("order-7", 1).await.unwrap();
        assert_eq!((again.id(), again.created()), (first.id(), Some(false)));
    }
    assert!(delayed("order-7", 2).await.unwrap_err().is_already_exists());
    let explanation = explain(&client, &first).await;
    let used = explanation.idempotency_key.unwrap();
    assert_eq!(used.answered_calls, 2, "whoever was refused got nothing");
    assert!(used.last_answered_at.is_some());
    assert!(
        explanation.summary.contains("; 2 later calls with that key, the last at "),
        "{}",
        explanation.summary
    );
    let plain = client.task("add").queue("keyed").delay(&(1, 1)).await.unwrap();
    assert_eq!((plain.created(), client.handle(plain.id()).created()), (Some(true), None));
    assert_eq!(explain(&client, &plain).await.idempotency_key, None);
}

async fn a_run_under_way_says_who_has_it(suite: &mut Suite) {
    let client = suite.client();
    let worker = suite.worker("why");
    let handle = client.task("hold").queue("why").delay(&()).await.unwrap();
    suite.until_state(&handle, StateType::Running).await;
    let explanation = explain(&client, &handle).await;
    let Some(Subject::Code(code)) = subject(&explanation) else { panic!("{explanation:#?}") };
    assert!(code.holder.contains(&worker.pid().to_string()), "{explanation:#?}");
    assert!(code.lease_left.is_some(), "{explanation:#?}");
    handle.cancel("enough").await.unwrap();
    let _ = within("the end", DEADLINE, handle.wait()).await.unwrap();
}

async fn an_ended_run_says_what_ended_it(suite: &mut Suite) {
    let client = suite.client();
    let mut worker = suite.worker("why");
    let crashed = client.task("hold").queue("why").max_crashes(0).delay(&()).await.unwrap();
    suite.until_state(&crashed, StateType::Running).await;
    worker.kill().await;
    within("the end", DEADLINE, crashed.wait()).await.unwrap();
    let explanation = explain(&client, &crashed).await;
    assert!(explanation.waits.is_empty(), "{explanation:#?}");
    assert!(explanation.summary.contains("lease"), "the cause is named: {}", explanation.summary);

    let cancelled = client.task("add").queue("why-not").delay(&(1, 1)).await.unwrap();
    cancelled.cancel("no longer needed").await.unwrap();
    let explanation = explain(&client, &cancelled).await;
    assert!(explanation.summary.contains("no longer needed"), "{}", explanation.summary);
    let actor = &explanation.happenings.last().unwrap().actor;
    assert!(!actor.is_empty(), "who did it: {explanation:#?}");

    let _worker = suite.worker("why");
    let failed = client.task("refuse").queue("why").retries(3).delay(&"out of paper").await.unwrap();
    within("the end", DEADLINE, failed.wait()).await.unwrap();
    let explanation = explain(&client, &failed).await;
    assert!(explanation.failure.as_ref().unwrap().message.contains("out of paper"));
    assert!(explanation.summary.contains("retr"), "why it was not retried: {}", explanation.summary);
}

async fn explain(client: &Client, handle: &RunHandle) -> Explanation {
    client.core().explain_run(handle.id()).await.unwrap()
}

/// What decides now.
fn subject(explanation: &Explanation) -> Option<Subject> {
    explanation.waits.first().and_then(|wait| wait.subject.clone())
}
