//! The end of a transaction, also where the connection broke while the commit was under way.

use std::slice;

use tidegate_store::{EventRow, RunStore, RunTx, StoreError};

use crate::lane::with_retries;

/// Commits a transaction that appended `events`. The answer is definite: a commit whose outcome the store could not
/// tell is resolved by reading. `Unavailable`: nothing was changed, and the transaction may be run again.
///
/// `CommitUnknown` is left only where the store does not answer for longer than the retries last.
pub(crate) async fn commit(
    store: &dyn RunStore,
    tx: Box<dyn RunTx>,
    events: &[EventRow],
) -> Result<(), StoreError> {
    let cause = match tx.commit().await {
        Err(StoreError::CommitUnknown(cause)) => cause,
        definite => return definite,
    };
    // What changes no run writes marks and reservations, which may be written twice.
    let Some(witness) = events.first() else { return Err(StoreError::Unavailable(cause)) };
    match with_retries(|| was_committed(store, witness)).await {
        Ok(true) => {
            tracing::info!(run.id = %witness.run_id, %cause, "a commit went unanswered; reading shows that it was made");
            Ok(())
        }
        Ok(false) => Err(StoreError::Unavailable(cause)),
        Err(error) => {
            tracing::warn!(run.id = %witness.run_id, %error, "a commit went unanswered, and the store cannot be asked");
            Err(StoreError::CommitUnknown(cause))
        }
    }
}

/// Whether the transaction that appended `witness` was committed. All of it was, or nothing.
///
/// The server may still be at it. So the event's number is asked for as by a second writer: that waits until the
/// first has ended, one way or the other.
async fn was_committed(store: &dyn RunStore, witness: &EventRow) -> Result<bool, StoreError> {
    let mut second = store.begin().await?;
    let refusal = match second.append_events(slice::from_ref(witness)).await {
        // The number is free; dropping the transaction leaves it so.
        Ok(()) => return Ok(false),
        Err(StoreError::Internal(refusal)) => refusal,
        Err(error) => return Err(error),
    };
    drop(second);
    let found = store.list_events(&witness.namespace, witness.run_id, witness.seq - 1, 1).await?;
    match found.first().filter(|found| found.seq == witness.seq) {
        Some(found) => Ok(is_same(found, witness)),
        // The number was not refused because it is taken.
        None => Err(StoreError::Internal(refusal)),
    }
}

/// Whether two events with one number are one. Another writer's would be of another time, or bear another epoch.
fn is_same(found: &EventRow, witness: &EventRow) -> bool {
    let facts = |event: &EventRow| {
        (event.at, event.epoch, event.attempt, event.state_type, event.state_name, event.holder.clone())
    };
    facts(found) == facts(witness)
}
