//! P1: Redis can be wiped at any moment; every undelivered run is delivered again from the store.

use std::time::Duration;

use tidegate_integration_tests::{Suite, eventually, within};
use tidegate_sdk::{gather, proto::StateType};

const N_TASKS: i64 = 1_000;
const N_SLOTS: u32 = 16;

#[tokio::test]
async fn a_wiped_redis_loses_none_of_a_thousand_queued_tasks() {
    let suite = Suite::separate().await;
    let client = suite.client();
    let params: Vec<_> = (0..N_TASKS).map(|n| (n, 1)).collect();
    let handles = client.task("add").queue("wiped").delay_many(&params).await.unwrap();
    let redis = suite.redis().unwrap();
    eventually("the deliveries are in Redis", Duration::from_secs(10), async || {
        (redis.n_keys().await > 0).then_some(())
    })
    .await;
    redis.flush_all().await;

    let _worker = suite.worker("wiped");
    let sums = within("all results", Duration::from_secs(120), gather::<i64>(&handles)).await.unwrap();
    assert!(sums.into_iter().eq(1..=N_TASKS));
    let filter = "name = \"add\" AND state = COMPLETED AND attempt = 1".to_owned();
    let request = tidegate_sdk::proto::ListRunsRequest { filter, page_size: 1_000, ..Default::default() };
    let once = client.core().list_runs(request).await.unwrap().runs;
    assert_eq!(once.len(), usize::try_from(N_TASKS).unwrap(), "each ran once");
    suite.stop().await;
}

#[tokio::test]
async fn a_wiped_redis_takes_nothing_from_a_worker_that_lives() {
    let suite = Suite::separate().await;
    let client = suite.client();
    let worker = suite.worker("wiped");
    let handle = client.task("hold").queue("wiped").delay(&()).await.unwrap();
    suite.until_state(&handle, StateType::Running).await;
    suite.redis().unwrap().flush_all().await;
    // Longer than a lease: the run goes on, and the cancel finds its way.
    let lease = suite.lease();
    tokio::time::sleep(lease * 2).await;
    handle.cancel("enough").await.unwrap();
    let error = within("the end", Duration::from_secs(30), handle.result::<()>()).await.unwrap_err();
    assert!(error.is_run_cancelled(), "{error}");
    assert_eq!(client.core().get_run(handle.id()).await.unwrap().crashes, 0);
    drop(worker);
    suite.stop().await;
}

#[tokio::test]
async fn a_redis_that_forgets_its_scripts_or_dies_with_tasks_in_flight_loses_none() {
    let mut suite = Suite::separate().await;
    let client = suite.client();
    let _worker = suite.worker_with_slots("in-flight", N_SLOTS);
    let params: Vec<_> = (0..N_TASKS).map(|n| (n, 1)).collect();
    let folder = tempfile::tempdir().unwrap();
    for dies in [false, true] {
        let handles = client.task("add").queue("in-flight").delay_many(&params).await.unwrap();
        let (first, _) = handles.split_first().unwrap();
        // Some are on their way, or through.
        within("one result", Duration::from_secs(120), first.result::<i64>()).await.unwrap();
        // More than the worker has slots, and none of them ends before there is a file: however fast the others are, some
        // are held and some wait when it happens.
        let file = folder.path().join(format!("dies: {dies}"));
        let files = vec![file.to_str().unwrap(); N_SLOTS as usize + 4];
        let late = client.task("first_is_late").queue("in-flight").delay_many(&files).await.unwrap();
        suite.until_state(&late[0], StateType::Running).await;
        if dies {
            suite.redis_mut().unwrap().kill_and_restart().await;
        } else {
            suite.redis().unwrap().flush_scripts().await;
        }
        std::fs::write(&file, "").unwrap();
        let attempts = within("the late ones", Duration::from_secs(120), gather::<u32>(&late)).await.unwrap();
        assert_eq!(attempts, vec![1; late.len()], "dies: {dies}");
        let sums = within("all results", Duration::from_secs(120), gather::<i64>(&handles)).await.unwrap();
        assert!(sums.into_iter().eq(1..=N_TASKS), "dies: {dies}");
    }
    suite.stop().await;
}
