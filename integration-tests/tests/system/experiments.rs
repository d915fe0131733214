//! Four experiments that lose work elsewhere: everything is started anew while tasks are queued, a worker with two slots
//! and four tasks is killed, or asked to end, and more tasks are queued than a queue in memory would take, though nobody
//! serves them.

use std::time::Duration;

use tidegate_integration_tests::{Process, Suite, eventually, program, within};
use tidegate_sdk::{Client, RunHandle, gather, proto::StateType};

crate::on_both_forms!(
    queued_tasks_survive_a_restart_of_everything_before_their_first_worker,
    four_tasks_survive_the_kill_of_a_worker_with_two_slots,
    four_tasks_survive_the_orderly_stop_of_a_worker_with_two_slots,
    tasks_that_nobody_serves_neither_get_lost_nor_hold_up_others,
);

const DEADLINE: Duration = Duration::from_secs(120);

async fn queued_tasks_survive_a_restart_of_everything_before_their_first_worker(suite: &mut Suite) {
    let client = suite.client();
    let numbers: Vec<usize> = (0..50).collect();
    let handles = client.task("echo").queue("restarted").delay_many(&numbers).await.unwrap();
    suite.kill_everything_and_restart().await;
    let _worker = suite.worker("restarted");
    let echoes = within("all results", DEADLINE, gather::<usize>(&handles)).await.unwrap();
    assert_eq!(echoes, numbers);
    for handle in &handles {
        let run = handle.get().await.unwrap();
        assert_eq!((run.attempt, run.crashes), (1, 0), "waiting costs nothing: {run:?}");
    }
}

async fn four_tasks_survive_the_kill_of_a_worker_with_two_slots(suite: &Suite) {
    let client = suite.client();
    let mut first = worker_with_two_slots(suite, "killed");
    let handles = client.task("hold_first").queue("killed").delay_many(&[(); 4]).await.unwrap();
    let started = until_two_run(suite, &handles).await;
    first.kill().await;
    let second = worker_with_two_slots(suite, "killed");
    all_end_elsewhere(&client, &handles, &started, second).await;
}

async fn four_tasks_survive_the_orderly_stop_of_a_worker_with_two_slots(suite: &Suite) {
    let client = suite.client();
    let first = worker_with_two_slots(suite, "stopped");
    let handles = client.task("hold_first").queue("stopped").delay_many(&[(); 4]).await.unwrap();
    let started = until_two_run(suite, &handles).await;
    first.stop().await;
    let second = worker_with_two_slots(suite, "stopped");
    all_end_elsewhere(&client, &handles, &started, second).await;
}

