//! Slots that code takes by a lease: all or none, in turn with runs, and not for longer than the lease.

mod common;

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use common::{Fixture, options, task};
use tidegate_engine::{EngineError, LeaseRequest, Leased, Options, Wait};
use tidegate_model::{Clock as _, Namespace, RunId};
use tidegate_orchestration::{Collision, Event, Failure, Placement, Rate, Run};
use tidegate_store::{LimitKey, LimitSettings};
use tidegate_store_sqlite::SqliteStore;
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

const LEASE: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(20);

fn key(name: &str) -> LimitKey {
    LimitKey { namespace: Namespace::default(), name: name.to_owned() }
}

fn request(limits: &[&str]) -> LeaseRequest {
    let limits = limits.iter().map(|name| key(name)).collect();
    LeaseRequest {
        limits,
        n_slots: 1,
        must_exist: false,
        owner: RunId::new(),
        duration: LEASE,
        for_run: None,
    }
}

async fn take(fixture: &Fixture, request: &LeaseRequest) -> Leased {
    fixture.engine.take_lease(request, Duration::ZERO).await.expect("is answered")
}

fn is_held(leased: &Leased) -> bool {
    matches!(leased, Leased::Held { .. })
}

/// No slots, and a start each minute.
fn once_a_minute() -> LimitSettings {
    let one = NonZeroU32::MIN;
    let rate = Rate { max_starts: one, period: Duration::from_secs(60), burst: one };
    LimitSettings { max_slots: None, rate: Some(rate), on_collision: Collision::Skip }
}

