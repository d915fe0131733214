//! What time has made due.

use std::{sync::Arc, time::Duration};

use tidegate_model::{Epoch, RunId, SessionId, Timestamp};
use tidegate_orchestration::{Draft, Holder, Phase, Policies, Run, State, StateName};

use super::fixture::*;
use crate::{NewRun, RunStore, Session, Sweep};

async fn sweep(store: &Arc<dyn RunStore>, sweep: Sweep, limit: usize) -> Vec<RunId> {
    let mut tx = store.begin().await.unwrap();
    let swept = tx.sweep(&sweep, limit).await.unwrap();
    tx.commit().await.unwrap();
    ids(&swept)
}

fn due_at(seconds: u64) -> Run {
    made(Draft { due_at: Some(after(seconds)), ..draft() })
}

async fn insert_enqueued(store: &Arc<dyn RunStore>, run: &Run, at: Timestamp) {
    let mut tx = store.begin().await.unwrap();
    tx.insert_runs(&[NewRun { enqueued_at: Some(at), ..bare(run) }]).await.unwrap();
    tx.commit().await.unwrap();
}

/// Queued SCHEDULED runs that nobody handed over, by due time.
pub async fn never_enqueued(store: Arc<dyn RunStore>) {
    let (late, early, future) = (due_at(20), due_at(10), due_at(21));
    let running = entered(&due_at(1), running(), T0);
    let session = local(SessionId::new());
    let local = entered(&session, Phase::Scheduled, T0);
    insert(&store, &[&late, &early, &future, &running, &local]).await;
    insert_enqueued(&store, &due_at(1), T0).await;
    let due = || Sweep::NeverEnqueued { due_before: after(20) };
    assert_eq!(sweep(&store, due(), 10).await, [early.id, late.id]);
    assert_eq!(sweep(&store, due(), 1).await, [early.id]);

    store.mark_enqueued(&[(early.id, early.epoch)], Some(after(20))).await.unwrap();
    assert_eq!(sweep(&store, due(), 10).await, [late.id]);
    store.mark_enqueued(&[(early.id, early.epoch)], None).await.unwrap();
    update(&store, &[(late.clone(), Some(after(20)))]).await;
    assert_eq!(sweep(&store, due(), 10).await, [early.id]);

    // In one batch, some were handed over and some were not.
    update(&store, &[(late.clone(), None), (early.clone(), Some(after(20)))]).await;
    assert_eq!(sweep(&store, due(), 10).await, [late.id]);
    update(&store, &[(late.clone(), Some(after(20))), (early.clone(), None)]).await;
    assert_eq!(sweep(&store, due(), 10).await, [early.id]);
}

/// Queued SCHEDULED runs that were handed over long ago, oldest first.
pub async fn enqueued_before(store: Arc<dyn RunStore>) {
    let (second, first, recent, future, never) = (due_at(1), due_at(2), due_at(3), due_at(99), due_at(4));
    let claimed = entered(&due_at(1), running(), T0);
    for (run, at) in [(&second, 20), (&first, 10), (&recent, 30), (&future, 5), (&claimed, 1)] {
        insert_enqueued(&store, run, after(at)).await;
    }
    insert(&store, &[&never]).await;
    let lost = || Sweep::EnqueuedBefore { due_before: after(50), enqueued_before: after(30) };
    assert_eq!(sweep(&store, lost(), 10).await, [first.id, second.id]);
    assert_eq!(sweep(&store, lost(), 1).await, [first.id]);
}

/// Runs whose timer has come, by timer, whatever it is that they wait for.
pub async fn timers(store: Arc<dyn RunStore>) {
    let holder = worker;
    let late = entered(&queued(), Phase::Pending { holder: holder(), start_by: Some(after(16)) }, T0);
    let early = entered(&queued(), Phase::Running { holder: holder(), deadline: Some(after(10)) }, T0);
    let middle = entered(&queued(), Phase::Cancelling { holder: holder(), close_at: after(15) }, T0);
    let future = entered(&queued(), Phase::Running { holder: holder(), deadline: Some(after(21)) }, T0);
    let endless = entered(&queued(), running(), T0);
    let expiring = made(Draft { expires_at: Some(after(18)), ..draft() });
    let policies = Policies { late_after: Some(Duration::from_secs(12)), ..Policies::default() };
    let lateish = made(Draft { due_at: Some(after(5)), policies, ..draft() });
    let suspended = entered(&queued(), Phase::Paused { holder: None, expires_at: Some(after(19)) }, T0);
    let paused = Phase::Paused { holder: Some(holder()), expires_at: Some(after(20)) };
    let paused = entered(&queued(), paused, after(1));
    let patient = entered(&queued(), Phase::Paused { holder: None, expires_at: None }, T0);
    insert(&store, &[&late, &early, &middle, &future, &endless, &queued()]).await;
    insert(&store, &[&paused, &suspended, &lateish, &expiring, &patient]).await;
    let due = || Sweep::Timers { now: after(20) };
    let all = [early.id, middle.id, late.id, lateish.id, expiring.id, suspended.id, paused.id];
    assert_eq!(sweep(&store, due(), 10).await, all);
    assert_eq!(sweep(&store, due(), 2).await, [early.id, middle.id]);
    update(&store, &[(entered(&early, Phase::Completed, after(11)), None)]).await;
    let called_late = State::new(Phase::Scheduled, after(17)).described(StateName::Late, "");
    update(&store, &[(Run { state: called_late, ..lateish }, None)]).await;
    let left = [middle.id, late.id, expiring.id, suspended.id, paused.id];
    assert_eq!(sweep(&store, due(), 10).await, left);
}

