//! `ScheduleService` over gRPC.

mod common;

use std::time::Duration;

use common::{Api, fields, reason};
use prost_types::FieldMask;
use tidegate_model::{Clock as _, SystemClock};
use tidegate_proto::{
    internal::claim_outcome::Outcome,
    v1::{
        self, CatchUpPolicy, CronTimetable, DeploymentSpec, IntervalTimetable, OverlapPolicy, RRuleTimetable,
        ScheduleSpec, schedule_spec::Timetable,
    },
};
use tonic::{Code, Status};

const NIGHTLY: &str = "etl/nightly";

fn cron(expression: &str) -> ScheduleSpec {
    let cron = CronTimetable { expression: expression.to_owned(), day_and: false };
    ScheduleSpec { timetable: Some(Timetable::Cron(cron)), ..Default::default() }
}

fn at(text: &str) -> prost_types::Timestamp {
    text.parse().expect("is a time")
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

async fn deployed(api: &Api) {
    let spec = DeploymentSpec {
        parameters: r#"{"n":1}"#.into(),
        parameter_schema: r#"{"properties":{"n":{"type":"integer"}}}"#.into(),
        enforce_parameter_schema: true,
        tags: vec!["etl".into()],
        queue: "large".into(),
        ..Default::default()
    };
    api.deployed(NIGHTLY, spec).await;
}

async fn create(api: &Api, name: &str, spec: ScheduleSpec) -> Result<v1::Schedule, Status> {
    let request = v1::CreateScheduleRequest {
        deployment: NIGHTLY.into(),
        name: name.to_owned(),
        spec: Some(spec),
        ..Default::default()
    };
    let created = api.schedules.clone().create_schedule(request).await?.into_inner();
    assert!(created.created);
    Ok(created.schedule.expect("is told"))
}

async fn get(api: &Api, name: &str) -> Result<v1::Schedule, Status> {
    let request =
        v1::GetScheduleRequest { deployment: NIGHTLY.into(), name: name.to_owned(), ..Default::default() };
    let got = api.schedules.clone().get_schedule(request).await?.into_inner();
    Ok(got.schedule.expect("is told"))
}

async fn update(api: &Api, spec: ScheduleSpec, paths: &[&str], etag: &str) -> Result<v1::Schedule, Status> {
    let request = v1::UpdateScheduleRequest {
        deployment: NIGHTLY.into(),
        spec: Some(spec),
        update_mask: Some(FieldMask { paths: paths.iter().map(|&path| path.to_owned()).collect() }),
        etag: etag.to_owned(),
        ..Default::default()
    };
    let updated = api.schedules.clone().update_schedule(request).await?.into_inner();
    Ok(updated.schedule.expect("is told"))
}

async fn preview(api: &Api, spec: ScheduleSpec, after: &str, count: i32) -> Result<Vec<String>, Status> {
    let request =
        v1::PreviewScheduleRequest { spec: Some(spec), after: Some(at(after)), count, ..Default::default() };
    let fires = api.schedules.clone().preview_schedule(request).await?.into_inner().fires;
    Ok(fires.into_iter().map(|fire| fire.fire_at.expect("is told").to_string()).collect())
}

#[tokio::test]
async fn a_schedule_is_made_told_changed_and_deleted() {
    let api = Api::start().await;
    deployed(&api).await;
    let spec = ScheduleSpec { parameters: r#"{"n":2}"#.into(), tags: vec!["a".into()], ..cron("0 3 * * *") };
    let made = create(&api, "", spec.clone()).await.expect("is made");
    assert_eq!((made.name.as_str(), made.deployment.as_str(), &made.spec), ("default", NIGHTLY, &Some(spec)));
    let next = made.next_fire_at.expect("fires").to_string();
    assert!(next.ends_with("T03:00:00Z"), "{next}");
    assert_eq!(get(&api, "").await.expect("is there"), made);

    let told =
        update(&api, ScheduleSpec { description: "x".into(), ..Default::default() }, &["description"], "")
            .await
            .expect("is changed");
    assert_eq!((told.next_fire_at, told.etag != made.etag), (made.next_fire_at, true));
    let interval =
        IntervalTimetable { every: Some(seconds(3_600)), anchor: Some(at("2026-01-01T00:30:00Z")) };
    let hourly = ScheduleSpec { timetable: Some(Timetable::Interval(interval)), ..Default::default() };
    let hourly = update(&api, hourly, &["interval"], &told.etag).await.expect("is changed");
    let next = hourly.next_fire_at.expect("fires").to_string();
    assert!(next.ends_with(":30:00Z"), "{next}");
    assert_eq!(hourly.spec.as_ref().expect("is told").tags, ["a"], "what is not named stays");
    let stale = update(&api, cron("0 4 * * *"), &["cron"], &made.etag).await.expect_err("is older");
    assert_eq!((stale.code(), reason(&stale)), (Code::FailedPrecondition, "ETAG_MISMATCH".into()));

    let again = v1::CreateScheduleRequest {
        deployment: NIGHTLY.into(),
        spec: Some(cron("0 5 * * *")),
        ..Default::default()
    };
    let exists = api.schedules.clone().create_schedule(again.clone()).await.expect_err("is there");
    assert_eq!((exists.code(), reason(&exists)), (Code::AlreadyExists, "SCHEDULE_EXISTS".into()));
    let again = v1::CreateScheduleRequest { update_if_exists: true, paused: true, ..again };
    let put = api.schedules.clone().create_schedule(again).await.expect("is changed").into_inner();
    let put_schedule = put.schedule.expect("is told");
    assert_eq!((put.created, &put_schedule.pause), (false, &None), "its pause stays as it is");

    let delete = v1::DeleteScheduleRequest { deployment: NIGHTLY.into(), ..Default::default() };
    api.schedules.clone().delete_schedule(delete.clone()).await.expect("is deleted");
    let gone = api.schedules.clone().delete_schedule(delete.clone()).await.expect_err("is gone");
    assert_eq!((gone.code(), reason(&gone)), (Code::NotFound, "SCHEDULE_NOT_FOUND".into()));
    let delete = v1::DeleteScheduleRequest { allow_missing: true, ..delete };
    api.schedules.clone().delete_schedule(delete).await.expect("is gone");
    assert_eq!(reason(&get(&api, "").await.expect_err("is gone")), "SCHEDULE_NOT_FOUND");
}

#[tokio::test]
async fn a_schedule_is_checked_by_what_its_deployment_is_to_be() {
    let api = Api::start().await;
    let spec = DeploymentSpec {
        parameter_schema: r#"{"properties":{"n":{"type":"integer"}}}"#.into(),
        enforce_parameter_schema: true,
        ..Default::default()
    };
    let check = async |parameters: &str, spec: Option<&DeploymentSpec>| {
        let request = v1::CreateScheduleRequest {
            deployment: NIGHTLY.into(),
            spec: Some(ScheduleSpec { parameters: parameters.to_owned(), ..cron("0 3 * * *") }),
            validate_only: true,
            update_if_exists: true,
            deployment_spec: spec.cloned(),
            ..Default::default()
        };
        api.schedules.clone().create_schedule(request).await.map(tonic::Response::into_inner)
    };
    let told = check(r#"{"n":2}"#, Some(&spec)).await.expect("fits");
    assert!(told.created && told.schedule.expect("is told").next_fire_at.is_some());
    let wrong = check(r#"{"n":"x"}"#, Some(&spec)).await.expect_err("does not fit");
    assert_eq!(wrong.code(), Code::InvalidArgument);
    assert!(wrong.message().contains("spec.parameters.n"), "{wrong:?}");
    assert_eq!(reason(&check("", None).await.expect_err("is not there")), "DEPLOYMENT_NOT_FOUND");
    let broken = DeploymentSpec { parameter_schema: "[".into(), ..spec.clone() };
    let broken = check("", Some(&broken)).await.expect_err("is no schema");
    assert!(broken.message().contains("deployment_spec.parameter_schema"), "{broken:?}");

    api.deployed(NIGHTLY, spec.clone()).await;
    let wrong = check(r#"{"n":"x"}"#, None).await.expect_err("does not fit what is there");
    assert!(wrong.message().contains("version 1"), "{wrong:?}");
    let looser = DeploymentSpec { enforce_parameter_schema: false, ..spec };
    check(r#"{"n":"x"}"#, Some(&looser)).await.expect("fits what is to be");
    assert_eq!(reason(&get(&api, "").await.expect_err("was not made")), "SCHEDULE_NOT_FOUND");
    let request = v1::CreateScheduleRequest {
        deployment: NIGHTLY.into(),
        spec: Some(cron("0 3 * * *")),
        deployment_spec: Some(looser),
        ..Default::default()
    };
    let refused = api.schedules.clone().create_schedule(request).await.expect_err("is only for a check");
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_paused_schedule_fires_again_from_its_resume_on() {
    let api = Api::start().await;
    deployed(&api).await;
    let made = create(&api, "s", cron("* * * * *")).await.expect("is made");
    let pause = v1::PauseScheduleRequest {
        deployment: NIGHTLY.into(),
        name: "s".into(),
        reason: "moving".into(),
        ..Default::default()
    };
    let paused = api.schedules.clone().pause_schedule(pause.clone()).await.expect("is paused").into_inner();
    let paused = paused.schedule.expect("is told");
    assert_eq!(
        (paused.next_fire_at, paused.pause.as_ref().expect("is told").reason.as_str()),
        (None, "moving")
    );
    let other = v1::PauseScheduleRequest { reason: "other".into(), ..pause };
    let again = api.schedules.clone().pause_schedule(other).await.expect("changes nothing").into_inner();
    assert_eq!(again.schedule, Some(paused));
    let resume =
        v1::ResumeScheduleRequest { deployment: NIGHTLY.into(), name: "s".into(), ..Default::default() };
    let resumed = api.schedules.clone().resume_schedule(resume).await.expect("is resumed").into_inner();
    let resumed = resumed.schedule.expect("is told");
    assert_eq!(resumed.pause, None);
    assert!(resumed.next_fire_at.expect("fires").seconds >= made.next_fire_at.expect("fires").seconds);
}

#[tokio::test]
async fn every_fault_of_a_specification_is_told_by_its_field() {
    let api = Api::start().await;
    let missing = create(&api, "s", cron("0 3 * * *")).await.expect_err("has no deployment");
    assert_eq!((missing.code(), reason(&missing)), (Code::NotFound, "DEPLOYMENT_NOT_FOUND".into()));
    deployed(&api).await;
    let interval = |every| {
        let interval = IntervalTimetable { every, anchor: None };
        ScheduleSpec { timetable: Some(Timetable::Interval(interval)), ..Default::default() }
    };
    let rrule = |rule: &str| {
        let rrule = RRuleTimetable { rule: rule.to_owned() };
        ScheduleSpec { timetable: Some(Timetable::Rrule(rrule)), ..Default::default() }
    };
    let good = || cron("0 3 * * *");
    for (spec, field) in [
        (ScheduleSpec { parameters: "[1]".into(), ..good() }, "spec.parameters"),
        (ScheduleSpec { parameters: r#"{"n":"x"}"#.into(), ..good() }, "spec.parameters.n"),
        (ScheduleSpec { job_variables: "{".into(), ..good() }, "spec.job_variables"),
        (ScheduleSpec { catch_up: 9, ..good() }, "spec.catch_up"),
        (ScheduleSpec { overlap: 9, ..good() }, "spec.overlap"),
        (ScheduleSpec { max_catch_up: 10_001, ..good() }, "spec.max_catch_up"),
        (ScheduleSpec { catch_up_grace: Some(seconds(604_801)), ..good() }, "spec.catch_up_grace"),
        (ScheduleSpec { jitter: Some(seconds(86_401)), ..good() }, "spec.jitter"),
        (ScheduleSpec { queue: "a b".into(), ..good() }, "spec.queue"),
        (ScheduleSpec { tags: vec![String::from("x"); 51], ..good() }, "spec.tags"),
        (ScheduleSpec { description: "x".repeat(4_097), ..good() }, "spec.description"),
    ] {
        let refused = create(&api, "s", spec).await.expect_err(field);
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec![field.to_owned()]));
    }
    // Times are told by their rules in words of their own.
    for (spec, field) in [
        (ScheduleSpec::default(), "spec.cron"),
        (cron("61 * * * *"), "spec.cron"),
        (interval(None), "spec.interval"),
        (interval(Some(seconds(0))), "spec.interval"),
        (rrule("FREQ=NEVER"), "spec.rrule"),
        (ScheduleSpec { time_zone: "Mars/Base".into(), ..good() }, "spec.time_zone"),
        (
            ScheduleSpec {
                start_at: Some(at("2026-01-02T00:00:00Z")),
                end_at: Some(at("2026-01-01T00:00:00Z")),
                ..good()
            },
            "spec.end_at",
        ),
    ] {
        let refused = create(&api, "s", spec).await.expect_err(field);
        let told = fields(&refused);
        assert!(
            refused.code() == Code::InvalidArgument && told.iter().all(|told| told.starts_with(field)),
            "{told:?}"
        );
    }
    create(&api, "s", good()).await.expect("is made");
    let unnamed = update(&api, good(), &[], "").await.expect_err("changes nothing");
    let unknown = update(&api, good(), &["x"], "").await.expect_err("is none");
    assert_eq!(
        (fields(&unnamed), fields(&unknown)),
        (vec!["update_mask".into()], vec!["update_mask".into()])
    );
}

#[tokio::test]
async fn a_preview_tells_the_times_of_what_is_stored_and_of_what_is_not() {
    let api = Api::start().await;
    deployed(&api).await;
    let berlin = ScheduleSpec { time_zone: "Europe/Berlin".into(), ..cron("0 3 * * *") };
    let told = preview(&api, berlin.clone(), "2026-03-28T00:00:00Z", 2).await.expect("is told");
    assert_eq!(told, ["2026-03-28T02:00:00Z", "2026-03-29T01:00:00Z"]);
    create(&api, "s", berlin).await.expect("is made");
    let stored = v1::PreviewScheduleRequest {
        deployment: NIGHTLY.into(),
        name: "s".into(),
        after: Some(at("2026-03-28T00:00:00Z")),
        ..Default::default()
    };
    let fires = api.schedules.clone().preview_schedule(stored).await.expect("is told").into_inner().fires;
    assert_eq!((fires.len(), fires[1].fire_at), (10, Some(at("2026-03-29T01:00:00Z"))));
    let none = v1::PreviewScheduleRequest::default();
    let refused = api.schedules.clone().preview_schedule(none).await.expect_err("has none");
    assert_eq!(fields(&refused), ["spec"]);
}

#[tokio::test]
async fn a_backfill_makes_each_time_once() {
    let api = Api::start().await;
    deployed(&api).await;
    let spec = ScheduleSpec {
        catch_up: CatchUpPolicy::Skip.into(),
        overlap: OverlapPolicy::Queue.into(),
        parameters: r#"{"n":2}"#.into(),
        ..cron("0 * * * *")
    };
    create(&api, "s", spec).await.expect("is made");
    let request = v1::BackfillScheduleRequest {
        deployment: NIGHTLY.into(),
        name: "s".into(),
        from: Some(at("2026-01-01T00:00:00Z")),
        to: Some(at("2026-01-03T02:00:00Z")),
        validate_only: true,
        ..Default::default()
    };
    let ask = async |request: v1::BackfillScheduleRequest| {
        api.schedules.clone().backfill_schedule(request).await.map(tonic::Response::into_inner)
    };
    let told = ask(request.clone()).await.expect("is told");
    assert_eq!((told.count, told.created_count, told.fires.len(), told.run_ids.len()), (50, 50, 50, 0));
    let wrong =
        v1::BackfillScheduleRequest { validate_only: false, expected_count: Some(49), ..request.clone() };
    let wrong = ask(wrong).await.expect_err("is another number");
    assert_eq!((wrong.code(), reason(&wrong)), (Code::FailedPrecondition, "BACKFILL_COUNT_MISMATCH".into()));
    let part = v1::BackfillScheduleRequest {
        validate_only: false,
        to: Some(at("2026-01-01T10:00:00Z")),
        ..request.clone()
    };
    let made = ask(part).await.expect("is made");
    assert_eq!((made.count, made.created_count, made.run_ids.len()), (10, 10, 10));
    assert_eq!(ask(request.clone()).await.expect("is told").created_count, 40);
    let all =
        v1::BackfillScheduleRequest { validate_only: false, expected_count: Some(50), ..request.clone() };
    assert_eq!(ask(all.clone()).await.expect("is made").created_count, 40);
    assert_eq!(ask(all).await.expect("is made").created_count, 0);
    let list = v1::ListRunsRequest {
        filter: "schedule = s AND fire_at < 2026-01-01T00:30:00Z".into(),
        ..Default::default()
    };
    let runs = api.runs.clone().list_runs(list).await.expect("are listed").into_inner().runs;
    let [run] = &runs[..] else { panic!("{runs:?}") };
    assert_eq!((run.fire_at, run.queue.as_str()), (Some(at("2026-01-01T00:00:00Z")), "large"));
    let tomorrow = SystemClock.now() + Duration::from_secs(86_400);
    let ahead = "fd70b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b";
    for (wrong, field) in [
        (v1::BackfillScheduleRequest { request_id: "again".into(), ..request.clone() }, "request_id"),
        (v1::BackfillScheduleRequest { request_id: ahead.into(), ..request.clone() }, "request_id"),
        (v1::BackfillScheduleRequest { from: None, ..request.clone() }, "from"),
        (v1::BackfillScheduleRequest { to: request.from, ..request.clone() }, "to"),
        (
            v1::BackfillScheduleRequest {
                to: Some(tidegate_wire::timestamp_to_proto(tomorrow)),
                ..request.clone()
            },
            "to",
        ),
        (v1::BackfillScheduleRequest { from: Some(at("2020-01-01T00:00:00Z")), ..request.clone() }, "to"),
    ] {
        assert_eq!(fields(&ask(wrong).await.expect_err(field)), [field]);
    }
}

#[tokio::test]
async fn who_executes_a_run_is_told_for_which_time_it_is() {
    let api = Api::start().await;
    deployed(&api).await;
    create(&api, "s", cron("0 * * * *")).await.expect("is made");
    let request = v1::BackfillScheduleRequest {
        deployment: NIGHTLY.into(),
        name: "s".into(),
        from: Some(at("2026-01-01T00:00:00Z")),
        to: Some(at("2026-01-01T01:00:00Z")),
        ..Default::default()
    };
    let made = api.schedules.clone().backfill_schedule(request).await.expect("is made").into_inner();
    let request = v1::GetRunRequest { run_id: made.run_ids[0].clone(), ..Default::default() };
    let run = api.runs.clone().get_run(request).await.expect("is there").into_inner().run.expect("is told");
    let Outcome::Assign(assign) = api.claim(&run).await else { panic!("is assigned") };
    let night = Some(at("2026-01-01T00:00:00Z"));
    assert_eq!((run.schedule.as_str(), run.fire_at, assign.fire_at), ("s", night, night));
}

#[tokio::test]
async fn a_schedule_that_was_changed_since_it_was_read_is_neither_replaced_nor_paused() {
    let api = Api::start().await;
    deployed(&api).await;
    let put = async |etag: &str, update_if_exists: bool| {
        let request = v1::CreateScheduleRequest {
            deployment: NIGHTLY.into(),
            name: "s".into(),
            spec: Some(cron("0 4 * * *")),
            update_if_exists,
            etag: etag.into(),
            ..Default::default()
        };
        let put = api.schedules.clone().create_schedule(request).await;
        put.map(|put| put.into_inner().schedule.expect("is told"))
    };
    let pause = async |etag: &str| {
        let (deployment, name) = (NIGHTLY.to_owned(), "s".to_owned());
        let request = v1::PauseScheduleRequest { deployment, name, etag: etag.into(), ..Default::default() };
        let paused = api.schedules.clone().pause_schedule(request).await;
        paused.map(|paused| paused.into_inner().schedule.expect("is told"))
    };
    let gone = put("1-1", true).await.expect_err("is not there");
    assert_eq!((gone.code(), reason(&gone).as_str()), (Code::NotFound, "SCHEDULE_NOT_FOUND"));
    let made = put("", true).await.expect("is made");
    assert_eq!(fields(&put(&made.etag, false).await.expect_err("is contrary")), ["etag"]);
    let changed = pause(&made.etag).await.expect("is as it was read");
    for refused in [put(&made.etag, true).await, pause(&made.etag).await] {
        let refused = refused.expect_err("is older");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "ETAG_MISMATCH"));
    }
    put(&changed.etag, true).await.expect("is as it was read");
}

#[tokio::test]
async fn a_repeated_backfill_tells_what_it_has_made_and_makes_no_more() {
    let api = Api::start().await;
    deployed(&api).await;
    create(&api, "s", cron("0 * * * *")).await.expect("is made");
    let ask = async |request: v1::BackfillScheduleRequest| {
        api.schedules.clone().backfill_schedule(request).await.map(tonic::Response::into_inner)
    };
    let range = |from: &str, to: &str, request_id: &str| v1::BackfillScheduleRequest {
        deployment: NIGHTLY.into(),
        name: "s".into(),
        from: Some(at(from)),
        to: Some(at(to)),
        request_id: request_id.into(),
        ..Default::default()
    };
    // Two of the six hours have their runs before.
    let (five, eight, eleven) = ("2026-01-01T05:00:00Z", "2026-01-01T08:00:00Z", "2026-01-01T11:00:00Z");
    let some = ask(range("2026-01-01T06:00:00Z", eight, "")).await.expect("is made");
    assert_eq!(some.created_count, 2);

    let request_id = tidegate_model::RunId::new().to_string();
    let request = v1::BackfillScheduleRequest { expected_count: Some(6), ..range(five, eleven, &request_id) };
    let told = v1::BackfillScheduleRequest { validate_only: true, ..request.clone() };
    assert_eq!(ask(told).await.expect("is told").created_count, 4);
    let first = ask(request.clone()).await.expect("is made");
    assert_eq!((first.count, first.created_count, first.run_ids.len()), (6, 4, 4));
    assert_eq!(ask(request.clone()).await.expect("is told again"), first, "the answer may have been lost");
    // Another part of a range under the same id is made, too.
    let part =
        ask(range("2026-01-01T11:00:00Z", "2026-01-01T13:00:00Z", &request_id)).await.expect("is made");
    assert_eq!((part.count, part.created_count), (2, 2));
    let other = v1::BackfillScheduleRequest {
        request_id: tidegate_model::RunId::new().to_string(),
        ..request.clone()
    };
    assert_eq!(ask(other).await.expect("finds all made").created_count, 0);

    // The schedule has more times by then: the repeat makes none of them.
    let update = v1::UpdateScheduleRequest {
        deployment: NIGHTLY.into(),
        name: "s".into(),
        spec: Some(cron("*/30 * * * *")),
        update_mask: Some(FieldMask { paths: vec!["cron".into()] }),
        ..Default::default()
    };
    api.schedules.clone().update_schedule(update).await.expect("is changed");
    let late = ask(request).await.expect("is told again");
    assert_eq!((late.count, late.created_count, late.run_ids), (12, 4, first.run_ids));
    let runs = api.runs.clone().count_runs(v1::CountRunsRequest::default()).await.expect("are counted");
    assert_eq!(runs.into_inner().count, 8);
}

#[tokio::test]
async fn schedules_are_listed_by_deployment_and_name() {
    let api = Api::start().await;
    deployed(&api).await;
    for name in ["b", "a", "c"] {
        create(&api, name, cron("0 3 * * *")).await.expect("is made");
    }
    let mut request = v1::ListSchedulesRequest { page_size: 2, ..Default::default() };
    let mut names = Vec::new();
    loop {
        let page =
            api.schedules.clone().list_schedules(request.clone()).await.expect("are listed").into_inner();
        names.extend(page.schedules.into_iter().map(|schedule| schedule.name));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(names, ["a", "b", "c"]);
    let wrong = v1::ListSchedulesRequest { page_token: "x".into(), ..Default::default() };
    assert_eq!(
        fields(&api.schedules.clone().list_schedules(wrong).await.expect_err("is none")),
        ["page_token"]
    );
}

#[tokio::test]
async fn lists_are_filtered_page_by_page() {
    let api = Api::start().await;
    deployed(&api).await;
    for n in 0..12 {
        let tags = vec![if n % 3 == 0 { "third".to_owned() } else { "other".to_owned() }];
        create(&api, &format!("s{n:02}"), ScheduleSpec { tags, ..cron("0 3 * * *") }).await.expect("is made");
    }
    let list = async |filter: &str, page_size: i32, page_token: String| {
        let request =
            v1::ListSchedulesRequest { filter: filter.into(), page_size, page_token, ..Default::default() };
        api.schedules.clone().list_schedules(request).await.map(tonic::Response::into_inner)
    };
    let (mut names, mut token, mut n_pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = list("tags:third AND cron = \"0 3 * * *\"", 2, token).await.expect("is listed");
        assert!(page.schedules.len() <= 2);
        names.extend(page.schedules.into_iter().map(|schedule| schedule.name));
        (token, n_pages) = (page.next_page_token, n_pages + 1);
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((names, n_pages), (["s00", "s03", "s06", "s09"].map(str::to_owned).to_vec(), 2));
    // A page goes on with the filter that the one before had.
    let first = list("tags:third", 2, String::new()).await.expect("is listed");
    for filter in ["tags:other", ""] {
        let refused = list(filter, 2, first.next_page_token.clone()).await.expect_err("is another list");
        assert_eq!(fields(&refused), ["page_token"], "{filter}");
    }
    let none = list("pause:*", 2, String::new()).await.expect("is listed");
    assert_eq!((none.schedules.len(), none.next_page_token.as_str()), (0, ""));
    for (filter, told) in [
        ("tag:third", "did you mean `tags`?"),
        ("missed_count > some", "at column 16: `some` is no number"),
        ("catch_up = never", "there are SKIP, LATEST, ALL"),
    ] {
        let refused = list(filter, 2, String::new()).await.expect_err("is wrong");
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec!["filter".to_owned()]));
        assert!(refused.message().contains(told), "{}", refused.message());
    }

    // The same language, wherever things are listed.
    for name in ["db", "api"] {
        let (name, max_slots) = (name.to_owned(), Some(u32::try_from(name.len()).expect("is short")));
        let request = v1::PutConcurrencyLimitRequest { name, max_slots, ..Default::default() };
        api.concurrency.clone().put_concurrency_limit(request).await.expect("is set");
    }
    let request = v1::ListConcurrencyLimitsRequest { filter: "max_slots > 2".into(), ..Default::default() };
    let limits = api.concurrency.clone().list_concurrency_limits(request).await.expect("are listed");
    assert_eq!(limits.into_inner().limits.iter().map(|limit| &limit.name).collect::<Vec<_>>(), ["api"]);
    let spec = v1::WorkPoolSpec { r#type: v1::WorkPoolType::Process.into(), ..Default::default() };
    let request = v1::CreateWorkPoolRequest { name: "site".into(), spec: Some(spec), ..Default::default() };
    api.work_pools.clone().create_work_pool(request).await.expect("is made");
    for (filter, n) in [("type = process -queues:*", 1), ("type = docker", 0)] {
        let request = v1::ListWorkPoolsRequest { filter: filter.into(), ..Default::default() };
        let pools = api.work_pools.clone().list_work_pools(request).await.expect("are listed").into_inner();
        assert_eq!(pools.work_pools.len(), n, "{filter}");
    }
}
