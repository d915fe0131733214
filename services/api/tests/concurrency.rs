//! Concurrency limits, as a client and as task-queue see them.

mod common;

use common::{Api, fields, reason, report, task};
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
        v1::DeleteConcurrencyLimitRequest { namespace: String::new(), name: name.to_owned(), allow_missing };
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
    assert_eq!((limit.max_slots, limit.used_slots, limit.waiting_runs), (1, 1, 1));
    assert_eq!(found.slots.iter().map(|slot| &slot.run_id).collect::<Vec<_>>(), [&first.id]);

    let released = v1::report::Event::Released(Default::default());
    assert!(api.report(report(&first.id, assign.epoch, released)).await.accepted);
    assert_eq!(get(&api, "db").await.expect("is there").slots, []);
}

#[tokio::test]
async fn limits_are_set_listed_and_deleted() {
    let api = Api::start().await;
    for (name, max_slots) in [("b", 0), ("a", 7), ("c", 1_000_000)] {
        assert_eq!(put(&api, name, max_slots).await.expect("is defined").max_slots, max_slots);
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
    assert_eq!(listed, [("a".to_owned(), 2), ("b".to_owned(), 0), ("c".to_owned(), 1_000_000)]);

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
}

#[tokio::test]
async fn wrong_limits_are_refused_by_field() {
    let api = Api::start().await;
    for (name, max_slots, field) in [
        ("", Some(1), "name"),
        ("line\nbreak", Some(1), "name"),
        ("a", None, "max_slots"),
        ("a", Some(1_000_001), "max_slots"),
    ] {
        let refused = put(&api, name, max_slots).await.expect_err("is refused");
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec![field.to_owned()]));
    }
    let session = v1::new_run::Placement::SessionId("0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b".to_owned());
    let local = v1::NewRun { placement: Some(session), ..limited() };
    let refused = api.create(local).await.expect_err("is refused");
    assert_eq!(fields(&refused), ["run.concurrency_limits"], "a local run gets no slot: {refused:?}");
}