/// Waits for it in a task of its own, and until the store knows that it waits.
async fn waiting(fixture: &Fixture, tasks: &mut JoinSet<RunId>, request: &LeaseRequest) {
    let (engine, request) = (fixture.engine.clone(), request.clone());
    let owner = request.owner;
    tasks.spawn(async move {
        let leased = engine.take_lease(&request, PATIENCE).await.expect("is answered");
        assert!(is_held(&leased), "{leased:?}");
        owner
    });
    let is_in_line = async {
        loop {
            let mut tx = fixture.store.begin().await.expect("begins");
            if tx.lock_owner(owner).await.expect("reads").1.is_some() {
                return;
            }
            drop(tx);
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, is_in_line).await.expect("it is in line");
}

/// Who of those that wait has got what it waited for.
async fn served(tasks: &mut JoinSet<RunId>) -> RunId {
    tasks.join_next().await.expect("one waits").expect("no panic")
}

async fn n_used(fixture: &Fixture, name: &str) -> u64 {
    fixture.engine.get_limit(key(name), 0).await.expect("is defined").0.used.n_used
}

async fn limited(fixture: &Fixture, name: &str) -> Run {
    let mut create = task();
    create.draft.concurrency_limits = vec![name.to_owned()];
    fixture.create(create).await.expect("is created").run
}

/// An engine over a store in memory with these options, and what wakes those whose turn it is, until the set is dropped.
async fn fixture_with(options: Options) -> (Fixture, JoinSet<()>) {
    let store = Arc::new(SqliteStore::in_memory().await.expect("a store opens"));
    let (fixture, mut wakes) = (Fixture::with(store, options), JoinSet::new());
    wakes.spawn(fixture.engine.clone().run_leases(CancellationToken::new()));
    (fixture, wakes)
}

async fn fixture() -> (Fixture, JoinSet<()>) {
    fixture_with(options()).await
}

#[tokio::test]
async fn all_slots_are_taken_or_none_and_repeats_take_nothing_more() {
    let (fixture, _wakes) = fixture().await;
    fixture.engine.put_limit(key("db"), 1).await.expect("is defined");
    fixture.engine.put_limit(key("gpu"), 1).await.expect("is defined");
    let gpu = request(&["gpu"]);
    assert!(is_held(&take(&fixture, &gpu).await));
    let both = request(&["db", "gpu", "not defined"]);
    let refused = take(&fixture, &both).await;
    assert_eq!(refused, Leased::Waiting { limit: key("gpu"), next_token_at: None });
    assert_eq!((n_used(&fixture, "db").await, n_used(&fixture, "gpu").await), (0, 1), "all or none");
    fixture.engine.release_lease(&Namespace::default(), gpu.owner).await.expect("is released");
    for _ in 0..3 {
        assert!(is_held(&take(&fixture, &both).await));
    }
    assert_eq!((n_used(&fixture, "db").await, n_used(&fixture, "gpu").await), (1, 1));
    let other = LeaseRequest { owner: both.owner, ..request(&["db"]) };
    let used = fixture.engine.take_lease(&other, Duration::ZERO).await;
    assert!(matches!(used, Err(EngineError::LeaseOwnerUsed { owner }) if owner == both.owner), "{used:?}");

    let run = limited(&fixture, "db").await;
    assert!(fixture.claim(&run, "w").await.expect("is answered").is_waiting(), "a run shares the slots");
    fixture.engine.release_lease(&Namespace::default(), both.owner).await.expect("is released");
    let epoch = fixture.get(&run).await.epoch;
    fixture.until_noted(|notes| notes.enqueued.lock().expect("no panic").contains(&(run.id, epoch))).await;
    let held = fixture.claim(&fixture.get(&run).await, "w").await.expect("is answered");
    assert!(held.is_granted());
    fixture.engine.release_lease(&Namespace::default(), run.id).await.expect("is answered");
    assert_eq!(n_used(&fixture, "db").await, 1, "nobody takes the slot of a run away");
    let of_run = LeaseRequest { owner: run.id, ..request(&["db"]) };
    let used = fixture.engine.take_lease(&of_run, Duration::ZERO).await;
    assert!(matches!(used, Err(EngineError::LeaseOwnerUsed { .. })), "{used:?}");
}

#[tokio::test]
async fn a_local_run_whose_code_waits_for_a_slot_says_so_before_each_attempt() {
    let (fixture, _wakes) = fixture().await;
    fixture.engine.put_limit(key("db"), 1).await.expect("is defined");
    let holder = fixture.queued().await;
    let held = LeaseRequest { for_run: Some(holder.id), ..request(&["db"]) };
    assert!(is_held(&take(&fixture, &held).await));
    let mut create = task();
    create.draft.placement = Placement::Session(fixture.session().await);
    create.draft.policies.retry.max_retries = 1;
    let run = fixture.create(create).await.expect("is created").run;
    let explained =
        async || fixture.engine.explain(&Namespace::default(), run.id).await.expect("is explained");
    let not_asked = explained().await;
    assert!(matches!(not_asked.waits[..], [Wait::Start { .. }]), "{not_asked:?}");
    assert!(not_asked.summary.contains("or for slots of its concurrency limits"), "{not_asked:?}");

    let mut tasks = JoinSet::new();
    let asked = LeaseRequest { for_run: Some(run.id), ..request(&["db"]) };
    waiting(&fixture, &mut tasks, &asked).await;
    let waits = format!(
        "It needs a free slot of each of the concurrency limits `db`. `db` has 1 slot, taken by run {}.",
        holder.id
    );
    let first = explained().await;
    assert!(matches!(first.waits[..], [Wait::Slot { .. }]), "{first:?}");
    assert_eq!(first.summary, waits);

    fixture.report(&run, Event::Started).await.expect("starts");
    fixture.report(&run, Event::Failed(Failure::default())).await.expect("is to be tried again");
    let second = explained().await;
    assert!(matches!(second.waits[..], [Wait::Slot { .. }]), "{second:?}");
    assert!(second.summary.starts_with("It is to be tried again"), "{second:?}");
    assert!(second.summary.ends_with(&waits), "{second:?}");

    fixture.engine.release_lease(&Namespace::default(), held.owner).await.expect("is released");
    assert_eq!(served(&mut tasks).await, asked.owner);
    let has_its_slot = explained().await;
    assert!(matches!(has_its_slot.waits[..], [Wait::Time { .. }]), "{has_its_slot:?}");
}

#[tokio::test]
async fn a_lease_is_renewed_while_it_lasts_and_is_another_s_after_that() {
    let (fixture, _wakes) = fixture().await;
    let namespace = Namespace::default();
    fixture.engine.put_limit(key("db"), 1).await.expect("is defined");
    let (first, second) = (request(&["db"]), request(&["db"]));
    assert!(is_held(&take(&fixture, &first).await));
    fixture.advance(20);
    fixture.engine.renew_lease(&namespace, first.owner, LEASE).await.expect("is renewed");
    fixture.advance(20);
    assert!(!is_held(&take(&fixture, &second).await));
    fixture.advance(10);
    let lost = fixture.engine.renew_lease(&namespace, first.owner, LEASE).await;
    assert!(matches!(lost, Err(EngineError::LeaseLost { owner }) if owner == first.owner), "{lost:?}");
    assert!(is_held(&take(&fixture, &second).await), "also before the sweep");
    assert_eq!(fixture.engine.clear_slots(10).await.expect("sweeps"), 1);
    assert_eq!(n_used(&fixture, "db").await, 1);
}

#[tokio::test]
async fn those_who_wait_are_served_in_the_order_in_which_they_came() {
    let (fixture, _wakes) = fixture().await;
    let namespace = Namespace::default();
    fixture.engine.put_limit(key("db"), 1).await.expect("is defined");
    let holder = request(&["db"]);
    assert!(is_held(&take(&fixture, &holder).await));
    let (first, second) = (request(&["db"]), request(&["db"]));
    let mut tasks = JoinSet::new();
    waiting(&fixture, &mut tasks, &first).await;
    fixture.advance(1);
    let run = limited(&fixture, "db").await;
    assert!(fixture.claim(&run, "w").await.expect("is answered").is_waiting());
    fixture.advance(1);
    waiting(&fixture, &mut tasks, &second).await;
    fixture.engine.release_lease(&namespace, holder.owner).await.expect("is released");
    assert_eq!(served(&mut tasks).await, first.owner);
    assert!(!is_held(&take(&fixture, &request(&["db"])).await));

    fixture.engine.release_lease(&namespace, first.owner).await.expect("is released");
    let epoch = fixture.get(&run).await.epoch;
    fixture.until_noted(|notes| notes.enqueued.lock().expect("no panic").contains(&(run.id, epoch))).await;
    assert!(!is_held(&take(&fixture, &request(&["db"])).await), "it is the turn of the run");
    let held = fixture.claim(&fixture.get(&run).await, "w").await.expect("is answered");
    assert!(held.is_granted(), "it was due before the second lease was asked for");
    fixture.report(&held.run, Event::Released).await.expect("is given back");
    assert_eq!(served(&mut tasks).await, second.owner);
}

#[tokio::test]
async fn a_lapsed_lease_goes_to_who_waits() {
    let (fixture, _wakes) = fixture().await;
    fixture.engine.put_limit(key("db"), 1).await.expect("is defined");
    let holder = request(&["db"]);
    assert!(is_held(&take(&fixture, &holder).await));
    fixture.advance(25);
    let (mut tasks, next) = (JoinSet::new(), request(&["db"]));
    waiting(&fixture, &mut tasks, &next).await;
    fixture.advance(5);
    assert_eq!(fixture.engine.clear_slots(10).await.expect("sweeps"), 1);
    assert_eq!(served(&mut tasks).await, next.owner);
}

#[tokio::test]
async fn a_rate_gives_code_a_token_once_and_holds_nothing() {
    let (fixture, _wakes) = fixture().await;
    fixture.engine.put_limit(key("api"), once_a_minute()).await.expect("is defined");
    let first = request(&["api"]);
    for _ in 0..2 {
        assert!(is_held(&take(&fixture, &first).await), "a repeat takes no other");
    }
    let Leased::Waiting { next_token_at, .. } = take(&fixture, &request(&["api"])).await else {
        panic!("there was one token")
    };
    assert_eq!(next_token_at, Some(fixture.clock.now() + Duration::from_secs(60)));
    fixture.advance(59);
    // Code waits, whatever the policy for runs.
    let (mut tasks, next) = (JoinSet::new(), request(&["api"]));
    waiting(&fixture, &mut tasks, &next).await;
    fixture.advance(1);
    assert_eq!(served(&mut tasks).await, next.owner);
    let run = limited(&fixture, "api").await;
    assert!(!fixture.claim(&run, "w").await.expect("is answered").is_granted(), "runs take of the same");
}

#[tokio::test]
async fn who_wants_several_slots_has_what_comes_free_kept_until_it_is_enough() {
    let (fixture, _wakes) = fixture().await;
    fixture.engine.put_limit(key("db"), 3).await.expect("is defined");
    let several = |n_slots| LeaseRequest { n_slots, ..request(&["db"]) };
    let (first, second) = (several(1), several(1));
    for held in [&first, &second] {
        assert!(is_held(&take(&fixture, held).await));
    }
    let (mut tasks, all) = (JoinSet::new(), several(3));
    waiting(&fixture, &mut tasks, &all).await;
    let run = limited(&fixture, "db").await;
    assert!(!fixture.claim(&run, "w").await.expect("is answered").is_granted(), "the free one is kept");
    let mut later = Vec::new();
    for _ in 0..2 {
        assert!(!is_held(&take(&fixture, &several(1)).await), "from code as well");
        let single = several(1);
        waiting(&fixture, &mut tasks, &single).await;
        later.push(single.owner);
    }
    fixture.engine.release_lease(&Namespace::default(), first.owner).await.expect("is released");
    assert!(!is_held(&take(&fixture, &several(1)).await), "so is the next");
    fixture.engine.release_lease(&Namespace::default(), second.owner).await.expect("is released");
    assert_eq!(served(&mut tasks).await, all.owner);
    assert_eq!(n_used(&fixture, "db").await, 3);
    assert!(is_held(&take(&fixture, &all).await), "a repeat takes nothing twice");
    let fewer = LeaseRequest { n_slots: 2, ..all.clone() };
    let refused = fixture.engine.take_lease(&fewer, Duration::ZERO).await;
    assert!(matches!(refused, Err(EngineError::LeaseOwnerUsed { .. })), "{refused:?}");
    fixture.engine.release_lease(&Namespace::default(), all.owner).await.expect("is released");
    let mut got = [served(&mut tasks).await, served(&mut tasks).await];
    got.sort_unstable();
    later.sort_unstable();
    assert_eq!(got.to_vec(), later, "with the run all three are given to those behind it");
}

#[tokio::test]
async fn several_slots_that_lapse_are_all_given_on() {
    let (fixture, _wakes) = fixture().await;
    fixture.engine.put_limit(key("db"), 3).await.expect("is defined");
    let all = LeaseRequest { n_slots: 3, ..request(&["db"]) };
    assert!(is_held(&take(&fixture, &all).await));
    fixture.advance(25);
    let (mut tasks, mut owners) = (JoinSet::new(), Vec::new());
    for _ in 0..3 {
        let single = request(&["db"]);
        waiting(&fixture, &mut tasks, &single).await;
        owners.push(single.owner);
    }
    fixture.advance(5);
    assert_eq!(fixture.engine.clear_slots(10).await.expect("sweeps"), 1);
    let mut got = Vec::new();
    for _ in &owners {
        got.push(served(&mut tasks).await);
    }
    got.sort_unstable();
    owners.sort_unstable();
    assert_eq!(got, owners);
}

#[tokio::test]
async fn several_tokens_of_a_rate_are_taken_together() {
    let (fixture, _wakes) = fixture().await;
    let rate = Rate {
        max_starts: NonZeroU32::new(3).expect("is not 0"),
        period: Duration::from_secs(60),
        burst: NonZeroU32::new(3).expect("is not 0"),
    };
    let settings = LimitSettings { max_slots: None, rate: Some(rate), on_collision: Collision::Wait };
    fixture.engine.put_limit(key("api"), settings).await.expect("is defined");
    let several = |n_slots| LeaseRequest { n_slots, ..request(&["api"]) };
    assert!(is_held(&take(&fixture, &several(2)).await));
    let Leased::Waiting { next_token_at, .. } = take(&fixture, &several(3)).await else {
        panic!("there is one token")
    };
    assert_eq!(next_token_at, Some(fixture.clock.now() + Duration::from_secs(40)));
    let (mut tasks, next) = (JoinSet::new(), several(3));
    waiting(&fixture, &mut tasks, &next).await;
    // It is heard of before its reservation lapses, so what has come free is kept for it.
    for _ in 0..5 {
        fixture.advance(4);
        let looked = fixture.engine.take_lease(&next, Duration::from_millis(1)).await.expect("is answered");
        assert!(!is_held(&looked), "there are two");
    }
    let run = limited(&fixture, "api").await;
    assert!(!fixture.claim(&run, "w").await.expect("is answered").is_granted(), "the two are kept");
    fixture.advance(20);
    assert_eq!(served(&mut tasks).await, next.owner);
}

#[tokio::test]
async fn what_a_limit_never_has_and_a_limit_that_must_be_there_are_told() {
    let (fixture, _wakes) = fixture().await;
    fixture.engine.put_limit(key("db"), 3).await.expect("is defined");
    fixture.engine.put_limit(key("api"), once_a_minute()).await.expect("is defined");
    fixture.engine.put_limit(key("closed"), 0).await.expect("is defined");
    let asked = async |n_slots, must_exist, limits: &[&str]| {
        let request = LeaseRequest { n_slots, must_exist, ..request(limits) };
        fixture.engine.take_lease(&request, Duration::ZERO).await
    };
    for (limit, n_slots, told) in [
        ("db", 4, "slot_count: 4 is more than the 3 that the concurrency limit `db` has"),
        (
            "api",
            2,
            "slot_count: 2 is more than the 1 starts that the rate of the concurrency limit `api` ever allows",
        ),
    ] {
        let error = asked(n_slots, false, &[limit]).await.expect_err("is refused").to_string();
        assert!(error.starts_with(told), "{error}");
    }
    assert!(!is_held(&asked(2, false, &["closed"]).await.expect("it may be opened again")));
    let error = asked(1, true, &["db", "none"]).await.expect_err("is refused");
    assert!(matches!(&error, EngineError::LimitNotFound { name } if name == "none"), "{error:?}");
    assert_eq!(n_used(&fixture, "db").await, 0);
    assert!(is_held(&asked(9, false, &["none"]).await.expect("does not bind")));
    assert!(is_held(&asked(1, true, &["db"]).await.expect("is there")));
}

#[tokio::test]
async fn a_lease_of_a_limit_without_slots_lasts_as_long_as_it_says() {
    let (fixture, _wakes) = fixture().await;
    let namespace = Namespace::default();
    fixture.engine.put_limit(key("api"), once_a_minute()).await.expect("is defined");
    let lease = request(&["api"]);
    assert!(is_held(&take(&fixture, &lease).await));
    for _ in 0..3 {
        fixture.advance(20);
        fixture.engine.renew_lease(&namespace, lease.owner, LEASE).await.expect("is renewed");
    }
    assert!(is_held(&take(&fixture, &request(&["api"])).await), "it holds no slot");
    fixture.engine.release_lease(&namespace, lease.owner).await.expect("is released");
    let lost = fixture.engine.renew_lease(&namespace, lease.owner, LEASE).await;
    assert!(matches!(lost, Err(EngineError::LeaseLost { .. })), "{lost:?}");
}

#[tokio::test]
async fn a_run_that_waits_keeps_its_place_when_a_lease_is_asked_for_in_its_name() {
    let (fixture, _wakes) = fixture().await;
    let elsewhere: Namespace = "elsewhere".parse().expect("is a namespace");
    let their_db = LimitKey { namespace: elsewhere.clone(), name: "db".to_owned() };
    for limit in [key("db"), key("gpu"), their_db.clone()] {
        fixture.engine.put_limit(limit, 1).await.expect("is defined");
    }
    let theirs = LeaseRequest { limits: [their_db].into(), ..request(&[]) };
    let (db, gpu) = (request(&["db"]), request(&["gpu"]));
    for holder in [&db, &gpu, &theirs] {
        assert!(is_held(&take(&fixture, holder).await));
    }
    let run = limited(&fixture, "db").await;
    assert!(fixture.claim(&run, "w").await.expect("is answered").is_waiting());
    for asked in [&gpu, &theirs] {
        let in_its_name = LeaseRequest { owner: run.id, ..asked.clone() };
        for wait in [Duration::ZERO, PATIENCE] {
            let used = fixture.engine.take_lease(&in_its_name, wait).await;
            assert!(
                matches!(used, Err(EngineError::LeaseOwnerUsed { owner }) if owner == run.id),
                "{used:?}"
            );
        }
        let namespace = &in_its_name.limits.first().expect("names one").namespace;
        fixture.engine.release_lease(namespace, run.id).await.expect("is answered");
    }
    fixture.engine.release_lease(&Namespace::default(), db.owner).await.expect("is released");
    let epoch = fixture.get(&run).await.epoch;
    fixture.until_noted(|notes| notes.enqueued.lock().expect("no panic").contains(&(run.id, epoch))).await;
    assert!(fixture.claim(&fixture.get(&run).await, "w").await.expect("is answered").is_granted());
}

#[tokio::test]
async fn who_waits_keeps_its_place_when_another_namespace_asks_in_its_name() {
    let (fixture, _wakes) = fixture().await;
    let elsewhere: Namespace = "elsewhere".parse().expect("is a namespace");
    let their_db = LimitKey { namespace: elsewhere.clone(), name: "db".to_owned() };
    for limit in [key("db"), their_db.clone()] {
        fixture.engine.put_limit(limit, 1).await.expect("is defined");
    }
    let theirs = LeaseRequest { limits: [their_db].into(), ..request(&[]) };
    let holder = request(&["db"]);
    for holder in [&holder, &theirs] {
        assert!(is_held(&take(&fixture, holder).await));
    }
    let (mut tasks, waiter) = (JoinSet::new(), request(&["db"]));
    waiting(&fixture, &mut tasks, &waiter).await;
    let in_its_name = LeaseRequest { owner: waiter.owner, ..theirs };
    let used = fixture.engine.take_lease(&in_its_name, Duration::ZERO).await;
    assert!(matches!(used, Err(EngineError::LeaseOwnerUsed { .. })), "{used:?}");
    fixture.engine.release_lease(&elsewhere, waiter.owner).await.expect("is answered");
    fixture.engine.release_lease(&Namespace::default(), holder.owner).await.expect("is released");
    assert_eq!(served(&mut tasks).await, waiter.owner);
}

#[tokio::test]
async fn no_more_calls_wait_than_may() {
    let (fixture, _wakes) = fixture_with(Options { max_waiting_leases: 1, ..options() }).await;
    fixture.engine.put_limit(key("db"), 1).await.expect("is defined");
    let (holder, first, second) = (request(&["db"]), request(&["db"]), request(&["db"]));
    assert!(is_held(&take(&fixture, &holder).await));
    let mut tasks = JoinSet::new();
    waiting(&fixture, &mut tasks, &first).await;
    let refused = fixture.engine.take_lease(&second, PATIENCE).await;
    assert!(matches!(refused, Err(EngineError::TooManyWait { most: 1 })), "{refused:?}");
    assert!(!is_held(&take(&fixture, &second).await), "who does not wait needs no place");
    fixture.engine.release_lease(&Namespace::default(), holder.owner).await.expect("is released");
    assert_eq!(served(&mut tasks).await, first.owner);
    waiting(&fixture, &mut tasks, &second).await;
    fixture.engine.release_lease(&Namespace::default(), first.owner).await.expect("is released");
    assert_eq!(served(&mut tasks).await, second.owner);
}

#[tokio::test]
async fn the_calls_of_one_namespace_leave_places_to_others() {
    let bounds = Options { max_waiting_leases: 3, max_waiting_leases_of_namespace: 2, ..options() };
    let (fixture, _wakes) = fixture_with(bounds).await;
    let in_namespace = |name: &str| {
        let namespace = name.parse().expect("is a namespace");
        LeaseRequest { limits: [LimitKey { namespace, name: "db".to_owned() }].into(), ..request(&[]) }
    };
    let (greedy, modest, third) = ("greedy", "modest", "third");
    for name in [greedy, modest, third] {
        let holder = in_namespace(name);
        let limit = holder.limits.first().expect("names one").clone();
        fixture.engine.put_limit(limit, 1).await.expect("is defined");
        assert!(is_held(&take(&fixture, &holder).await));
    }
    let mut tasks = JoinSet::new();
    for _ in 0..2 {
        waiting(&fixture, &mut tasks, &in_namespace(greedy)).await;
    }
    let refused = fixture.engine.take_lease(&in_namespace(greedy), PATIENCE).await;
    assert!(
        matches!(&refused, Err(EngineError::TooManyOfNamespaceWait { namespace, most: 2 }) if namespace.as_str() == greedy),
        "{refused:?}"
    );
    waiting(&fixture, &mut tasks, &in_namespace(modest)).await;
    let refused = fixture.engine.take_lease(&in_namespace(third), PATIENCE).await;
    assert!(matches!(refused, Err(EngineError::TooManyWait { most: 3 })), "{refused:?}");
}
