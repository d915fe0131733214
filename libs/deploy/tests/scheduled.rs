//! What the runs of schedules get of the specification, and how many of them may be held at once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

use std::time::Duration;

use prost::Message as _;
use tidegate_deploy::{Scheduled, Times, overlap_limit};
use tidegate_engine::{Fire, Timetables as _};
use tidegate_model::{Namespace, ScheduleId, Timestamp};
use tidegate_orchestration::{Collision, Placement};
use tidegate_proto::v1::{
    self, CatchUpPolicy, CronTimetable, OverlapPolicy, ScheduleSpec, schedule_spec::Timetable,
};
use tidegate_store::{
    Deployment, DeploymentKey, Schedule, ScheduleKey, ScheduleProgress, WorkPool, WorkPoolKey,
};

const T0: Timestamp = Timestamp::UNIX_EPOCH;
const MINUTE: Duration = Duration::from_secs(60);

fn each_minute() -> ScheduleSpec {
    let cron = CronTimetable { expression: "* * * * *".into(), day_and: false };
    ScheduleSpec { timetable: Some(Timetable::Cron(cron)), ..ScheduleSpec::default() }
}

fn deployment_key() -> DeploymentKey {
    DeploymentKey { namespace: Namespace::default(), name: "etl/nightly".parse().unwrap() }
}

fn schedule(spec: &ScheduleSpec) -> Schedule {
    Schedule {
        key: ScheduleKey { deployment: deployment_key(), name: "often".parse().unwrap() },
        id: ScheduleId::new(),
        version: 1,
        spec: spec.encode_to_vec().into(),
        pause: None,
        created_at: T0,
        updated_at: T0,
        progress: ScheduleProgress { next_fire_at: Some(T0 + MINUTE), ..ScheduleProgress::default() },
    }
}

#[test]
fn an_overlap_policy_is_a_limit_of_one_slot() {
    for (overlap, on_collision) in [
        (OverlapPolicy::Unspecified, None),
        (OverlapPolicy::Allow, None),
        (OverlapPolicy::Skip, Some(Collision::Skip)),
        (OverlapPolicy::Queue, Some(Collision::Wait)),
        (OverlapPolicy::CancelRunning, Some(Collision::CancelOldest)),
    ] {
        let limit = overlap_limit(&ScheduleSpec { overlap: overlap.into(), ..each_minute() });
        let told = limit.map(|limit| (limit.max_slots, limit.on_collision));
        assert_eq!(told, on_collision.map(|on_collision| (Some(1), on_collision)), "{overlap:?}");
    }
}

#[test]
fn a_run_gets_what_its_schedule_says() {
    let schedule = schedule(&ScheduleSpec {
        parameters: r#"{"n":2}"#.into(),
        tags: vec!["often".into()],
        queue: "fast".into(),
        job_variables: r#"{"env":{"A":"2"}}"#.into(),
        overlap: OverlapPolicy::Skip.into(),
        ..each_minute()
    });
    let fire = Fire { fire_at: T0 + MINUTE, due_at: T0 + MINUTE + Duration::from_secs(3) };
    let create = Scheduled::default().run_of(&schedule, fire).unwrap();
    assert_eq!((create.schedule, create.actor.as_deref()), (Some(schedule.id), Some("schedule:often")));

    let of_deployment = v1::DeploymentSpec {
        parameters: r#"{"n":1,"day":"mon"}"#.into(),
        tags: vec!["etl".into()],
        work_pool: "site".into(),
        command: vec!["make".into()],
        job_variables: r#"{"env":{"A":"1"},"image":"etl"}"#.into(),
        ..v1::DeploymentSpec::default()
    };
    let deployment = Deployment {
        key: deployment_key(),
        version: 1,
        spec: of_deployment.encode_to_vec().into(),
        work_pool: Some("site".parse().unwrap()),
        created_at: T0,
        updated_at: T0,
    };
    let of_pool = v1::WorkPoolSpec {
        r#type: v1::WorkPoolType::Docker.into(),
        queues: vec!["slow".into(), "fast".into()],
        ..v1::WorkPoolSpec::default()
    };
    let pool = WorkPool {
        key: WorkPoolKey { namespace: Namespace::default(), name: "site".parse().unwrap() },
        version: 1,
        spec: of_pool.encode_to_vec().into(),
        pause: None,
        created_at: T0,
        updated_at: T0,
    };
    let deployed = create.deploy.unwrap().deploy(&deployment, Some(&pool)).unwrap();
    let draft = deployed.draft;
    assert_eq!(draft.placement, Placement::Queue("fast".parse().unwrap()));
    assert_eq!((draft.fire_at, draft.due_at), (Some(fire.fire_at), Some(fire.due_at)));
    assert_eq!(draft.schedule.unwrap().to_string(), "often");
    assert!(draft.tags.iter().any(|tag| tag == "often") && draft.tags.iter().any(|tag| tag == "etl"));
    assert!(draft.concurrency_limits.contains(&schedule.key.limit().name), "{:?}", draft.concurrency_limits);
    let job = v1::Job::decode(deployed.job.unwrap()).unwrap();
    let variables: serde_json::Value = serde_json::from_str(&job.job_variables).unwrap();
    assert_eq!(variables["env"]["A"], "2");
    assert_eq!(variables["image"], "etl");
}

