//! What becomes of what was set off.

use std::{slice::from_ref, sync::Arc, time::Duration};

use tidegate_model::{RunId, Timestamp};
use tidegate_orchestration::{Phase, Run};
use tokio::task::JoinSet;

use super::{automations::*, fixture::*};
use crate::{
    Automation, AutomationKey, AutomationRecord, EventRow, FilteredFiring, Firing, FiringKey, FiringOutcome,
    FiringQuery, RunStore, StoreError,
};

async fn delete_automation(store: &Arc<dyn RunStore>, key: &AutomationKey) {
    let mut tx = store.begin().await.unwrap();
    assert!(tx.lock_automation(key).await.unwrap().is_some());
    tx.delete_automation(key).await.unwrap();
    tx.commit().await.unwrap();
}

/// Deletes a run and makes one with its id.
async fn make_again(store: &Arc<dyn RunStore>, run: &Run) {
    let mut tx = store.begin().await.unwrap();
    tx.lock_runs(&[run.id]).await.unwrap();
    assert_eq!(tx.delete_runs(&[run.id]).await.unwrap(), 1);
    tx.commit().await.unwrap();
    insert(store, &[run]).await;
}

async fn record(store: &Arc<dyn RunStore>, name: &str) -> AutomationRecord {
    store.get_automation(&key(name)).await.unwrap().unwrap().record
}

fn firing_key(name: &str, event: &EventRow) -> FiringKey {
    FiringKey { automation: key(name), run_id: event.run_id, seq: event.seq }
}

/// All that are due by then, for a minute.
fn asked(now: Timestamp) -> FiringQuery {
    let until = now + Duration::from_secs(60);
    FiringQuery { now, until, limit: 100, limit_each: 100, except: Vec::new() }
}

async fn take(store: &Arc<dyn RunStore>, query: &FiringQuery) -> Vec<Firing> {
    let mut tx = store.begin().await.unwrap();
    let firings = tx.take_firings(query).await.unwrap();
    tx.commit().await.unwrap();
    firings
}

/// Which automations were set off by which runs.
fn taken(firings: &[Firing]) -> Vec<(&str, RunId)> {
    firings.iter().map(|firing| (firing.key.automation.name.as_str(), firing.key.run_id)).collect()
}

async fn finish(store: &Arc<dyn RunStore>, finished: &[(FiringKey, u32, FiringOutcome)], now: Timestamp) {
    let mut tx = store.begin().await.unwrap();
    tx.finish_firings(finished, now).await.unwrap();
    tx.commit().await.unwrap();
}

fn failed(error: &str, due_at: Timestamp) -> FiringOutcome {
    FiringOutcome::Failed { error: error.to_owned(), due_at }
}

fn given_up(error: &str) -> FiringOutcome {
    FiringOutcome::GivenUp { error: error.to_owned() }
}

/// An event that is refused sets nothing off. That of another run with the same id replaces what the first one has left, and
/// whoever still carries that out says nothing of the new one.
pub async fn an_event_sets_an_automation_off_once(store: Arc<dyn RunStore>) {
    insert_automations(&store, &[&automation("a")]).await;
    let run = entered(&queued(), Phase::Crashed, after(1));
    insert(&store, &[&run]).await;
    append(&store, &[event(&run, 1)]).await;
    let mut tx = store.begin().await.unwrap();
    let refused = tx.append_events(&[event(&run, 1)]).await;
    assert!(matches!(refused, Err(StoreError::Internal(_))), "{refused:?}");
    drop(tx);
    let first = take(&store, &asked(after(1))).await;
    assert_eq!(first.len(), 1);

    make_again(&store, &run).await;
    let crash = event(&entered(&run, Phase::Crashed, after(5)), 1);
    append(&store, from_ref(&crash)).await;
    let anew = Firing { n_tries: 2, ..firing(&key("a"), &crash) };
    assert_eq!(listed(&store, &key("a")).await, from_ref(&anew));
    finish(&store, &[(anew.key.clone(), 1, FiringOutcome::Succeeded)], after(6)).await;
    assert_eq!(listed(&store, &key("a")).await, from_ref(&anew));
    finish(&store, &[(anew.key.clone(), 2, given_up("no"))], after(6)).await;

    make_again(&store, &run).await;
    append(&store, from_ref(&crash)).await;
    assert_eq!(
        taken(&take(&store, &asked(after(7))).await),
        [("a", run.id)],
        "though the first was given up"
    );

    let mut filtered = automation("a");
    "tags:nightly".clone_into(&mut filtered.trigger.filter);
    update_automation(&store, &filtered).await;
    make_again(&store, &run).await;
    append(&store, from_ref(&crash)).await;
    assert_eq!(take(&store, &asked(after(999))).await, [], "the filter is to be asked of the new one");
    assert_eq!(store.firings_to_filter(9).await.unwrap().len(), 1);
}

