//! Schedules: each of their times makes one run, whoever dies, and however long nobody looked.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use tidegate_integration_tests::{Database, Suite, eventually};
use tidegate_sdk::proto::{
    self, CatchUpPolicy, CronTimetable, DeploymentSpec, Function, Hello, RunKind, ScheduleSpec,
    report::{Completed, Event, Started},
    schedule_service_client::ScheduleServiceClient,
    schedule_spec::Timetable,
};
use tonic::transport::{Channel, Endpoint};

use crate::raw_worker::RawWorker;

const DEADLINE: Duration = Duration::from_secs(120);
const NIGHTLY: &str = "etl/nightly";

fn schedules(suite: &Suite) -> ScheduleServiceClient<Channel> {
    let channel = Endpoint::from_shared(suite.address().to_owned()).unwrap().connect_lazy();
    ScheduleServiceClient::new(channel)
}

fn cron(expression: &str) -> ScheduleSpec {
    let cron = CronTimetable { expression: expression.to_owned(), day_and: false };
    ScheduleSpec { timetable: Some(Timetable::Cron(cron)), ..Default::default() }
}

async fn create(suite: &Suite, name: &str, spec: ScheduleSpec) -> proto::Schedule {
    let request = proto::CreateScheduleRequest {
        deployment: NIGHTLY.into(),
        name: name.to_owned(),
        spec: Some(spec),
        ..Default::default()
    };
    schedules(suite).create_schedule(request).await.unwrap().into_inner().schedule.unwrap()
}

async fn get(suite: &Suite, name: &str) -> proto::Schedule {
    let request =
        proto::GetScheduleRequest { deployment: NIGHTLY.into(), name: name.to_owned(), ..Default::default() };
    schedules(suite).get_schedule(request).await.unwrap().into_inner().schedule.unwrap()
}

/// How many runs a schedule has made, by their times in seconds.
async fn runs(suite: &Suite, name: &str) -> BTreeMap<i64, usize> {
    let channel = Endpoint::from_shared(suite.address().to_owned()).unwrap().connect_lazy();
    let mut client = proto::run_service_client::RunServiceClient::new(channel);
    let mut request = proto::ListRunsRequest {
        filter: format!("schedule = {name}"),
        page_size: 1_000,
        ..Default::default()
    };
    let mut by_time = BTreeMap::new();
    loop {
        let page = client.list_runs(request.clone()).await.unwrap().into_inner();
        for run in page.runs {
            *by_time.entry(run.fire_at.unwrap().seconds).or_default() += 1;
        }
        if page.next_page_token.is_empty() {
            return by_time;
        }
        request.page_token = page.next_page_token;
    }
}

#[expect(clippy::disallowed_methods, reason = "the times of schedules are those of the clock")]
fn now() -> i64 {
    prost_types::Timestamp::from(SystemTime::now()).seconds
}

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

/// Two schedulers, of which one is always being killed, while three schedules fire each second for two and a half minutes.
#[tokio::test]
async fn each_time_makes_one_run_while_schedulers_are_killed() {
    const SECONDS: i64 = 150;
    let mut suite = Suite::separate().await;
    suite.add_replica("scheduler").await;
    suite.client().core().create_deployment(NIGHTLY, DeploymentSpec::default(), false).await.unwrap();
    let from = now() + 5;
    let names = ["a", "b", "c"];
    for name in names {
        let spec = ScheduleSpec {
            start_at: at(from),
            end_at: at(from + SECONDS),
            catch_up: CatchUpPolicy::All.into(),
            max_catch_up: 10_000,
            ..cron("* * * * * *")
        };
        create(&suite, name, spec).await;
    }
    let mut n_kills = 0;
    while get(&suite, "a").await.next_fire_at.is_some() {
        suite.kill_and_restart_nth("scheduler", n_kills % 2).await;
        n_kills += 1;
    }
    let wanted: BTreeMap<i64, usize> = (from..from + SECONDS).map(|second| (second, 1)).collect();
    for name in names {
        eventually("it has come to its end", DEADLINE, async || {
            get(&suite, name).await.next_fire_at.is_none().then_some(())
        })
        .await;
        assert_eq!(runs(&suite, name).await, wanted, "of `{name}`, after {n_kills} kills");
        assert_eq!(get(&suite, name).await.missed_count, 0);
    }
    assert!(n_kills > 25, "only {n_kills} kills");
    suite.stop().await;
}

