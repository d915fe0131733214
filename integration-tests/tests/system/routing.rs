//! Whose turn it is, and which worker gets a run: fairness keys, labels, and runs that stay with their parent's worker.

use std::{collections::HashMap, time::Duration};

use tidegate_integration_tests::{Suite, eventually, within};
use tidegate_sdk::{
    Client, RunHandle,
    proto::{Explanation, StateType, wait::Subject},
};

crate::on_both_forms!(
    one_customer_with_many_tasks_keeps_no_other_waiting,
    runs_go_to_workers_with_the_labels_that_they_require,
    a_run_that_no_worker_may_take_is_explained_and_blocks_nobody,
    labels_keys_and_places_survive_the_loss_of_everything_but_the_store,
    a_sticky_child_stays_with_the_worker_of_its_parent,
);

const DEADLINE: Duration = Duration::from_secs(120);
const N_MANY: usize = 2_000;
const N_OTHERS: usize = 9;
const N_FEW: usize = 10;

/// Judged by the order in which tasks start: by when all others are through, the large one has had a turn in each round.
async fn one_customer_with_many_tasks_keeps_no_other_waiting(suite: &mut Suite) {
    let client = suite.client();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("starts").to_str().unwrap().to_owned();
    let note = |customer: &str, n: usize| {
        let calls: Vec<_> = (0..n).map(|_| (path.clone(), customer.to_owned())).collect();
        let call = client.task("note").queue("fair").fairness_key(customer);
        async move { call.delay_many(&calls).await.unwrap() }
    };
    note("many", N_MANY).await;
    let mut few = Vec::new();
    for n in 0..N_OTHERS {
        few.extend(note(&format!("few-{n}"), N_FEW).await);
    }
    // In delivery, the last too: before a worker comes, so that the order is not that of the hand-over.
    for run in &few {
        until_ready(&client, run).await;
    }
    let worker = suite.worker_with_slots("fair", 1);
    for run in &few {
        within("the end of a run", DEADLINE, run.wait()).await.unwrap();
    }
    were_in_turn(&path, N_OTHERS, N_FEW);
    worker.stop().await;
}

async fn runs_go_to_workers_with_the_labels_that_they_require(suite: &mut Suite) {
    let client = suite.client();
    let plain = suite.worker_with_slots("labels", 16);
    let gpu = suite.worker_with_labels("labels", 2, &["gpu=true", "zone=a"]);
    // Until the one without labels takes part, as it does in all that follows: it has far more free slots.
    until_takes_part(&client, "labels", plain.pid()).await;
    // Each fails twice, so that it is delivered three times.
    let call = client.task("whoami").queue("labels").require_labels([("gpu", "true")]).retries(2);
    let needy = call.delay_many(&[3; 10]).await.unwrap();
    let call = client.task("whoami").queue("labels").require_labels([("zone", "a"), ("gpu", "true")]);
    let needier = call.delay_many(&[1; 10]).await.unwrap();
    for run in needy.iter().chain(&needier) {
        let pid: u32 = within("the end of a run", DEADLINE, run.result()).await.unwrap();
        assert_eq!(pid, gpu.pid());
    }
    let shown = needier[0].get().await.unwrap();
    assert_eq!(shown.required_worker_labels.len(), 2, "{shown:?}");
    for worker in [plain, gpu] {
        worker.stop().await;
    }
}