/// Where there is a filter, nobody takes them before it was asked; those that it keeps are taken then, the others are gone.
pub async fn the_filter_comes_before_a_firing_is_taken(store: Arc<dyn RunStore>) {
    let mut filtered = automation("a");
    "tags:nightly".clone_into(&mut filtered.trigger.filter);
    let foreign = Automation { trigger: filtered.trigger.clone(), ..foreign("a") };
    insert_automations(&store, &[&filtered, &automation("b"), &foreign]).await;
    let events = crashes(&store, 3).await;
    let other = crash(&Run { namespace: elsewhere(), ..queued() }, after(9));
    append(&store, from_ref(&other)).await;
    assert!(taken(&take(&store, &asked(after(9))).await).iter().all(|(name, _)| *name == "b"));

    let all: Vec<Firing> = events
        .iter()
        .map(|event| firing(&filtered.key, event))
        .chain([firing(&foreign.key, &other)])
        .collect();
    assert_eq!(store.firings_to_filter(9).await.unwrap(), all, "the oldest come first");
    assert_eq!(store.firings_to_filter(2).await.unwrap(), all[..2]);
    let said = |firing: &Firing, is_kept| FilteredFiring { key: firing.key.clone(), at: firing.at, is_kept };
    let filter = async |filtered: &[FilteredFiring]| {
        let mut tx = store.begin().await.unwrap();
        tx.filter_firings(filtered).await.unwrap();
        tx.commit().await.unwrap();
    };
    let unknown = Firing { key: FiringKey { seq: 9, ..all[0].key.clone() }, ..all[0].clone() };
    filter(&[said(&all[0], true), said(&all[1], false), said(&unknown, true)]).await;
    assert_eq!(store.firings_to_filter(9).await.unwrap(), all[2..]);
    assert_eq!(listed(&store, &filtered.key).await, [all[0].clone(), all[2].clone()]);
    assert_eq!(taken(&take(&store, &asked(after(9))).await), [("a", all[0].key.run_id)]);

    // As of another run that had the id before.
    let earlier = Firing { at: after(2), ..all[2].clone() };
    for is_kept in [true, false] {
        filter(&[said(&earlier, is_kept)]).await;
        assert_eq!(store.firings_to_filter(9).await.unwrap(), all[2..]);
    }
    filter(&[said(&all[0], false), said(&all[2], false), said(&all[3], true)]).await;
    assert_eq!(listed(&store, &filtered.key).await.len(), 1, "who asks again takes none away that was kept");
    assert_eq!(store.firings_to_filter(9).await.unwrap(), []);
    assert_eq!(taken(&take(&store, &asked(after(9))).await), [("a", other.run_id)]);
}