/// What was missed comes by the policy of each, and nothing that is done to schedule or deployment takes a run away.
#[tokio::test]
async fn what_was_missed_in_three_days_comes_by_the_catch_up_policy() {
    const DAY: i64 = 86_400;
    let database = Database::create().await;
    let mut suite = Suite::separate_on(database.url()).await;
    suite.client().core().create_deployment(NIGHTLY, DeploymentSpec::default(), false).await.unwrap();
    // Far from now, so that the last time that was missed is not merely late.
    let hour = (now() / 3_600 + 6) % 24;
    let nightly = format!("0 {hour} * * *");
    let policies =
        [("all", CatchUpPolicy::All), ("latest", CatchUpPolicy::Latest), ("skip", CatchUpPolicy::Skip)];
    let mut next = 0;
    for (name, catch_up) in policies {
        let made = create(&suite, name, ScheduleSpec { catch_up: catch_up.into(), ..cron(&nightly) }).await;
        next = made.next_fire_at.unwrap().seconds;
    }
    suite.kill("scheduler").await;
    suite.kill("api").await;
    // As it stood three days ago.
    database.execute("UPDATE schedules SET next_fire_at = next_fire_at - 3 * 86400000000::bigint").await;
    suite.restart("api").await;
    suite.restart("scheduler").await;
    let wanted = [
        ("all", vec![next - 3 * DAY, next - 2 * DAY, next - DAY], 0),
        ("latest", vec![next - DAY], 2),
        ("skip", Vec::new(), 3),
    ];
    for (name, times, n_missed) in &wanted {
        eventually("it was looked at", DEADLINE, async || {
            (get(&suite, name).await.next_fire_at == at(next)).then_some(())
        })
        .await;
        let made: Vec<i64> = runs(&suite, name).await.into_keys().collect();
        assert_eq!((&made, get(&suite, name).await.missed_count), (times, *n_missed), "{name}");
    }

    let mut client = schedules(&suite);
    suite.client().core().create_deployment(NIGHTLY, DeploymentSpec::default(), true).await.unwrap();
    let update = proto::CreateScheduleRequest {
        deployment: NIGHTLY.into(),
        name: "all".into(),
        spec: Some(cron("0 0 1 1 *")),
        update_if_exists: true,
        ..Default::default()
    };
    client.create_schedule(update).await.unwrap();
    let pause =
        proto::PauseScheduleRequest { deployment: NIGHTLY.into(), name: "all".into(), ..Default::default() };
    client.pause_schedule(pause).await.unwrap();
    let delete = proto::DeleteScheduleRequest {
        deployment: NIGHTLY.into(),
        name: "latest".into(),
        ..Default::default()
    };
    client.delete_schedule(delete).await.unwrap();
    let overdue = suite.client().core().count_runs("state = SCHEDULED AND deployment = etl/nightly").await;
    assert_eq!(overdue.unwrap().count, 4);
    let hello = Hello {
        worker_id: "late".into(),
        queues: vec!["default".into()],
        functions: vec![Function { kind: RunKind::Flow.into(), name: "etl".into() }],
        ..Default::default()
    };
    let mut worker = RawWorker::open(&suite.worker_address(), hello).await;
    for _ in 0..4 {
        let assign = worker.assignment().await;
        assert!(worker.report(&assign, Event::Started(Started {})).await.accepted);
        assert!(worker.report(&assign, Event::Completed(Completed::default())).await.accepted);
    }
    let done = suite.client().core().count_runs("state = COMPLETED AND deployment = etl/nightly").await;
    assert_eq!(done.unwrap().count, 4);
    suite.stop().await;
}
