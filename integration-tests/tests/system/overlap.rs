//! How many jobs are executed at once, by the overlap policy of a schedule and by the limit of a worker: real workers, and
//! jobs that tell by files.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use tidegate_integration_tests::{Process, Suite, eventually, program, within};
use tidegate_sdk::proto::{
    self, CatchUpPolicy, CronTimetable, DeploymentSpec, OverlapPolicy, ScheduleSpec, StateType, WorkPoolSpec,
    WorkPoolType, schedule_service_client::ScheduleServiceClient, schedule_spec::Timetable,
};
use tonic::transport::Endpoint;

const DEADLINE: Duration = Duration::from_secs(120);

crate::on_both_forms!(
    a_time_that_comes_while_a_run_is_held_does_as_the_policy_says,
    a_worker_of_one_slot_executes_one_job_at_a_time,
    a_run_that_requires_a_label_is_executed_by_the_worker_that_has_it,
);

/// A worker of a pool, which it makes where it is not there.
async fn worker(suite: &Suite, pool: &str, data: &Path, more: &[&str]) -> Process {
    let spec = WorkPoolSpec { r#type: WorkPoolType::Process.into(), ..Default::default() };
    suite.client().core().create_work_pool(pool, spec, true).await.unwrap();
    let data = data.to_str().unwrap();
    let args =
        ["worker", "start", "--pool", pool, "--data-dir", data].into_iter().chain(more.iter().copied());
    Process::start(&program("tidegate"), args, [("TIDEGATE_ADDRESS".to_owned(), suite.address().to_owned())])
}

/// A deployment whose runs execute a script of the shell.
async fn deploy(suite: &Suite, name: &str, pool: &str, script: String) {
    let command = vec!["sh".to_owned(), "-c".to_owned(), script];
    let spec = DeploymentSpec { work_pool: pool.to_owned(), command, ..Default::default() };
    suite.client().core().create_deployment(name, spec, false).await.unwrap();
}

/// The states of a deployment's runs, by the time that each is for.
async fn states(suite: &Suite, deployment: &str) -> Vec<(StateType, String)> {
    let filter = format!("deployment = {deployment}");
    let request = proto::ListRunsRequest { filter, ..Default::default() };
    let mut runs = suite.client().core().list_runs(request).await.unwrap().runs;
    runs.sort_by_key(|run| run.fire_at.map(|at| at.seconds));
    let states = runs.into_iter().map(|run| run.state.unwrap());
    states.map(|state| (state.r#type(), state.name)).collect()
}

#[expect(clippy::disallowed_methods, reason = "the times of schedules are those of the clock")]
fn in_seconds(seconds: i64) -> Option<prost_types::Timestamp> {
    let now = prost_types::Timestamp::from(SystemTime::now()).seconds;
    Some(prost_types::Timestamp { seconds: now + seconds, nanos: 0 })
}

async fn a_time_that_comes_while_a_run_is_held_does_as_the_policy_says(suite: &Suite) {
    use StateType::{Cancelled, Completed, Running, Scheduled};

    let folder = tempfile::tempdir().unwrap();
    let worker = worker(suite, "overlap", &folder.path().join("worker"), &["--limit", "10"]).await;
    let channel = Endpoint::from_shared(suite.address().to_owned()).unwrap().connect_lazy();
    let mut schedules = ScheduleServiceClient::new(channel);
    let cases = [
        ("allow", OverlapPolicy::Allow, [Running, Running], [Completed, Completed]),
        ("skip", OverlapPolicy::Skip, [Running, Cancelled], [Completed, Cancelled]),
        ("queue", OverlapPolicy::Queue, [Running, Scheduled], [Completed, Completed]),
        ("cancel", OverlapPolicy::CancelRunning, [Cancelled, Running], [Cancelled, Completed]),
    ];
    for (name, overlap, _, _) in cases {
        let go = folder.path().join(name);
        let script = format!("while ! test -e {}; do sleep 0.05; done", go.display());
        let deployment = format!("etl/{name}");
        deploy(suite, &deployment, "overlap", script).await;
        let cron = CronTimetable { expression: "* * * * * *".to_owned(), day_and: false };
        // Two times; the first is still to come when the schedule is made.
        let start_at = in_seconds(5);
        let spec = ScheduleSpec {
            timetable: Some(Timetable::Cron(cron)),
            start_at,
            end_at: start_at.map(|at| prost_types::Timestamp { seconds: at.seconds + 2, ..at }),
            catch_up: CatchUpPolicy::All.into(),
            overlap: overlap.into(),
            ..Default::default()
        };
        let spec = Some(spec);
        let request =
            proto::CreateScheduleRequest { deployment, name: "s".into(), spec, ..Default::default() };
        schedules.create_schedule(request).await.unwrap();
    }
    for (name, _, while_held, at_last) in cases {
        let are = async |wanted: [StateType; 2]| {
            let what = format!("the runs of `{name}` are {wanted:?}");
            eventually(&what, DEADLINE, async || {
                let states = states(suite, &format!("etl/{name}")).await;
                states.iter().map(|(state, _)| *state).eq(wanted).then_some(states)
            })
            .await
        };
        let told = are(while_held).await;
        match name {
            "skip" => assert_eq!(told[1].1, "Skipped"),
            "queue" => {
                let waits = "the later one waits for the slot";
                eventually(waits, DEADLINE, async || {
                    let states = states(suite, "etl/queue").await;
                    (states[1].1 == "AwaitingConcurrencySlot").then_some(())
                })
                .await;
            }
            _ => {}
        }
        std::fs::write(folder.path().join(name), "").unwrap();
        are(at_last).await;
    }
    worker.stop().await;
}

async fn a_worker_of_one_slot_executes_one_job_at_a_time(suite: &Suite) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    // `mkdir` is for one alone: who comes while another is there tells so.
    let (there, twice) = (at("there"), at("twice"));
    let script = format!("mkdir {there} || touch {twice}; sleep 0.2; rmdir {there}");
    let worker = worker(suite, "narrow", &folder.path().join("worker"), &["--limit", "1"]).await;
    deploy(suite, "etl/narrow", "narrow", script).await;
    let client = suite.client();
    let mut runs = Vec::new();
    for _ in 0..4 {
        runs.push(client.deployment("etl/narrow").delay(&serde_json::json!({})).await.unwrap());
    }
    for run in &runs {
        within("the end of a job", DEADLINE, run.wait()).await.unwrap();
        suite.until_state(run, StateType::Completed).await;
    }
    assert!(!Path::new(&twice).exists(), "two jobs were there at once");
    worker.stop().await;
}

async fn a_run_that_requires_a_label_is_executed_by_the_worker_that_has_it(suite: &Suite) {
    let folder = tempfile::tempdir().unwrap();
    let (plain, harbour) = (folder.path().join("plain"), folder.path().join("harbour"));
    let told = folder.path().join("told");
    let without = worker(suite, "labelled", &plain, &[]).await;
    deploy(suite, "etl/labelled", "labelled", format!("pwd >> {}", told.display())).await;
    let client = suite.client();
    let call = client.deployment("etl/labelled").require_labels([("site", "harbour")]);
    let waiting = call.delay(&serde_json::json!({})).await.unwrap();
    let other = client.deployment("etl/labelled").delay(&serde_json::json!({})).await.unwrap();
    within("the run of any worker", DEADLINE, other.wait()).await.unwrap();
    suite.until_state(&waiting, StateType::Scheduled).await;
    let with = worker(suite, "labelled", &harbour, &["--label", "site=harbour"]).await;
    within("the run of the other worker", DEADLINE, waiting.wait()).await.unwrap();
    suite.until_state(&waiting, StateType::Completed).await;
    let told = std::fs::read_to_string(&told).unwrap();
    let places: Vec<_> = told.lines().map(|line| Path::new(line).starts_with(&harbour)).collect();
    assert_eq!(places, [false, true], "{told}");
    without.stop().await;
    with.stop().await;
}