/// Those that are due come by their time, each to one who asks, and again where nobody has said what became of it.
pub async fn due_firings_are_taken_once_until_they_are_due_again(store: Arc<dyn RunStore>) {
    insert_automations(&store, &[&automation("a")]).await;
    assert_eq!(take(&store, &asked(after(9))).await, []);
    let events = crashes(&store, 3).await;
    let of = |event: &EventRow, n_tries, due_at| Firing { n_tries, due_at, ..firing(&key("a"), event) };
    assert_eq!(take(&store, &asked(T0)).await, []);
    let two = take(&store, &asked(after(2))).await;
    assert_eq!(two, [of(&events[0], 1, after(62)), of(&events[1], 1, after(62))]);
    assert_eq!(
        listed(&store, &key("a")).await,
        [two[0].clone(), two[1].clone(), of(&events[2], 0, after(3))]
    );
    assert_eq!(take(&store, &asked(after(2))).await, []);
    assert_eq!(take(&store, &asked(after(61))).await, [of(&events[2], 1, after(121))]);

    let mut tx = store.begin().await.unwrap();
    let again = [of(&events[0], 2, after(180)), of(&events[1], 2, after(180))];
    assert_eq!(tx.take_firings(&asked(after(120))).await.unwrap(), again);
    drop(tx);
    // It is rolled back behind the drop, and until then they are left out.
    let mut tx = within(async {
        loop {
            let mut tx = store.begin().await.unwrap();
            let one = FiringQuery { limit: 1, ..asked(after(120)) };
            if tx.take_firings(&one).await.unwrap() == again[..1] {
                break tx;
            }
        }
    })
    .await;
    let query = asked(after(120));
    let mut second = Box::pin(take(&store, &query));
    if store.kind() == "sqlite" {
        assert!(is_waiting(&mut second).await);
        tx.commit().await.unwrap();
        assert_eq!(within(second).await, again[1..]);
    } else {
        assert_eq!(within(second).await, again[1..]);
        assert_eq!(tx.take_firings(&query).await.unwrap(), []);
        tx.commit().await.unwrap();
    }
    assert_eq!(take(&store, &asked(after(120))).await, []);
}

/// No more than are asked for, in all and of one automation, and none of those that are left out or paused.
pub async fn few_firings_are_taken_of_each_automation(store: Arc<dyn RunStore>) {
    let foreign = foreign("a");
    insert_automations(&store, &[&automation("a"), &automation("b"), &foreign]).await;
    let ids: Vec<RunId> = crashes(&store, 4).await.iter().map(|event| event.run_id).collect();
    let elsewhere = Run { namespace: elsewhere(), ..queued() };
    append(&store, &[crash(&elsewhere, after(9))]).await;

    let one_each = FiringQuery { limit_each: 1, except: vec![foreign.key.clone()], ..asked(after(9)) };
    let mut firings = take(&store, &one_each).await;
    firings.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    assert_eq!(taken(&firings), [("a", ids[0]), ("b", ids[0])]);
    let three = take(&store, &FiringQuery { limit: 3, ..asked(after(9)) }).await;
    let mut of_second = taken(&three[..2]);
    of_second.sort_unstable();
    assert_eq!(of_second, [("a", ids[1]), ("b", ids[1])]);
    assert_eq!(three[2].key.run_id, ids[2]);

    update_automation(&store, &Automation { is_paused: true, ..automation("a") }).await;
    let of_others = take(&store, &FiringQuery { except: vec![key("b")], ..asked(after(9)) }).await;
    assert_eq!(taken(&of_others), [("a", elsewhere.id)], "that of the other namespace");
    let of_b = take(&store, &asked(after(9))).await;
    assert!(taken(&of_b).iter().all(|(name, _)| *name == "b"), "{of_b:?}");
    update_automation(&store, &automation("a")).await;
    let of_a = take(&store, &asked(after(9))).await;
    assert!(taken(&of_a).iter().all(|(name, _)| *name == "a"), "{of_a:?}");
    // Of eight, five were taken before.
    assert_eq!(of_a.len() + of_b.len(), 3);
    assert_eq!(take(&store, &asked(after(9))).await, []);
}

