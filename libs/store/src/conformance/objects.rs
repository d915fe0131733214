//! The rows of objects in object storage, and what payloads say of them.

use std::{slice::from_ref, sync::Arc};

use tidegate_model::{Namespace, ObjectId, ObjectRef, Payload, RunId};

use super::fixture::*;
use crate::{InputKind, InputQuery, NewRun, ObjectRow, ObjectState, RunInput, RunStore};

/// Some object of the default namespace.
fn object() -> ObjectRow {
    let id = ObjectId::new();
    let mut sha256 = [7; 32];
    sha256[..16].copy_from_slice(id.as_uuid().as_bytes());
    ObjectRow {
        object: ObjectRef { id, size: 5 << 20, sha256 },
        namespace: Namespace::default(),
        key: format!("default/2026-11-28/{id}"),
        state: ObjectState::Uploading,
    }
}

/// An object whose bytes are there, announced at `T0`.
async fn complete(store: &Arc<dyn RunStore>) -> ObjectRow {
    let row = object();
    store.announce_object(&row, T0).await.unwrap();
    assert!(store.complete_object(&row.namespace, row.object.id, T0).await.unwrap());
    ObjectRow { state: ObjectState::Complete, ..row }
}

/// A payload whose value is in an object.
fn referring(row: &ObjectRow) -> Payload {
    Payload { object: Some(row.object), ..payload(b"metadata") }
}

async fn insert_with(store: &Arc<dyn RunStore>, parameters: Payload) -> RunId {
    let run = queued();
    let mut tx = store.begin().await.unwrap();
    tx.insert_runs(&[NewRun { parameters: Some(parameters), ..bare(&run) }]).await.unwrap();
    tx.commit().await.unwrap();
    run.id
}

/// Calls of `take_orphans` look at what was last touched before `seconds`, at that time.
async fn orphans(store: &Arc<dyn RunStore>, seconds: u64) -> Vec<ObjectId> {
    let judged = store.take_orphans(after(seconds), after(seconds), 100).await.unwrap();
    judged.orphans.iter().map(|row| row.object.id).collect()
}

/// An announcement stands, whoever announces the id again; an object is completed and read in its own namespace.
pub async fn an_object_is_announced_once_and_completed(store: Arc<dyn RunStore>) {
    let row = object();
    let id = row.object.id;
    assert_eq!(store.announce_object(&row, T0).await.unwrap(), row);
    let other =
        ObjectRow { namespace: elsewhere(), object: ObjectRef { size: 1, ..row.object }, ..row.clone() };
    assert_eq!(store.announce_object(&other, T0).await.unwrap(), row, "the first stands");
    assert_eq!(store.get_object(&row.namespace, id).await.unwrap(), Some(row.clone()));
    assert_eq!(store.get_object(&elsewhere(), id).await.unwrap(), None);

    assert!(!store.complete_object(&elsewhere(), id, T0).await.unwrap());
    assert!(!store.complete_object(&row.namespace, ObjectId::new(), T0).await.unwrap());
    assert_eq!(store.get_object(&row.namespace, id).await.unwrap(), Some(row.clone()));
    for _ in 0..2 {
        assert!(store.complete_object(&row.namespace, id, T0).await.unwrap());
    }
    let complete = ObjectRow { state: ObjectState::Complete, ..row };
    assert_eq!(store.get_object(&complete.namespace, id).await.unwrap(), Some(complete));
}

/// A payload is read back with its object, by each way of reading; one that is replaced leaves none behind.
pub async fn payloads_keep_their_objects(store: Arc<dyn RunStore>) {
    let (parameters, result, answer) =
        (complete(&store).await, complete(&store).await, complete(&store).await);
    let id = insert_with(&store, referring(&parameters)).await;
    let input =
        RunInput { run_id: id, key: "a".to_owned(), kind: InputKind::Input, data: referring(&answer) };
    let namespace = Namespace::default();
    let inputs = InputQuery { namespace, run_id: id, key: None, after: None, limit: 9 };
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.get_parameters(&[id]).await.unwrap(), [(id, referring(&parameters))]);
    tx.put_results(&[(id, referring(&result))]).await.unwrap();
    tx.put_inputs(from_ref(&input)).await.unwrap();
    tx.commit().await.unwrap();

    let detail = store.get_details(None, &[id]).await.unwrap().remove(0);
    assert_eq!(detail.parameters, Some(referring(&parameters)));
    assert_eq!(detail.result, Some(referring(&result)));
    assert_eq!(store.get_inputs(&inputs).await.unwrap(), from_ref(&input));

    let mut tx = store.begin().await.unwrap();
    tx.put_results(&[(id, payload(b"small"))]).await.unwrap();
    tx.put_inputs(&[RunInput { data: payload(b"small"), ..input }]).await.unwrap();
    tx.commit().await.unwrap();
    let detail = store.get_details(None, &[id]).await.unwrap().remove(0);
    assert_eq!(detail.result, Some(payload(b"small")));
    assert_eq!(store.get_inputs(&inputs).await.unwrap()[0].data, payload(b"small"));
}

