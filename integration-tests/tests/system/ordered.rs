//! P7 [ordered]: the history of a run is a sequence without gaps, whatever happened to it.

use std::{collections::HashMap, pin::pin, time::Duration};

use futures::StreamExt as _;
use tidegate_integration_tests::{Suite, within};
use tidegate_sdk::{
    RunHandle, gather_all,
    proto::{RunEvent, StateType, WatchRunsRequest},
};

crate::on_both_forms!(histories_have_no_gap_after_retries_cancels_and_kills);

const N_TASKS: u32 = 60;
const DEADLINE: Duration = Duration::from_secs(120);

async fn histories_have_no_gap_after_retries_cancels_and_kills(suite: &mut Suite) {
    let client = suite.client();
    let mut first = suite.worker("ordered");
    // The n-th fails n % 3 times first.
    let attempts: Vec<u32> = (0..N_TASKS).map(|n| n % 3 + 1).collect();
    let retried = client.task("fail_until").queue("ordered").retries(2).delay_many(&attempts).await.unwrap();
    let held = client.task("hold_first").queue("ordered").delay_many(&[(); 10]).await.unwrap();
    for handle in &held {
        suite.until_state(handle, StateType::Running).await;
    }
    first.kill().await;
    suite.kill_everything_and_restart().await;
    let client = suite.client();
    let handles: Vec<RunHandle> =
        held.iter().chain(&retried).map(|handle| client.handle(handle.id())).collect();
    // Half of those whose worker is gone are cancelled while nobody is there who could end them otherwise.
    let (cancelled, kept) = handles.split_at(held.len() / 2);
    for handle in cancelled {
        handle.cancel("enough").await.unwrap();
    }
    let _second = suite.worker("ordered");
    let ended = within("all ends", DEADLINE, gather_all::<serde_json::Value>(&handles)).await;
    let (of_cancelled, of_kept) = ended.split_at(cancelled.len());
    for result in of_cancelled {
        assert!(result.as_ref().is_err_and(tidegate_sdk::Error::is_run_cancelled), "{result:?}");
    }
    let n_failed = of_kept.iter().filter(|result| result.is_err()).count();
    assert_eq!(n_failed, 0, "none of {} was lost: {ended:?}", kept.len());

    let mut watched = past_events(&client, &handles).await;
    for handle in &handles {
        let history = client.core().history(handle.id()).await.unwrap();
        assert!(history.iter().map(|event| event.seq).eq(1..=history.len() as u64), "{history:#?}");
        assert!(history.windows(2).all(|pair| pair[1].epoch >= pair[0].epoch), "{history:#?}");
        let run = handle.get().await.unwrap();
        assert_eq!(history.last().unwrap().state, run.state, "the row is where its history ends");
        assert_eq!(run.event_seq, history.len() as u64);
        assert_eq!(watched.remove(handle.id()).unwrap(), history, "a watch tells the same");
    }
}

/// What a watch from the start tells of each run.
async fn past_events(client: &tidegate_sdk::Client, handles: &[RunHandle]) -> HashMap<String, Vec<RunEvent>> {
    let run_ids = handles.iter().map(|handle| handle.id().to_owned()).collect();
    let request = WatchRunsRequest { run_ids, from_start: true, until_ended: true, ..Default::default() };
    let mut watch = pin!(client.core().watch(request));
    let mut events: HashMap<String, Vec<RunEvent>> = HashMap::new();
    while let Some(response) = within("the end of the watch", DEADLINE, watch.next()).await {
        for event in response.unwrap().events {
            events.entry(event.run_id.clone()).or_default().push(event);
        }
    }
    events
}
