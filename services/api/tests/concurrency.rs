//! Concurrency limits, as a client and as task-queue see them.

mod common;

use common::{Api, fields, reason, report, task};
use tidegate_model::RunId;
use tidegate_proto::{internal::claim_outcome::Outcome, v1};
use tonic::{Code, Status};

fn limited() -> v1::NewRun {
    v1::NewRun { concurrency_limits: vec!["db".to_owned()], ..task() }
}

async fn put(
    api: &Api,
    name: &str,
    max_slots: impl Into<Option<u32>>,
) -> Result<v1::ConcurrencyLimit, Status> {
    let request = v1::PutConcurrencyLimitRequest {
        namespace: String::new(),
        name: name.to_owned(),
        max_slots: max_slots.into(),
        ..Default::default()
    };
    let response = api.concurrency.clone().put_concurrency_limit(request).await?;
    Ok(response.into_inner().limit.expect("is told"))
}

async fn get(api: &Api, name: &str) -> Result<v1::GetConcurrencyLimitResponse, Status> {
    let request = v1::GetConcurrencyLimitRequest { name: name.to_owned(), ..Default::default() };
    Ok(api.concurrency.clone().get_concurrency_limit(request).await?.into_inner())
}

async fn delete(api: &Api, name: &str, allow_missing: bool) -> Result<(), Status> {
    let request =
        v1::DeleteConcurrencyLimitRequest { name: name.to_owned(), allow_missing, ..Default::default() };
    api.concurrency.clone().delete_concurrency_limit(request).await.map(drop)
}

#[tokio::test]
async fn a_claim_without_a_free_slot_is_told_to_wait() {
    let api = Api::start().await;
    put(&api, "db", 1).await.expect("is defined");
    let (first, second) = (api.created(limited()).await, api.created(limited()).await);
    let Outcome::Assign(assign) = api.claim(&first).await else { panic!("it has the slot") };
    assert_eq!(api.claim(&second).await, Outcome::Waiting(Default::default()));
    let found = get(&api, "db").await.expect("is there");
    let limit = found.limit.expect("is told");
    assert_eq!((limit.max_slots, limit.used_slots, limit.waiting_runs), (Some(1), 1, 1));
    assert_eq!(found.slots.iter().map(|slot| &slot.run_id).collect::<Vec<_>>(), [&first.id]);

    let released = v1::report::Event::Released(Default::default());
    assert!(api.report(report(&first.id, assign.epoch, released)).await.accepted);
    assert_eq!(get(&api, "db").await.expect("is there").slots, []);
}