/// What succeeded and what is dropped goes, what failed comes again, what was given up stays and is shown; the record of the
/// automation says so, and nothing else of it changes.
pub async fn what_becomes_of_a_firing_is_kept(store: Arc<dyn RunStore>) {
    let (a, b) = (automation("a"), automation("b"));
    insert_automations(&store, &[&a, &b]).await;
    let events = crashes(&store, 5).await;
    assert_eq!(take(&store, &asked(after(9))).await.len(), 10);
    let finished = |name, idx: usize, outcome| (firing_key(name, &events[idx]), 1, outcome);

    finish(&store, &[], after(10)).await;
    let first = [
        finished("a", 1, failed("e\0rror", after(50))),
        finished("b", 4, given_up("no \"answer\"")),
        finished("a", 0, FiringOutcome::Succeeded),
    ];
    finish(&store, &first, after(10)).await;
    let succeeded = AutomationRecord {
        n_succeeded: 1,
        last_succeeded_at: Some(after(10)),
        ..AutomationRecord::default()
    };
    let wanted = Automation { record: succeeded.clone(), ..a.clone() };
    assert_eq!(store.get_automation(&a.key).await.unwrap(), Some(wanted), "the last of them succeeded");
    let refused = AutomationRecord {
        n_given_up: 1,
        last_error: "no \"answer\"".to_owned(),
        ..AutomationRecord::default()
    };
    assert_eq!(record(&store, "b").await, refused);

    finish(&store, &[finished("a", 2, FiringOutcome::Dropped)], after(11)).await;
    assert_eq!(record(&store, "a").await, succeeded);
    let second = [
        finished("a", 3, FiringOutcome::Succeeded),
        finished("b", 3, FiringOutcome::Dropped),
        finished("a", 4, given_up("gone")),
    ];
    finish(&store, &second, after(12)).await;
    let both = AutomationRecord {
        n_succeeded: 2,
        n_given_up: 1,
        last_error: "gone".to_owned(),
        last_succeeded_at: Some(after(12)),
    };
    assert_eq!(record(&store, "a").await, both);
    assert_eq!(record(&store, "b").await, refused);

    let waiting = Firing {
        n_tries: 1,
        last_error: "e\u{fffd}rror".to_owned(),
        due_at: after(50),
        ..firing(&a.key, &events[1])
    };
    let shown = Firing {
        n_tries: 1,
        last_error: "gone".to_owned(),
        due_at: after(12),
        is_given_up: true,
        ..firing(&a.key, &events[4])
    };
    assert_eq!(listed(&store, &a.key).await, [waiting.clone(), shown.clone()]);
    let of_a = |now| FiringQuery { except: vec![b.key.clone()], ..asked(now) };
    assert_eq!(take(&store, &of_a(after(49))).await, []);
    let again = Firing { n_tries: 2, due_at: after(110), ..waiting };
    assert_eq!(take(&store, &of_a(after(50))).await, from_ref(&again));
    finish(&store, &[(again.key, 2, FiringOutcome::Succeeded)], after(51)).await;
    let mended = AutomationRecord {
        n_succeeded: 3,
        last_error: String::new(),
        last_succeeded_at: Some(after(51)),
        ..both
    };
    assert_eq!(record(&store, "a").await, mended);
    assert_eq!(listed(&store, &a.key).await, [shown]);
}

/// Those that were given up long ago are forgotten, some at a time.
pub async fn firings_that_were_given_up_are_purged(store: Arc<dyn RunStore>) {
    insert_automations(&store, &[&automation("a")]).await;
    let events = crashes(&store, 4).await;
    take(&store, &asked(after(9))).await;
    for (idx, given_up_at) in [(0, 12), (1, 11), (2, 13)] {
        let finished = (firing_key("a", &events[idx]), 1, given_up("no"));
        finish(&store, &[finished], after(given_up_at)).await;
    }
    let purge = async |before, limit| {
        let mut tx = store.begin().await.unwrap();
        let n_purged = tx.purge_firings(before, limit).await.unwrap();
        tx.commit().await.unwrap();
        n_purged
    };
    assert_eq!(purge(after(11), 9).await, 0);
    assert_eq!(purge(after(13), 1).await, 1);
    let left: Vec<RunId> = listed(&store, &key("a")).await.iter().map(|firing| firing.key.run_id).collect();
    assert_eq!(left, [events[0].run_id, events[2].run_id, events[3].run_id], "the oldest went");
    assert_eq!(purge(after(99), 9).await, 2);
    assert_eq!(listed(&store, &key("a")).await.len(), 1, "what is still to be done stays");
}