/// Only complete objects of the own namespace can be used; asking twice for one is no error.
pub async fn only_complete_objects_of_the_namespace_are_used(store: Arc<dyn RunStore>) {
    let (usable, uploading) = (complete(&store).await, object());
    store.announce_object(&uploading, T0).await.unwrap();
    let (own, id) = (Namespace::default(), usable.object.id);
    let asked = [
        (own.clone(), id),
        (elsewhere(), id),
        (own.clone(), uploading.object.id),
        (own.clone(), ObjectId::new()),
        (own, id),
    ];
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.use_objects(&asked, after(1)).await.unwrap(), [usable]);
    assert_eq!(tx.use_objects(&[], after(1)).await.unwrap(), []);
    tx.commit().await.unwrap();
}

/// What nothing refers to is given to the collector, and again until it is forgotten; what a run's payload refers to
/// stays, and is not looked at again for a while.
pub async fn orphans_are_taken_and_forgotten(store: Arc<dyn RunStore>) {
    let (parameters, result, answer) =
        (complete(&store).await, complete(&store).await, complete(&store).await);
    let (unused, uploading) = (complete(&store).await, object());
    store.announce_object(&uploading, T0).await.unwrap();
    let id = insert_with(&store, referring(&parameters)).await;
    let mut tx = store.begin().await.unwrap();
    tx.put_results(&[(id, referring(&result))]).await.unwrap();
    let input =
        RunInput { run_id: id, key: "a".to_owned(), kind: InputKind::Request, data: referring(&answer) };
    tx.put_inputs(&[input]).await.unwrap();
    tx.commit().await.unwrap();

    assert_eq!(orphans(&store, 0).await, [], "the bound is exclusive");
    let mut expected = [unused.object.id, uploading.object.id];
    expected.sort();
    let judged = store.take_orphans(after(1), after(1), 100).await.unwrap();
    assert_eq!(judged.n_judged, 5);
    assert_eq!(judged.orphans.iter().map(|row| row.object.id).collect::<Vec<_>>(), expected);
    assert!(judged.orphans.iter().all(|row| row.state == ObjectState::Deleting), "{judged:?}");
    assert_eq!(
        store.take_orphans(after(1), after(1), 100).await.unwrap().n_judged,
        0,
        "each once for a while"
    );

    // Nobody can use, complete or announce what is being deleted.
    let own = Namespace::default();
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.use_objects(&[(own.clone(), unused.object.id)], after(1)).await.unwrap(), []);
    drop(tx);
    assert!(!store.complete_object(&own, uploading.object.id, after(1)).await.unwrap());
    let announced = store.announce_object(&uploading, after(1)).await.unwrap();
    assert_eq!(announced.state, ObjectState::Deleting);

    // The collector died before it was done.
    assert_eq!(orphans(&store, 2).await, expected);
    store.forget_objects(&[unused.object.id, uploading.object.id, result.object.id]).await.unwrap();
    assert_eq!(store.get_object(&own, unused.object.id).await.unwrap(), None);
    assert_eq!(
        store.get_object(&own, result.object.id).await.unwrap(),
        Some(result),
        "only what is DELETING"
    );
    assert_eq!(orphans(&store, 3).await, []);
}

/// Up to the limit, those that were touched first. An announcement touches its object, when it is repeated too.
pub async fn orphans_are_taken_in_batches(store: Arc<dyn RunStore>) {
    let (first, second) = (object(), object());
    store.announce_object(&second, T0).await.unwrap();
    store.announce_object(&first, after(1)).await.unwrap();
    store.announce_object(&second, after(2)).await.unwrap();
    let foreign = ObjectRow { namespace: elsewhere(), ..first.clone() };
    store.announce_object(&foreign, after(3)).await.unwrap(); // of another tenant: refused
    let judged = store.take_orphans(after(9), after(9), 1).await.unwrap();
    assert_eq!((judged.n_judged, judged.orphans[0].object.id), (1, first.object.id));
    let judged = store.take_orphans(after(9), after(9), 1).await.unwrap();
    assert_eq!((judged.n_judged, judged.orphans[0].object.id), (1, second.object.id));
}

/// A payload that is being committed keeps its object, whether the collector looks before or after the commit; and
/// what a run that is not there refers to is an orphan.
pub async fn a_use_keeps_its_object(store: Arc<dyn RunStore>) {
    let (kept, dropped) = (complete(&store).await, complete(&store).await);
    let run = queued();
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.use_objects(&[(Namespace::default(), kept.object.id)], after(5)).await.unwrap().len(), 1);
    tx.insert_runs(&[NewRun { parameters: Some(referring(&kept)), ..bare(&run) }]).await.unwrap();
    // A store with one writer has the collector wait.
    let taking = {
        let store = Arc::clone(&store);
        async move { orphans(&store, 2).await }
    };
    let mut taking = Box::pin(taking);
    let early = at_once(&mut taking).await;
    tx.commit().await.unwrap();
    let taken = match early {
        Some(taken) => taken,
        None => within(taking).await,
    };
    assert_eq!(taken, [dropped.object.id]);
    assert!(!orphans(&store, 9).await.contains(&kept.object.id));

    let gone = complete(&store).await;
    let mut tx = store.begin().await.unwrap();
    tx.put_results(&[(RunId::new(), referring(&gone))]).await.unwrap();
    tx.commit().await.unwrap();
    assert!(orphans(&store, 9).await.contains(&gone.object.id));
}