/// Runs whose children are still to be ended.
pub async fn cascades(store: Arc<dyn RunStore>) {
    let pending = |run: Run| Run { cascade_pending: true, ..run };
    let first = pending(queued());
    let second = pending(entered(&queued(), Phase::Cancelled, T0));
    insert(&store, &[&second, &queued(), &first]).await;
    assert_eq!(sweep(&store, Sweep::Cascades, 10).await, [first.id, second.id]);
    assert_eq!(sweep(&store, Sweep::Cascades, 1).await, [first.id]);
    update(&store, &[(Run { cascade_pending: false, ..first.clone() }, None)]).await;
    assert_eq!(sweep(&store, Sweep::Cascades, 10).await, [second.id]);
}

/// Open local runs of sessions that have expired or were ended.
pub async fn lost_sessions(store: Arc<dyn RunStore>) {
    let session = |seconds| Session {
        id: SessionId::new(),
        namespace: "default".parse().unwrap(),
        identity: "host 1".to_owned(),
        expires_at: after(seconds),
    };
    let (lost, alive, ended) = (session(10), session(11), session(99));
    for session in [&lost, &alive, &ended] {
        assert!(store.put_session(session).await.unwrap());
    }
    let pending = local(lost.id);
    let holder = Holder::Session(lost.id);
    let running = entered(&local(lost.id), Phase::Running { holder: holder.clone(), deadline: None }, T0);
    let cancelling = entered(&local(lost.id), Phase::Cancelling { holder, close_at: after(5) }, T0);
    let retried = entered(&local(lost.id), Phase::Scheduled, T0);
    let waits = Phase::Paused { holder: Some(Holder::Session(lost.id)), expires_at: None };
    let paused = entered(&local(lost.id), waits, T0);
    let over = entered(&local(lost.id), Phase::Completed, T0);
    let (kept, others) = (local(alive.id), local(ended.id));
    insert(&store, &[&pending, &running, &cancelling, &retried, &paused, &over, &kept, &others, &queued()])
        .await;
    let due = || Sweep::LostSessions { now: after(10) };
    let open = [pending.id, running.id, cancelling.id, retried.id, paused.id];
    assert_eq!(sweep(&store, due(), 10).await, open);
    assert_eq!(sweep(&store, due(), 2).await, [pending.id, running.id]);
    store.end_session(&ended.namespace, ended.id).await.unwrap();
    assert_eq!(sweep(&store, due(), 10).await.last(), Some(&others.id));
}

/// What another transaction has locked is left to it; where transactions come one after the other, the sweep waits.
pub async fn a_sweep_leaves_out_locked_runs(store: Arc<dyn RunStore>) {
    let (locked, free) = (due_at(1), due_at(2));
    insert(&store, &[&locked, &free]).await;
    let mut tx = store.begin().await.unwrap();
    tx.lock_runs(&[locked.id]).await.unwrap();
    let due = Sweep::NeverEnqueued { due_before: after(9) };
    if store.kind() == "sqlite" {
        let mut swept = Box::pin(sweep(&store, due, 10));
        assert!(is_waiting(&mut swept).await);
        tx.commit().await.unwrap();
        assert_eq!(within(swept).await, [locked.id, free.id]);
    } else {
        assert_eq!(within(sweep(&store, due, 10)).await, [free.id]);
        tx.commit().await.unwrap();
    }
}

/// Held queued runs come by id, page by page, without those that entered their state lately.
pub async fn held_runs_are_paged_by_id(store: Arc<dyn RunStore>) {
    let held: Vec<Run> = [
        Phase::Pending { holder: worker(), start_by: Some(after(1)) },
        running(),
        Phase::Cancelling { holder: worker(), close_at: after(1) },
        Phase::Paused { holder: Some(worker()), expires_at: None },
    ]
    .into_iter()
    .map(|phase| entered(&queued(), phase, T0))
    .collect();
    let lately = entered(&queued(), running(), after(10));
    let over = entered(&queued(), Phase::Failed, T0);
    let local = local(SessionId::new());
    let suspended = entered(&queued(), Phase::Paused { holder: None, expires_at: None }, T0);
    insert(&store, &[&held[3], &held[2], &held[0], &held[1], &suspended, &lately, &over, &local, &queued()])
        .await;
    let all = store.held_runs(None, after(10), 10).await.unwrap();
    assert_eq!(all, held);
    let page = store.held_runs(None, after(10), 2).await.unwrap();
    assert_eq!(page, held[..2]);
    let rest = store.held_runs(Some(held[1].id), after(10), 2).await.unwrap();
    assert_eq!(rest, held[2..]);
}

/// A mark that bears an older epoch, or comes for a run that is not SCHEDULED, changes nothing.
pub async fn an_old_epoch_is_not_marked(store: Arc<dyn RunStore>) {
    let again = Run { epoch: Epoch(3), ..due_at(1) };
    let claimed = entered(&due_at(2), running(), T0);
    insert(&store, &[&again, &claimed]).await;
    let never = || Sweep::NeverEnqueued { due_before: after(9) };
    let marks = [(again.id, Epoch(2)), (claimed.id, claimed.epoch), (RunId::new(), Epoch(0))];
    store.mark_enqueued(&marks, Some(T0)).await.unwrap();
    assert_eq!(sweep(&store, never(), 10).await, [again.id]);
    update(&store, &[(entered(&claimed, Phase::Scheduled, after(1)), None)]).await;
    assert_eq!(sweep(&store, never(), 10).await, [again.id, claimed.id]);
    store.mark_enqueued(&[(again.id, Epoch(3))], Some(T0)).await.unwrap();
    assert_eq!(sweep(&store, never(), 10).await, [claimed.id]);
    store.mark_enqueued(&[], Some(T0)).await.unwrap();
}