/// Those given up count; an automation that is paused already keeps what its record says.
pub async fn an_automation_with_too_many_firings_is_paused(store: Arc<dyn RunStore>) {
    let paused = Automation { is_paused: true, ..automation("c") };
    insert_automations(&store, &[&automation("a"), &automation("b"), &paused]).await;
    let events = crashes(&store, 2).await;
    take(&store, &asked(after(9))).await;
    finish(&store, &[(firing_key("a", &events[0]), 1, given_up("no"))], after(10)).await;
    finish(&store, &[(firing_key("b", &events[0]), 1, FiringOutcome::Succeeded)], after(10)).await;
    let pause = async |most| {
        let mut tx = store.begin().await.unwrap();
        let crowded = tx.pause_crowded(most, "too many").await.unwrap();
        tx.commit().await.unwrap();
        crowded
    };
    assert_eq!(pause(2).await, []);
    assert_eq!(pause(1).await, [key("a")]);
    assert_eq!(pause(1).await, [], "it is paused");
    let told = AutomationRecord { n_given_up: 1, last_error: "too many".to_owned(), ..Default::default() };
    assert_eq!(record(&store, "a").await, told);
    finish(&store, &[(firing_key("a", &events[1]), 1, FiringOutcome::Succeeded)], after(11)).await;
    assert_eq!(record(&store, "a").await.last_error, "too many", "what was under way then does not hide why");
    let left: Vec<bool> = store
        .list_automations(&paused.key.namespace, None, 9)
        .await
        .unwrap()
        .iter()
        .map(|automation| automation.is_paused)
        .collect();
    assert_eq!(left, [true, false, true]);
    assert_eq!(record(&store, "c").await, AutomationRecord::default());
}

/// Those given up among them, and no other's.
pub async fn firings_are_cleared_by_and_by(store: Arc<dyn RunStore>) {
    insert_automations(&store, &[&automation("a"), &automation("b")]).await;
    let events = crashes(&store, 3).await;
    take(&store, &asked(after(9))).await;
    finish(&store, &[(firing_key("a", &events[0]), 1, given_up("no"))], after(10)).await;
    for (n_cleared, n_left) in [(2, 1), (1, 0), (0, 0)] {
        let mut tx = store.begin().await.unwrap();
        tx.lock_automation(&key("a")).await.unwrap();
        assert_eq!(tx.clear_firings(&key("a"), 2).await.unwrap(), n_cleared);
        tx.commit().await.unwrap();
        assert_eq!(listed(&store, &key("a")).await.len(), n_left);
    }
    assert_eq!(listed(&store, &key("b")).await.len(), 3);
}

/// Whoever finishes a firing that was taken again since, was given up or is gone changes nothing.
pub async fn a_firing_that_was_taken_again_is_anothers(store: Arc<dyn RunStore>) {
    insert_automations(&store, &[&automation("a")]).await;
    let events = crashes(&store, 1).await;
    take(&store, &asked(after(9))).await;
    let again = take(&store, &asked(after(99))).await;
    assert_eq!(again[0].n_tries, 2);
    for outcome in [FiringOutcome::Succeeded, FiringOutcome::Dropped, failed("late", T0), given_up("late")] {
        finish(&store, &[(firing_key("a", &events[0]), 1, outcome)], after(100)).await;
        assert_eq!(listed(&store, &key("a")).await, again);
    }
    assert_eq!(record(&store, "a").await, AutomationRecord::default());

    finish(&store, &[(firing_key("a", &events[0]), 2, given_up("no"))], after(101)).await;
    let (kept, told) = (listed(&store, &key("a")).await, record(&store, "a").await);
    assert!(kept[0].is_given_up);
    let unknown = FiringKey { seq: 2, ..firing_key("a", &events[0]) };
    for outcome in [FiringOutcome::Succeeded, FiringOutcome::Dropped, failed("late", T0), given_up("late")] {
        let both = [(firing_key("a", &events[0]), 2, outcome.clone()), (unknown.clone(), 2, outcome)];
        finish(&store, &both, after(102)).await;
    }
    assert_eq!(listed(&store, &key("a")).await, kept);
    assert_eq!(record(&store, "a").await, told);
}

