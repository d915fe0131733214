//! What a worker that falls short costs: the run, nothing; other runs, nothing either.

use std::time::Duration;

use tidegate_integration_tests::{Suite, within};
use tidegate_sdk::{
    core::payload,
    proto::{
        NewRun, Policies, RunKind, StateType, new_run::Placement, report::Completed, report::Event,
        report::Started,
    },
};

use crate::raw_worker::RawWorker;

crate::on_both_forms!(a_run_that_its_worker_does_not_start_goes_back_at_no_cost);

const DEADLINE: Duration = Duration::from_secs(60);

async fn a_run_that_its_worker_does_not_start_goes_back_at_no_cost(suite: &Suite) {
    let client = suite.client();
    let policies = Policies {
        start_timeout: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
        ..Default::default()
    };
    let run = NewRun {
        kind: RunKind::Task.into(),
        name: "slow-to-start".to_owned(),
        placement: Some(Placement::Queue("late".to_owned())),
        policies: Some(policies),
        ..Default::default()
    };
    let handle = client.handle(&client.core().create_run(run).await.unwrap().id);
    let address = suite.worker_address();
    let mut first = RawWorker::connect(&address, "first", "late", "slow-to-start").await;
    let kept = first.assignment().await;
    // It lives, and says so, but not that the code starts.
    let _held = first.keep(&kept);
    // Only then is there a second: one that is silent for so long gets nothing.
    suite.until_state(&handle, StateType::Scheduled).await;
    let mut second = RawWorker::connect(&address, "second", "late", "slow-to-start").await;
    let assign = second.assignment().await;
    assert_eq!((assign.run_id.as_str(), assign.attempt), (handle.id(), 1), "no attempt was begun");
    assert!(assign.epoch > kept.epoch, "{assign:?}");
    // At once: its own time to start has begun.
    assert!(second.report(&assign, Event::Started(Started {})).await.accepted);
    let _held = second.keep(&assign);
    let late = first.report(&kept, Event::Started(Started {})).await;
    assert_eq!((late.accepted, late.reason.as_str()), (false, "STALE_EPOCH"));
    let result = Some(payload::json(b"7".to_vec()));
    assert!(
        second.report(&assign, Event::Completed(Completed { result, ..Default::default() })).await.accepted
    );
    assert_eq!(within("the result", DEADLINE, handle.result::<i64>()).await.unwrap(), 7);

    let run = client.core().get_run(handle.id()).await.unwrap();
    assert_eq!((run.attempt, run.crashes, run.retries), (1, 0, 0), "{run:?}");
    let history = client.core().history(handle.id()).await.unwrap();
    let names: Vec<_> = history.iter().map(|event| event.state.as_ref().unwrap().name.as_str()).collect();
    assert_eq!(names.iter().filter(|name| **name == "Released").count(), 1, "{names:?}");
    assert!(history.iter().all(|event| event.state.as_ref().unwrap().r#type() != StateType::Crashed));
}
