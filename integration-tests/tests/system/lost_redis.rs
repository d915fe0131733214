//! P1: Redis can be wiped at any moment; every undelivered run is delivered again from the store.

use std::time::Duration;

use tidegate_integration_tests::{Suite, eventually, within};
use tidegate_sdk::{
    Client, gather,
    proto::{ListRunsRequest, StateType},
};

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
        let late = client.task("first_is_late").queue("in-flight").priority(1);
        let late = late.delay_many(&files).await.unwrap();
        // Whichever: a busy api writes them in several batches, and those of the first may take all slots.
        eventually("one of the late ones is executed", Duration::from_secs(60), async || {
            let filter = "name = \"first_is_late\" AND state = RUNNING".to_owned();
            let request = ListRunsRequest { filter, page_size: 1, ..Default::default() };
            let running = client.core().list_runs(request).await.unwrap().runs;
            (!running.is_empty()).then_some(())
        })
        .await;
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

const DEADLINE: Duration = Duration::from_secs(120);

/// With nothing, or with what it had a moment before, as chance has it, while tasks come and are executed.
#[tokio::test]
async fn a_redis_that_is_killed_twenty_times_loses_nothing_and_has_nothing_executed_twice() {
    const N_KILLS: usize = 20;
    const BATCH: usize = 10;
    let mut chance = Chance::new();
    let mut suite = Suite::separate().await;
    let client = suite.client();
    let worker = suite.worker("killed");
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (notes, go_on) = (at("notes"), at("go on"));
    let held = client.task("first_is_late").queue("killed").delay_many(&[&go_on; 4]).await.unwrap();
    for handle in &held {
        suite.until_state(handle, StateType::Running).await;
    }
    let mut handles = Vec::new();
    for n in 0..N_KILLS {
        let redis = suite.redis_mut().unwrap();
        let saves = chance.below(2) == 1;
        if saves {
            redis.save().await;
        }
        let kill = async {
            tokio::time::sleep(Duration::from_millis(chance.below(300))).await;
            if saves { redis.kill_and_restart_saved().await } else { redis.kill_and_restart().await }
        };
        let create = async {
            let names: Vec<_> = (0..BATCH).map(|idx| (notes.clone(), format!("{n}-{idx}"))).collect();
            client.task("note").queue("killed").delay_many(&names).await.unwrap()
        };
        // Without Redis, too, a run is created.
        let ((), created) = tokio::join!(kill, create);
        handles.extend(created);
    }
    let names = within("all results", DEADLINE, gather::<String>(&handles)).await.unwrap();
    std::fs::write(&go_on, "").unwrap();
    let attempts = within("those that ran meanwhile", DEADLINE, gather::<u32>(&held)).await.unwrap();
    assert_eq!(attempts, vec![1; held.len()]);
    executed_once(&client, &notes, names).await;
    worker.stop().await;
    suite.stop().await;
}

/// Entries of runs that have ended are there again, and those of open runs are not.
#[tokio::test]
async fn a_redis_of_an_older_state_than_the_store_loses_nothing_and_has_nothing_executed_twice() {
    const N_TASKS: usize = 20;
    let mut suite = Suite::separate().await;
    let client = suite.client();
    let folder = tempfile::tempdir().unwrap();
    let notes = folder.path().join("notes").to_str().unwrap().to_owned();
    let queue = async |part: &str| {
        let names: Vec<_> = (0..N_TASKS).map(|n| (notes.clone(), format!("{part}-{n}"))).collect();
        client.task("note").queue("restored").delay_many(&names).await.unwrap()
    };
    // None: Redis is not to be had at the moment, of which a queue is told without its depth.
    let depth = async || {
        let queue = client.core().get_queue("restored").await.unwrap();
        let depth = queue.queue.unwrap().depth?;
        Some(depth.ready_runs + depth.delayed_runs + depth.claimed_runs)
    };
    let until_depth = async |n: usize| {
        eventually("so many wait", DEADLINE, async || (depth().await == Some(n as u64)).then_some(())).await;
    };
    let over = queue("over").await;
    until_depth(N_TASKS).await;
    suite.redis().unwrap().save().await;
    let worker = suite.worker("restored");
    let mut names = within("the first results", DEADLINE, gather::<String>(&over)).await.unwrap();
    worker.stop().await;
    let open = queue("open").await;
    until_depth(N_TASKS).await;

    suite.redis_mut().unwrap().kill_and_restart_saved().await;
    // Not only once deliveries are old enough to be made again, which takes a minute.
    eventually("those of both are there", Duration::from_secs(30), async || {
        (depth().await == Some(2 * N_TASKS as u64)).then_some(())
    })
    .await;
    let worker = suite.worker("restored");
    names.extend(within("the other results", DEADLINE, gather::<String>(&open)).await.unwrap());
    until_depth(0).await;
    executed_once(&client, &notes, names).await;
    worker.stop().await;
    suite.stop().await;
}

/// By what the code wrote, and by what the store knows.
async fn executed_once(client: &Client, notes: &str, mut names: Vec<String>) {
    let notes = std::fs::read_to_string(notes).unwrap();
    let mut noted: Vec<_> = notes.lines().collect();
    noted.sort_unstable();
    names.sort_unstable();
    assert_eq!(noted, names);
    for twice in ["attempt > 1", "crashes > 0", "NOT state = COMPLETED"] {
        let request = ListRunsRequest { filter: twice.to_owned(), ..Default::default() };
        let runs = client.core().list_runs(request).await.unwrap().runs;
        assert!(runs.is_empty(), "{twice}: {runs:#?}");
    }
}

/// Numbers from a seed that is told (splitmix64).
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let seed = match std::env::var("TIDEGATE_TEST_SEED") {
            Ok(seed) => seed.parse().expect("the seed is a number"),
            Err(_) => u64::from(std::process::id()),
        };
        println!("TIDEGATE_TEST_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 32) % bound
    }
}