/// Batches that name the same firings in opposite orders do not deadlock, and no success is lost.
pub async fn batches_of_finished_firings_do_not_cross(store: Arc<dyn RunStore>) {
    const N_RUNS: u64 = 40;
    insert_automations(&store, &[&automation("a"), &automation("b")]).await;
    let events = crashes(&store, N_RUNS).await;
    take(&store, &asked(after(99))).await;
    let (first, rest) = events.split_at(events.len() / 2);
    let keys = |events: &[EventRow]| -> Vec<FiringKey> {
        events.iter().flat_map(|event| [firing_key("a", event), firing_key("b", event)]).collect()
    };
    // Both fail the first half over and over, and each finishes the other half of the rest.
    let (shared, own) = (keys(first), keys(rest));
    let mut lanes = JoinSet::new();
    for lane in 0..2 {
        let mut shared = shared.clone();
        if lane == 1 {
            shared.reverse();
        }
        let own: Vec<FiringKey> = own.iter().skip(lane).step_by(2).cloned().collect();
        let store = Arc::clone(&store);
        lanes.spawn(async move {
            for key in own {
                let mut finished = vec![(key, 1, FiringOutcome::Succeeded)];
                finished.extend(shared.iter().map(|key| (key.clone(), 1, failed("no", after(99)))));
                finish(&store, &finished, after(99)).await;
            }
        });
    }
    within(lanes.join_all()).await;
    for name in ["a", "b"] {
        assert_eq!(record(&store, name).await.n_succeeded, N_RUNS / 2);
        let left = listed(&store, &key(name)).await;
        assert_eq!(left.len(), first.len());
        assert!(left.iter().all(|firing| firing.last_error == "no"));
    }
}

/// All of them, also those that were given up, and none of another automation; one that is made anew has none.
pub async fn firings_go_with_their_automation(store: Arc<dyn RunStore>) {
    let (a, b, foreign) = (automation("a"), automation("b"), foreign("a"));
    insert_automations(&store, &[&a, &b, &foreign]).await;
    let events = crashes(&store, 2).await;
    append(&store, &[crash(&Run { namespace: elsewhere(), ..queued() }, after(1))]).await;
    take(&store, &asked(after(9))).await;
    finish(&store, &[(firing_key("a", &events[0]), 1, given_up("no"))], after(10)).await;
    delete_automation(&store, &a.key).await;
    assert_eq!(listed(&store, &a.key).await, []);
    assert_eq!(listed(&store, &b.key).await.len(), 2);
    assert_eq!(listed(&store, &foreign.key).await.len(), 1);
    insert_automations(&store, &[&a]).await;
    assert_eq!(listed(&store, &a.key).await, []);
    let again = take(&store, &asked(after(99))).await;
    assert!(again.iter().all(|firing| firing.key.automation != a.key), "{again:?}");
}

/// An event that was committed after the automation had gone leaves a firing that nobody takes and that does not stay.
pub async fn a_firing_without_its_automation_is_deleted(store: Arc<dyn RunStore>) {
    if store.kind() == "sqlite" {
        return; // Transactions come one after the other.
    }
    insert_automations(&store, &[&automation("a"), &automation("b")]).await;
    let event = crash(&queued(), after(1));
    let mut appending = store.begin().await.unwrap();
    appending.append_events(from_ref(&event)).await.unwrap();
    delete_automation(&store, &key("a")).await;
    appending.commit().await.unwrap();
    assert_eq!(listed(&store, &key("a")).await.len(), 1);
    assert_eq!(taken(&take(&store, &asked(after(9))).await), [("b", event.run_id)]);
    assert_eq!(listed(&store, &key("a")).await, []);
}

/// By run and number, page by page.
pub async fn firings_are_listed_by_run(store: Arc<dyn RunStore>) {
    let mut each = automation("a");
    each.trigger.each_attempt = true;
    insert_automations(&store, &[&each, &automation("b")]).await;
    let events = crashes(&store, 3).await;
    let more = [9, 10].map(|seq| EventRow { seq, ..events[1].clone() });
    append(&store, &[more[1].clone(), more[0].clone()]).await;
    let all = [&events[0], &events[1], &more[0], &more[1], &events[2]].map(|event| firing(&each.key, event));
    let page = async |last: Option<&Firing>, limit| {
        let after = last.map(|last| (last.key.run_id, last.key.seq));
        store.list_firings(&each.key, after, limit).await.unwrap()
    };
    assert_eq!(page(None, 9).await, all);
    assert_eq!(page(None, 2).await, all[..2]);
    assert_eq!(page(Some(&all[1]), 2).await, all[2..4]);
    assert_eq!(page(Some(&all[3]), 9).await, all[4..]);
    assert_eq!(page(Some(&all[4]), 9).await, []);
    assert_eq!(store.list_firings(&key("none"), None, 9).await.unwrap(), []);
}
