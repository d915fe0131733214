//! Which of several workers gets a run that says something of its worker, and whose turn it is.
#![allow(clippy::unwrap_used, reason = "tests only")]

mod support;

use std::collections::BTreeMap;

use support::{Suite, Worker, hello, start};
use tidegate_model::RunId;
use tidegate_proto::{
    internal::{CancelRunsRequest, CancelledRun, Delivery, EnqueueRunsRequest},
    v1::{Hello, RunKind},
};
use tonic_types::StatusExt as _;

fn labels(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A delivery of a new run of the task `f`.
fn delivery(suite: &Suite) -> Delivery {
    Delivery {
        namespace: "default".to_owned(),
        queue: "default".to_owned(),
        kind: RunKind::Task.into(),
        name: "f".to_owned(),
        run_id: suite.api.create(RunKind::Task, "f").to_string(),
        ..Delivery::default()
    }
}

async fn enqueue(suite: &mut Suite, deliveries: &[Delivery]) {
    let request = EnqueueRunsRequest { deliveries: deliveries.to_vec() };
    suite.deliveries.enqueue_runs(request).await.unwrap();
}

async fn with_labels(suite: &Suite, id: &str, of: &[(&str, &str)]) -> Worker {
    Worker::open(suite, Hello { labels: labels(of), ..hello(id, &["f"]) }).await
}

#[tokio::test]
async fn a_run_goes_to_a_worker_with_the_labels_that_it_requires() {
    let mut suite = start().await;
    let mut plain = suite.worker("plain", &["f"]).await;
    plain.credits(5, 0).await;
    let needy = Delivery { required_worker_labels: labels(&[("gpu", "true")]), ..delivery(&suite) };
    let free = delivery(&suite);
    enqueue(&mut suite, &[needy.clone(), free.clone()]).await;
    let [assign] = plain.assigned().await.try_into().unwrap();
    assert_eq!(assign.run_id, free.run_id);
    plain.nothing_else_came().await;

    let mut able = with_labels(&suite, "able", &[("gpu", "true"), ("zone", "a")]).await;
    able.credits(1, 0).await;
    let [assign] = able.assigned().await.try_into().unwrap();
    assert_eq!(assign.run_id, needy.run_id);
    // A waiting credit is served as soon as a run comes, without a poll.
    able.credits(1, 0).await;
    able.nothing_else_came().await;
    let second = Delivery { required_worker_labels: labels(&[("zone", "a")]), ..delivery(&suite) };
    enqueue(&mut suite, std::slice::from_ref(&second)).await;
    let [assign] = able.assigned().await.try_into().unwrap();
    assert_eq!(assign.run_id, second.run_id);
    suite.end().await;
}

#[tokio::test]
async fn who_could_take_a_run_is_told_with_and_without_its_labels() {
    let mut suite = start().await;
    let _plain = suite.worker("plain", &["f"]).await;
    let needy = Delivery { required_worker_labels: labels(&[("gpu", "true")]), ..delivery(&suite) };
    enqueue(&mut suite, std::slice::from_ref(&needy)).await;
    let request = tidegate_proto::internal::DescribeDeliveryRequest { delivery: Some(needy) };
    let described = suite.deliveries.describe_delivery(request.clone()).await.unwrap().into_inner();
    assert_eq!((described.n_workers, described.n_serving), (0, 1));
    assert!(described.standing.is_some(), "{described:?}");
    let _able = with_labels(&suite, "able", &[("gpu", "true")]).await;
    let described = suite.deliveries.describe_delivery(request).await.unwrap().into_inner();
    assert_eq!((described.n_workers, described.n_serving), (1, 2));
    suite.end().await;
}

#[tokio::test]
async fn a_cancelled_run_is_forgotten_with_its_key_and_labels() {
    let mut suite = start().await;
    let waiting = Delivery {
        required_worker_labels: labels(&[("gpu", "true")]),
        fairness_key: "customer 1".to_owned(),
        ..delivery(&suite)
    };
    enqueue(&mut suite, std::slice::from_ref(&waiting)).await;
    let cancelled = CancelledRun {
        namespace: waiting.namespace,
        queue: waiting.queue,
        kind: waiting.kind,
        name: waiting.name,
        run_id: waiting.run_id,
        fairness_key: waiting.fairness_key,
        required_worker_labels: waiting.required_worker_labels,
        ..CancelledRun::default()
    };
    suite.deliveries.cancel_runs(CancelRunsRequest { runs: vec![cancelled] }).await.unwrap();
    suite.until_nothing_is_kept().await;
    suite.end().await;
}

#[tokio::test]
async fn the_preferred_worker_gets_a_run_while_it_has_room() {
    let mut suite = start().await;
    let (mut small, mut large) = (suite.worker("small", &["f"]).await, suite.worker("large", &["f"]).await);
    small.credits(1, 0).await;
    large.credits(9, 0).await;
    for worker in [&mut small, &mut large] {
        worker.nothing_else_came().await; // its credits are in
    }
    let sticky = |suite: &Suite| Delivery { preferred_worker: "small".to_owned(), ..delivery(suite) };
    let runs = [delivery(&suite), sticky(&suite), sticky(&suite)];
    enqueue(&mut suite, &runs).await;
    let [assign] = small.assigned().await.try_into().unwrap();
    assert_eq!(assign.run_id, runs[1].run_id);
    let got: Vec<_> = large.assigned_n(2).await.into_iter().map(|assign| assign.run_id).collect();
    assert!(got.contains(&runs[0].run_id) && got.contains(&runs[2].run_id), "{got:?}");

    let gone = Delivery { preferred_worker: "long gone".to_owned(), ..delivery(&suite) };
    enqueue(&mut suite, std::slice::from_ref(&gone)).await;
    let [assign] = large.assigned().await.try_into().unwrap();
    assert_eq!(assign.run_id, gone.run_id);
    suite.end().await;
}

#[tokio::test]
async fn keys_take_turns() {
    let mut suite = start().await;
    let of = |suite: &Suite, key: &str| Delivery { fairness_key: key.to_owned(), ..delivery(suite) };
    let runs: Vec<_> = ["a", "a", "a", "a", "b", "b"].map(|key| of(&suite, key)).into();
    enqueue(&mut suite, &runs).await;
    let mut worker = suite.worker("w", &["f"]).await;
    let mut got = Vec::new();
    for _ in 0..runs.len() {
        worker.credits(1, 0).await;
        let [assign] = worker.assigned().await.try_into().unwrap();
        got.push(assign.run_id);
    }
    let expected: Vec<_> = [0, 4, 1, 5, 2, 3].map(|idx| runs[idx].run_id.clone()).into();
    assert_eq!(got, expected);
    suite.end().await;
}

#[tokio::test]
async fn what_is_no_key_and_no_label_is_refused_by_its_field() {
    let mut suite = start().await;
    let wrong = Delivery {
        fairness_key: "a\nb".to_owned(),
        required_worker_labels: labels(&[("no key", "x")]),
        preferred_worker: "w\0".to_owned(),
        run_id: RunId::new().to_string(),
        ..delivery(&suite)
    };
    let request = EnqueueRunsRequest { deliveries: vec![wrong] };
    let status = suite.deliveries.enqueue_runs(request).await.unwrap_err();
    let details = status.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    let mut fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
    fields.sort_unstable();
    let wrong = ["fairness_key", "preferred_worker", "required_worker_labels"];
    assert_eq!(fields, wrong.map(|field| format!("deliveries[0].{field}")));
    suite.end().await;
}
