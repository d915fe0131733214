use tidegate_model::{RunId, Timestamp};
use tidegate_orchestration::{Event, Run, apply};
use tidegate_store::RunStore;

/// Ends a run and deletes it in one transaction: as one whose last event was deleted before anyone read it.
///
/// # Panics
/// When the store fails, or there is no such run.
pub async fn vanish(store: &dyn RunStore, run_id: RunId, now: Timestamp) {
    let mut tx = store.begin().await.expect("begins");
    let run = tx.lock_runs(&[run_id]).await.expect("locks").pop().expect("is there");
    let cancel = Event::CancelRequested { reason: "it is to go".to_owned(), actor: None };
    let step = apply(&run, None, &cancel, now, 0.5).expect("can be cancelled");
    // There is nothing below it, so that nothing is to come.
    let ended = Run { cascade_pending: false, ..step.run };
    tx.update_runs(&[(ended, None)]).await.expect("updates");
    assert_eq!(
        tx.delete_runs(&[run_id]).await.expect("deletes"),
        1,
        "no code executes {run_id}, so that it ends at once"
    );
    tx.commit().await.expect("commits");
}