async fn tasks_that_nobody_serves_neither_get_lost_nor_hold_up_others(suite: &Suite) {
    /// One more than a bounded queue in memory is known to take.
    const N_TASKS: usize = 1_001;
    let client = suite.client();
    let _worker = suite.worker("shared");
    let numbers: Vec<usize> = (0..N_TASKS).collect();
    let unserved = client.task("nobody_serves_this").queue("shared").delay_many(&numbers);
    let unserved = within("the creates", DEADLINE, unserved).await.unwrap();
    let served = client.task("add").queue("shared").delay(&(20, 3)).await.unwrap();
    assert_eq!(within("a task behind them", DEADLINE, served.result::<i64>()).await.unwrap(), 23);

    let later = client.task("echo").queue("nobody_yet").delay_many(&numbers);
    let later = within("the creates", DEADLINE, later).await.unwrap();
    let _worker = suite.worker("nobody_yet");
    let echoes = within("all results", DEADLINE, gather::<usize>(&later)).await.unwrap();
    assert_eq!(echoes, numbers);
    for handle in [&unserved[0], &unserved[N_TASKS - 1]] {
        assert_eq!(handle.state().await.unwrap().r#type(), StateType::Scheduled);
    }
}

/// A hundred times as many. While they are created, tasks of others in the same queue run; afterwards a worker that serves
/// them gets them.
#[tokio::test]
async fn a_hundred_thousand_tasks_that_nobody_serves_hold_up_neither_creates_nor_others() {
    const N_TASKS: u64 = 100_000;
    const BATCH: u64 = 1_000;
    const DEADLINE: Duration = Duration::from_secs(300);
    let suite = Suite::separate().await;
    let client = suite.client();
    let other = suite.worker("crowded");
    let batch: Vec<_> = (0..BATCH).collect();
    for n in 0..N_TASKS / BATCH {
        let unserved = client.task("nobody_serves_this").queue("crowded").delay_many(&batch);
        within("the creates", DEADLINE, unserved).await.unwrap();
        if n % 20 == 0 {
            let served = client.task("add").queue("crowded").delay(&(n, 3)).await.unwrap();
            assert_eq!(within("a task of others", DEADLINE, served.result::<u64>()).await.unwrap(), n + 3);
        }
    }
    let served = client.task("add").queue("crowded").delay(&(20, 3)).await.unwrap();
    assert_eq!(within("a task behind them", DEADLINE, served.result::<i64>()).await.unwrap(), 23);
    eventually("all of them wait for a worker", DEADLINE, async || {
        let queue = client.core().get_queue("crowded").await.unwrap();
        let depth = queue.queue.unwrap().depth.unwrap();
        assert_eq!(queue.held_runs, 0, "{depth:?}");
        // What came due since a worker of theirs looked last counts as delayed: nobody has looked.
        (depth.ready_runs + depth.delayed_runs == N_TASKS).then_some(())
    })
    .await;

    let (done, mut n_done) = tokio::sync::watch::channel(0_u64);
    let serve = move |_: tidegate_sdk::Context, n: u64| {
        done.send_modify(|n_done| *n_done += 1);
        async move { anyhow::Ok(n) }
    };
    let worker = tidegate_sdk::Worker::builder(client.clone())
        .task("nobody_serves_this", serve)
        .queues(["crowded"])
        .task_slots(100)
        .build()
        .unwrap();
    let stop = tidegate_sdk::CancellationToken::new();
    let served = async {
        within("some of them", DEADLINE, n_done.wait_for(|n| *n >= 500)).await.unwrap();
        stop.cancel();
    };
    let (worked, ()) = tokio::join!(worker.run(stop.clone()), served);
    worked.unwrap();
    let n_done = *n_done.borrow();
    eventually("those that ran are gone from the queue, and no others", DEADLINE, async || {
        let queue = client.core().get_queue("crowded").await.unwrap();
        let depth = queue.queue.unwrap().depth.unwrap();
        (queue.held_runs == 0
            && depth.ready_runs + depth.delayed_runs == N_TASKS - n_done
            && depth.claimed_runs == 0)
            .then_some(())
    })
    .await;
    other.stop().await;
    suite.stop().await;
}

fn worker_with_two_slots(suite: &Suite, queue: &str) -> Process {
    let address = ("TIDEGATE_ADDRESS".to_owned(), suite.address().to_owned());
    Process::start(&program("tidegate-test-worker"), ["serve", queue, "2"], [address])
}

/// The two that run; the others wait for a slot.
async fn until_two_run(suite: &Suite, handles: &[RunHandle]) -> [String; 2] {
    let find = eventually("two run", DEADLINE, async || {
        let mut running = Vec::new();
        for handle in handles {
            let run = handle.get().await.unwrap();
            if run.state.unwrap().r#type() == StateType::Running {
                running.push(run.id);
            }
        }
        <[String; 2]>::try_from(running).ok()
    });
    let running = find.await;
    for handle in handles.iter().filter(|handle| !running.contains(&handle.id().to_owned())) {
        suite.until_state(handle, StateType::Scheduled).await; // the worker has acknowledged nothing
    }
    running
}