#[test]
fn jitter_delays_a_run_by_the_same_each_time_and_never_moves_its_time() {
    let jitter = prost_types::Duration { seconds: 30, nanos: 0 };
    let spec = ScheduleSpec { jitter: Some(jitter), ..each_minute() };
    let schedule = schedule(&spec);
    let most = Duration::from_secs(30);
    let come = || Scheduled::default().come(&schedule, T0 + 20 * MINUTE, 100).unwrap();
    let of_another = Times::of(&spec, ScheduleId::new(), T0).unwrap();
    let late = ScheduleSpec { catch_up: CatchUpPolicy::All.into(), ..spec };
    let times = Times::of(&late, schedule.id, T0).unwrap();
    let fires = times.come(T0 + MINUTE, T0 + 20 * MINUTE, 100).now;
    assert_eq!(fires.len(), 20);
    for (n, fire) in (1..).zip(&fires) {
        assert_eq!(fire.fire_at, T0 + n * MINUTE);
        assert!(fire.due_at >= fire.fire_at && fire.due_at <= fire.fire_at + most, "{fire:?}");
    }
    assert!(fires.iter().any(|fire| fire.due_at > fire.fire_at));
    assert_eq!(times.come(T0 + MINUTE, T0 + 20 * MINUTE, 100).now, fires);
    assert_ne!(of_another.next(T0, 20), fires);
    assert_eq!(come().now[..], fires[fires.len() - come().now.len()..]);
}

#[test]
fn no_more_than_max_catch_up_missed_times_make_runs_and_those_are_the_latest() {
    let now = T0 + 150 * MINUTE + MINUTE / 2;
    let come = |max_catch_up: u32| {
        let spec = ScheduleSpec { catch_up: CatchUpPolicy::All.into(), max_catch_up, ..each_minute() };
        let times = Times::of(&spec, ScheduleId::new(), T0).unwrap();
        let (mut fires, mut n_missed, mut next) = (Vec::new(), 0, T0 + MINUTE);
        while next <= now {
            let come = times.come(next, now, 10_000);
            fires.extend(come.now.iter().map(|fire| fire.fire_at));
            n_missed += come.n_missed;
            next = come.next_fire_at.unwrap();
        }
        assert_eq!(next, T0 + 151 * MINUTE);
        (fires, n_missed)
    };
    // The last one is merely late.
    let of_minutes = |from: u32| (from..=150).map(|n| T0 + n * MINUTE).collect::<Vec<_>>();
    assert_eq!(come(3), (of_minutes(147), 146));
    assert_eq!(come(0), (of_minutes(50), 49));
    assert_eq!(come(1_000), (of_minutes(1), 0));
}
