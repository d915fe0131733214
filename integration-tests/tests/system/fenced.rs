//! P2 [fenced]: a run never completes twice: a report of an older epoch is refused and changes nothing.

use std::time::Duration;

use tidegate_integration_tests::{Suite, within};
use tidegate_sdk::{
    Client, RunHandle,
    proto::{Payload, RunEvent, StateType, report::Completed, report::Event, report::Started},
};
use tokio::time::{Instant, sleep_until};

use crate::raw_worker::RawWorker;

crate::on_both_forms!(
    a_frozen_worker_cannot_complete_its_run_again,
    reports_of_an_older_epoch_change_nothing,
);

const DEADLINE: Duration = Duration::from_secs(60);
/// Twelve leases of `tidegate dev`, fifteen of the separate form: what a machine that was asleep, or a debugger, makes of a worker.
const FROZEN_FOR: Duration = Duration::from_secs(60);

async fn a_frozen_worker_cannot_complete_its_run_again(suite: &mut Suite) {
    let client = suite.client();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go on");
    let first = suite.worker("frozen");
    let handle = client.task("first_is_late").queue("frozen").delay(&file.to_str().unwrap()).await.unwrap();
    suite.until_state(&handle, StateType::Running).await;
    first.signal("STOP");
    let thaws_at = Instant::now() + FROZEN_FOR;
    let second = suite.worker("frozen");
    assert_eq!(within("the second attempt", DEADLINE, handle.result::<u32>()).await.unwrap(), 2);
    second.stop().await;

    // The first attempt ends late. That its worker goes on to another run shows that it has said so by then.
    std::fs::write(&file, "").unwrap();
    sleep_until(thaws_at).await;
    first.signal("CONT");
    let next = client.task("add").queue("frozen").delay(&(1, 1)).await.unwrap();
    within("the next run", DEADLINE, next.result::<i64>()).await.unwrap();
    first.stop().await;
    assert_eq!(within("the result", DEADLINE, handle.result::<u32>()).await.unwrap(), 2);
    completed_once(&client, &handle).await;
}

async fn reports_of_an_older_epoch_change_nothing(suite: &mut Suite) {
    let client = suite.client();
    let address = suite.worker_address();
    let handle = client.task("fence").queue("fenced").delay(&()).await.unwrap();
    let mut first = RawWorker::connect(&address, "first", "fenced", "fence").await;
    let late = first.assignment().await;
    assert!(first.report(&late, Event::Started(Started {})).await.accepted);
    // It falls silent, as one that was cut off would: the stream goes, and no heartbeat comes.
    drop(first);
    suite.until_state(&handle, StateType::Scheduled).await;
    let mut second = RawWorker::connect(&address, "second", "fenced", "fence").await;
    let current = second.assignment().await;
    assert_eq!((current.run_id.as_str(), current.attempt), (handle.id(), 2));
    assert!(current.epoch > late.epoch, "{current:?}");
    let _held = second.keep(&current);

    let mut first = RawWorker::connect(&address, "first", "fenced", "fence").await;
    for event in [Event::Started(Started {}), completed("1"), Event::Cancelled(Default::default())] {
        let refused = first.report(&late, event).await;
        assert_eq!((refused.accepted, refused.reason.as_str()), (false, "STALE_EPOCH"), "{refused:?}");
    }
    assert_eq!(handle.state().await.unwrap().r#type(), StateType::Pending, "the second has not started yet");

    assert!(second.report(&current, Event::Started(Started {})).await.accepted);
    let accepted = second.report(&current, completed("2")).await;
    assert!(accepted.accepted, "{accepted:?}");
    let repeated = second.report(&current, completed("2")).await;
    assert!(repeated.accepted, "a repeat is answered alike: {repeated:?}");
    let refused = first.report(&late, completed("3")).await;
    assert_eq!(refused.reason, "STALE_EPOCH", "{refused:?}");
    assert_eq!(within("the result", DEADLINE, handle.result::<i64>()).await.unwrap(), 2);
    completed_once(&client, &handle).await;
}

async fn completed_once(client: &Client, handle: &RunHandle) {
    let history = client.core().history(handle.id()).await.unwrap();
    let is_completed = |event: &&RunEvent| event.state.as_ref().unwrap().r#type() == StateType::Completed;
    assert_eq!(history.iter().filter(is_completed).count(), 1, "{history:#?}");
    assert!(history.windows(2).all(|pair| pair[1].epoch >= pair[0].epoch), "epochs only grow: {history:#?}");
}

fn completed(json: &'static str) -> Event {
    let metadata = [("encoding".to_owned(), "json/plain".into())].into();
    Event::Completed(Completed {
        result: Some(Payload { metadata, data: json.into(), reference: None }),
        ..Default::default()
    })
}