/// Those that had only waited are cancelled while they hold on in their first attempt, which shows that waiting had cost
/// them nothing. The second attempts of the two that ran come to an end by themselves.
async fn all_end_elsewhere(client: &Client, handles: &[RunHandle], started: &[String; 2], second: Process) {
    let waited: Vec<_> = handles.iter().filter(|handle| !started.contains(&handle.id().to_owned())).collect();
    for handle in waited {
        let running = eventually("it runs", DEADLINE, async || {
            let run = handle.get().await.unwrap();
            (run.state.as_ref().unwrap().r#type() == StateType::Running).then_some(run)
        });
        let run = running.await;
        assert_eq!((run.attempt, run.crashes), (1, 0), "{run:?}");
        handle.cancel("it has shown that it runs").await.unwrap();
        let error = within("the end", DEADLINE, handle.result::<(u32, u32)>()).await.unwrap_err();
        assert!(error.is_run_cancelled(), "{error}");
    }
    for handle in handles {
        let run = handle.id().to_owned();
        if started.contains(&run) {
            let (attempt, pid): (u32, u32) = within("the result", DEADLINE, handle.result()).await.unwrap();
            assert_eq!((attempt, pid), (2, second.pid()), "{run}");
        }
    }
    let runs = client.core().list_runs(Default::default()).await.unwrap().runs;
    let ids: Vec<_> = handles.iter().map(RunHandle::id).collect();
    let crashes =
        runs.iter().filter(|run| ids.contains(&run.id.as_str())).map(|run| run.crashes).sum::<u32>();
    assert_eq!(crashes, 2, "one for each that ran: {runs:#?}");
}

/// What it had been given and had not started goes back at its SIGTERM: the lease is so long that nothing else explains that
/// others start it soon. What runs may end.
#[tokio::test]
async fn a_worker_that_is_asked_to_end_gives_back_what_it_has_not_started() {
    const LEASE: Duration = Duration::from_secs(600);
    const N_TASKS: usize = 4;
    let suite = Suite::separate_with_lease(LEASE).await;
    let client = suite.client();
    let address = ("TIDEGATE_ADDRESS".to_owned(), suite.address().to_owned());
    let args = ["hesitate", "hesitant", &N_TASKS.to_string()].map(str::to_owned);
    let first = Process::start(&program("tidegate-test-worker"), args, [address]);
    first.line("ready", DEADLINE).await;
    let handles = client.task("whoami").queue("hesitant").delay_many(&[1; N_TASKS]).await.unwrap();
    let states = async || {
        let mut states = Vec::new();
        for handle in &handles {
            states.push(handle.state().await.unwrap().r#type());
        }
        states
    };
    eventually("one runs, and the others were given out", DEADLINE, async || {
        let states = states().await;
        let n_in = |wanted| states.iter().filter(|state| **state == wanted).count();
        (n_in(StateType::Running) == 1 && n_in(StateType::Pending) == N_TASKS - 1).then_some(())
    })
    .await;
    let running = states().await.iter().position(|state| *state == StateType::Running).unwrap();
    let second = suite.worker("hesitant");
    second.line("ready", DEADLINE).await;
    let first_pid = first.pid();
    first.stop().await;
    let pids = within("all results", DEADLINE, gather::<u32>(&handles)).await.unwrap();
    for (n, (handle, pid)) in handles.iter().zip(pids).enumerate() {
        let run = handle.get().await.unwrap();
        assert_eq!((run.attempt, run.crashes, run.retries), (1, 0, 0), "{run:?}");
        let history = client.core().history(handle.id()).await.unwrap();
        let n_released =
            history.iter().filter(|event| event.state.as_ref().unwrap().name == "Released").count();
        // Claimed once; or claimed, released and claimed.
        let expected = if n == running { (first_pid, 0, 1) } else { (second.pid(), 1, 3) };
        assert_eq!((pid, n_released, run.epoch), expected, "{history:#?}");
    }
    second.stop().await;
    suite.stop().await;
}