async fn a_run_that_no_worker_may_take_is_explained_and_blocks_nobody(suite: &mut Suite) {
    let client = suite.client();
    let worker = suite.worker_with_labels("nobody", 4, &["gpu=false"]);
    let call = client.task("add").queue("nobody").priority(100).require_labels([("gpu", "true")]);
    let stuck = call.delay_many(&[(1, 2); 50]).await.unwrap();
    let others = client.task("add").queue("nobody").delay_many(&[(1, 2); 50]).await.unwrap();
    for run in &others {
        assert_eq!(within("the end of a run", DEADLINE, run.result::<i64>()).await.unwrap(), 3);
    }
    for run in &stuck {
        assert_eq!(run.state().await.unwrap().r#type(), StateType::Scheduled);
    }
    let explanation = until_ready(&client, &stuck[0]).await;
    let Some(Subject::Worker(wait)) = subject(&explanation) else { panic!("{explanation:#?}") };
    assert_eq!((wait.n_workers, wait.n_serving), (0, 1), "{explanation:#?}");
    assert!(explanation.summary.contains("`gpu=true`"), "{}", explanation.summary);
    for run in &stuck {
        run.cancel("no such worker").await.unwrap();
    }
    worker.stop().await;
}

async fn labels_keys_and_places_survive_the_loss_of_everything_but_the_store(suite: &mut Suite) {
    let client = suite.client();
    let call = client.task("whoami").queue("wiped").require_labels([("gpu", "true")]).fairness_key("a, b");
    let needy = call.delay_many(&[1; 10]).await.unwrap();
    let free = client.task("whoami").queue("wiped").delay(&1).await.unwrap();
    for run in &needy {
        until_ready(&client, run).await;
    }
    suite.kill_everything_and_restart().await;

    let plain = suite.worker_with_slots("wiped", 16);
    let pid: u32 = within("the end of a run", DEADLINE, free.result()).await.unwrap();
    assert_eq!(pid, plain.pid());
    for run in &needy {
        until_ready(&client, run).await;
        assert_eq!(run.get().await.unwrap().fairness_key, "a, b");
    }
    let gpu = suite.worker_with_labels("wiped", 2, &["gpu=true"]);
    for run in &needy {
        let pid: u32 = within("the end of a run", DEADLINE, run.result()).await.unwrap();
        assert_eq!(pid, gpu.pid());
    }
    for worker in [plain, gpu] {
        worker.stop().await;
    }
}

async fn a_sticky_child_stays_with_the_worker_of_its_parent(suite: &mut Suite) {
    let client = suite.client();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("go").to_str().unwrap().to_owned();
    let small = suite.worker_with_slots("sticky", 1);
    let flow = client.flow("stays").queue("sticky").delay(&path).await.unwrap();
    suite.until_state(&flow, StateType::Running).await;
    let large = suite.worker_with_slots("sticky", 16);
    // As it does in all that follows: it has far more free slots.
    until_takes_part(&client, "sticky", large.pid()).await;
    std::fs::write(&path, "").unwrap();
    let (pid, children): (u32, Vec<u32>) =
        within("the end of the flow", DEADLINE, flow.result()).await.unwrap();
    assert_eq!((pid, children), (small.pid(), vec![pid; 5]));
    for worker in [small, large] {
        worker.stop().await;
    }
}

/// Waits until a worker gets runs that any worker may have.
async fn until_takes_part(client: &Client, queue: &str, pid: u32) {
    eventually("the worker takes part", DEADLINE, async || {
        let run = client.task("whoami").queue(queue).delay(&1).await.unwrap();
        let executed_by: u32 = within("the end of a run", DEADLINE, run.result()).await.unwrap();
        (executed_by == pid).then_some(())
    })
    .await;
}

/// Waits until a run is in delivery, and tells what it waits for.
async fn until_ready(client: &Client, run: &RunHandle) -> Explanation {
    eventually("it is in delivery", DEADLINE, async || {
        let explanation = client.core().explain_run(run.id()).await.unwrap();
        matches!(subject(&explanation), Some(Subject::Worker(_))).then_some(explanation)
    })
    .await
}

/// What decides now.
fn subject(explanation: &Explanation) -> Option<Subject> {
    explanation.waits.first().and_then(|wait| wait.subject.clone())
}

/// By the customers of the starts in the file `path`: each of `n_others` had its `n_few` before "many" had more than its turns.
pub fn were_in_turn(path: &str, n_others: usize, n_few: usize) {
    let starts = std::fs::read_to_string(path).unwrap();
    let mut n_starts: HashMap<&str, usize> = HashMap::new();
    let mut n_left = n_others * n_few;
    for customer in starts.lines() {
        *n_starts.entry(customer).or_default() += 1;
        n_left -= usize::from(customer != "many");
        if n_left == 0 {
            break;
        }
    }
    assert_eq!((n_left, n_starts.len()), (0, n_others + 1), "{n_starts:?}");
    // A turn for each round, before it and after it.
    let most = n_few + 2;
    assert!(n_starts["many"] <= most, "it had {} starts, not {most}", n_starts["many"]);
}
