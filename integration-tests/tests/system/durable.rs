//! P1 [durable]: when a create call has returned, the run exists, whatever dies then.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tidegate_integration_tests::{Suite, eventually, within};
use tidegate_sdk::{CancellationToken, Client, RunHandle, gather};
use tokio::task::JoinSet;

crate::on_both_forms!(what_was_created_is_there_after_every_process_was_killed);

const N_CALLERS: i64 = 6;
const N_KILLS: usize = 3;
const DEADLINE: Duration = Duration::from_secs(120);

/// The runs whose create returned, with the sum that each is to give.
type Created = Arc<Mutex<Vec<(String, i64)>>>;

async fn what_was_created_is_there_after_every_process_was_killed(suite: &mut Suite) {
    let (created, stop) = (Created::default(), CancellationToken::new());
    let mut callers = JoinSet::new();
    for caller in 0..N_CALLERS {
        callers.spawn(call_until(stop.clone(), suite.client(), caller, Arc::clone(&created)));
    }
    let n_created = || created.lock().unwrap().len();
    for _ in 0..N_KILLS {
        let enough = n_created() + 100;
        eventually("further creates", DEADLINE, async || (n_created() >= enough).then_some(())).await;
        suite.kill_everything_and_restart().await;
    }
    stop.cancel();
    callers.join_all().await;

    let client = suite.client();
    let _worker = suite.worker("durable");
    let (ids, sums): (Vec<_>, Vec<_>) = std::mem::take(&mut *created.lock().unwrap()).into_iter().unzip();
    let handles: Vec<RunHandle> = ids.iter().map(|id| client.handle(id)).collect();
    let results = within("all results", DEADLINE, gather::<i64>(&handles)).await.unwrap();
    assert_eq!(results, sums);
}

/// Creates one run after the other until `stop`, also while nobody answers.
async fn call_until(stop: CancellationToken, client: Client, caller: i64, created: Created) {
    for n in 0.. {
        let call = client.task("add").queue("durable");
        let Some(answer) = stop.run_until_cancelled(call.delay(&(n, caller))).await else { return };
        // A call that fails has promised nothing.
        if let Ok(handle) = answer {
            created.lock().unwrap().push((handle.id().to_owned(), n + caller));
        }
    }
}