#[tokio::test]
async fn limits_are_set_listed_and_deleted() {
    let api = Api::start().await;
    for (name, max_slots) in [("b", 0), ("a", 7), ("c", 1_000_000)] {
        assert_eq!(put(&api, name, max_slots).await.expect("is defined").max_slots, Some(max_slots));
    }
    let first = put(&api, "a", 7).await.expect("is repeated");
    assert_eq!(put(&api, "a", 2).await.expect("is changed").created_at, first.created_at);
    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListConcurrencyLimitsRequest { page_size: 2, page_token, ..Default::default() };
        let page =
            api.concurrency.clone().list_concurrency_limits(request).await.expect("lists").into_inner();
        assert!(page.limits.len() <= 2);
        listed.extend(page.limits.into_iter().map(|limit| (limit.name, limit.max_slots)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let unprintable = v1::ListConcurrencyLimitsRequest { page_token: "a\0".to_owned(), ..Default::default() };
    let refused = api.concurrency.clone().list_concurrency_limits(unprintable).await.expect_err("is refused");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    let expected = [("a", 2), ("b", 0), ("c", 1_000_000)];
    assert_eq!(listed, expected.map(|(name, max_slots)| (name.to_owned(), Some(max_slots))));

    delete(&api, "a", false).await.expect("is deleted");
    for missing in
        [delete(&api, "a", false).await.expect_err("is gone"), get(&api, "a").await.expect_err("is gone")]
    {
        assert_eq!(
            (missing.code(), reason(&missing).as_str()),
            (Code::NotFound, "CONCURRENCY_LIMIT_NOT_FOUND")
        );
        assert!(missing.message().contains("`a`"), "{missing:?}");
    }
    delete(&api, "a", true).await.expect("a repeat is no error where that is said");
    let repeat = v1::DeleteConcurrencyLimitRequest {
        name: "a".to_owned(),
        request_id: RunId::new().to_string(),
        ..Default::default()
    };
    api.concurrency.clone().delete_concurrency_limit(repeat).await.expect("nor with an id");
}

#[tokio::test]
async fn wrong_limits_are_refused_by_field() {
    let api = Api::start().await;
    for (name, max_slots, field) in [
        ("", Some(1), "name"),
        ("line\nbreak", Some(1), "name"),
        ("a*", Some(1), "name"),
        ("a=b=*", Some(1), "name"),
        ("=*", Some(1), "name"),
        ("a=*b", Some(1), "name"),
        ("a", None, "max_slots"),
        ("a", Some(1_000_001), "max_slots"),
    ] {
        let refused = put(&api, name, max_slots).await.expect_err("is refused");
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec![field.to_owned()]));
    }
    let template = v1::NewRun { concurrency_limits: vec!["db".to_owned(), "a=*".to_owned()], ..task() };
    let refused = api.create(template).await.expect_err("is refused");
    assert_eq!(fields(&refused), ["run.concurrency_limits[1]"], "a template is not named: {refused:?}");
    let session = v1::new_run::Placement::SessionId("0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b".to_owned());
    let local = v1::NewRun { placement: Some(session), ..limited() };
    let refused = api.create(local).await.expect_err("is refused");
    assert_eq!(fields(&refused), ["run.concurrency_limits"], "a local run gets no slot: {refused:?}");
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

#[tokio::test]
async fn a_rate_is_told_as_it_was_set_and_wrong_ones_are_refused_by_field() {
    let api = Api::start().await;
    let put = async |rate: v1::RateLimit| {
        let request = v1::PutConcurrencyLimitRequest {
            name: "api".to_owned(),
            rate: Some(rate),
            on_collision: v1::CollisionPolicy::Skip.into(),
            ..Default::default()
        };
        Ok::<_, Status>(api.concurrency.clone().put_concurrency_limit(request).await?.into_inner().limit)
    };
    let limit = put(v1::RateLimit { max_starts: 3, period: seconds(60), burst: 0 }).await;
    let limit = limit.expect("is defined").expect("is told");
    assert_eq!(limit.rate, Some(v1::RateLimit { max_starts: 3, period: seconds(60), burst: 3 }));
    assert_eq!((limit.max_slots, limit.free_tokens, limit.next_token_at), (None, Some(3), None));
    assert_eq!(limit.on_collision(), v1::CollisionPolicy::Skip);
    let tiny = Some(prost_types::Duration { seconds: 0, nanos: 999_999 });
    for (max_starts, period, burst, field) in [
        (0, seconds(1), 0, "rate.max_starts"),
        (1_000_001, seconds(1), 1, "rate.max_starts"),
        (1, None, 0, "rate.period"),
        (1, tiny, 0, "rate.period"),
        (1, seconds(86_401), 0, "rate.period"),
        (1, seconds(1), 1_000_001, "rate.burst"),
        (1, seconds(86_400), 366, "rate.burst"),
    ] {
        let refused = put(v1::RateLimit { max_starts, period, burst }).await.expect_err("is refused");
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec![field.to_owned()]));
    }
}

#[tokio::test]
async fn code_acquires_renews_and_releases_slots() {
    let api = Api::start().await;
    put(&api, "db", 1).await.expect("is defined");
    let run = api.created(task()).await;
    let owner_id = RunId::new().to_string();
    let acquire = v1::AcquireSlotsRequest {
        limits: vec!["db".to_owned()],
        owner_id: owner_id.clone(),
        lease_duration: seconds(30),
        run_id: run.id.clone(),
        ..Default::default()
    };
    let mut concurrency = api.concurrency.clone();
    let acquired = concurrency.acquire_slots(acquire.clone()).await.expect("is answered").into_inner();
    assert!(acquired.acquired && acquired.lease_expires_at.is_some(), "{acquired:?}");
    let slots = get(&api, "db").await.expect("is there").slots;
    assert_eq!((&slots[0].owner_id, &slots[0].run_id), (&owner_id, &run.id));
    let other = v1::AcquireSlotsRequest { owner_id: RunId::new().to_string(), ..acquire.clone() };
    let refused = concurrency.acquire_slots(other).await.expect("is answered").into_inner();
    assert_eq!((refused.acquired, refused.awaited_limit.as_str()), (false, "db"));

    let renew = v1::RenewSlotsRequest {
        owner_id: owner_id.clone(),
        lease_duration: seconds(60),
        ..Default::default()
    };
    let renewed = concurrency.renew_slots(renew.clone()).await.expect("is renewed").into_inner();
    assert!(
        renewed.lease_expires_at.expect("is told").seconds
            > acquired.lease_expires_at.expect("is told").seconds
    );
    let release = v1::ReleaseSlotsRequest { owner_id, ..Default::default() };
    for _ in 0..2 {
        concurrency.release_slots(release.clone()).await.expect("is released, and a repeat is no error");
    }
    assert_eq!(get(&api, "db").await.expect("is there").slots, []);
    let lost = concurrency.renew_slots(renew).await.expect_err("it has none");
    assert_eq!((lost.code(), reason(&lost).as_str()), (Code::NotFound, "LEASE_LOST"));

    let names = |n: usize| (0..n).map(|n| n.to_string()).collect::<Vec<_>>();
    let wrong = |field: &str| v1::AcquireSlotsRequest {
        limits: match field {
            "limits" => names(11),
            "limits[0]" => vec!["a=*".to_owned()],
            _ => names(10),
        },
        owner_id: if field == "owner_id" { "me".to_owned() } else { RunId::new().to_string() },
        lease_duration: seconds(if field == "lease_duration" { 3_601 } else { 3_600 }),
        wait_timeout: seconds(if field == "wait_timeout" { 61 } else { 60 }),
        run_id: if field == "run_id" { "mine".to_owned() } else { String::new() },
        slot_count: if field == "slot_count" { 1_000_001 } else { 1_000_000 },
        ..Default::default()
    };
    for field in ["limits", "limits[0]", "owner_id", "lease_duration", "wait_timeout", "run_id", "slot_count"]
    {
        let refused = concurrency.acquire_slots(wrong(field)).await.expect_err("is refused");
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec![field.to_owned()]));
    }
    let at_all_bounds = concurrency.acquire_slots(wrong("")).await.expect("is answered").into_inner();
    assert!(at_all_bounds.acquired);
}

#[tokio::test]
async fn code_acquires_several_slots_of_limits_that_must_be_there() {
    let api = Api::start().await;
    put(&api, "db", 3).await.expect("is defined");
    let acquire = |slot_count, limits: &[&str]| v1::AcquireSlotsRequest {
        limits: limits.iter().map(|&limit| limit.to_owned()).collect(),
        owner_id: RunId::new().to_string(),
        lease_duration: seconds(30),
        slot_count,
        limits_must_exist: true,
        ..Default::default()
    };
    let mut concurrency = api.concurrency.clone();
    let request = acquire(2, &["db"]);
    for _ in 0..2 {
        let acquired = concurrency.acquire_slots(request.clone()).await.expect("is answered").into_inner();
        assert!(acquired.acquired, "{acquired:?}");
    }
    let shown = get(&api, "db").await.expect("is there");
    assert_eq!(shown.limit.expect("is told").used_slots, 2);
    assert_eq!(shown.slots.iter().map(|slot| slot.slot_count).collect::<Vec<_>>(), [2]);
    let refused = concurrency.acquire_slots(acquire(2, &["db"])).await.expect("is answered").into_inner();
    assert_eq!((refused.acquired, refused.awaited_limit.as_str()), (false, "db"));
    let other = v1::AcquireSlotsRequest { slot_count: 1, ..request };
    let used = concurrency.acquire_slots(other).await.expect_err("the owner has two");
    assert_eq!((used.code(), reason(&used).as_str()), (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED"));
    let never = concurrency.acquire_slots(acquire(4, &["db"])).await.expect_err("is refused");
    assert_eq!((never.code(), fields(&never)), (Code::InvalidArgument, vec!["slot_count".to_owned()]));
    let missing = concurrency.acquire_slots(acquire(1, &["db", "none"])).await.expect_err("is refused");
    assert_eq!((missing.code(), reason(&missing).as_str()), (Code::NotFound, "CONCURRENCY_LIMIT_NOT_FOUND"));
    assert!(missing.message().contains("`none`"), "{missing:?}");
}
