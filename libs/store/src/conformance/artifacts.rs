//! What runs have to show: versions of keys, pages, and what becomes of it.

use std::sync::Arc;

use tidegate_model::{ArtifactId, ArtifactKey, Namespace, ObjectId, ObjectRef, Payload, RunId};
use tidegate_orchestration::{Phase, Run};

use super::fixture::*;
use crate::{
    Artifact, ArtifactName, ArtifactQuery, ArtifactType, ObjectRow, ObjectState, RunStore, VersionedKey,
};

/// A text in Markdown of the default namespace, without run or key.
pub fn artifact() -> Artifact {
    Artifact {
        id: ArtifactId::new(),
        namespace: Namespace::default(),
        key: None,
        version: 0,
        artifact_type: ArtifactType::Markdown,
        description: String::new(),
        progress: None,
        labels: [].into(),
        data: Some(payload(b"# All is well")),
        run: None,
        root: None,
        created_at: T0,
        updated_at: T0,
    }
}

fn of_run(run: &Run) -> Artifact {
    Artifact { run: Some(run.id), root: Some(run.root), ..artifact() }
}

fn key(key: &str) -> ArtifactKey {
    key.parse().unwrap()
}

fn versioned(name: &str) -> VersionedKey {
    VersionedKey { namespace: Namespace::default(), key: key(name) }
}

/// All artifacts of the default namespace, the newest first.
pub fn every() -> ArtifactQuery {
    ArtifactQuery {
        namespace: Namespace::default(),
        run: None,
        root: None,
        key: None,
        artifact_type: None,
        latest: false,
        oldest_first: false,
        after: None,
        limit: 100,
    }
}

/// Inserts artifacts in a transaction of their own.
pub async fn insert_artifacts(store: &Arc<dyn RunStore>, artifacts: &[Artifact]) {
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.insert_artifacts(artifacts).await.unwrap(), artifacts.len());
    tx.commit().await.unwrap();
}

/// Gives artifacts the next numbers of their key, and inserts them.
async fn insert_versions(store: &Arc<dyn RunStore>, name: &str, n: u64) -> Vec<Artifact> {
    let mut tx = store.begin().await.unwrap();
    let last = tx.take_versions(&[(versioned(name), n)], T0).await.unwrap()[0];
    let version = |idx| Artifact { key: Some(key(name)), version: last + idx - n, ..artifact() };
    let artifacts: Vec<Artifact> = (1..=n).map(version).collect();
    assert_eq!(tx.insert_artifacts(&artifacts).await.unwrap(), artifacts.len());
    tx.commit().await.unwrap();
    artifacts
}

async fn get_artifact(store: &Arc<dyn RunStore>, id: ArtifactId) -> Option<Artifact> {
    store.get_artifact(&Namespace::default(), &ArtifactName::Id(id)).await.unwrap()
}

async fn listed(store: &Arc<dyn RunStore>, query: &ArtifactQuery) -> Vec<ArtifactId> {
    let found = store.list_artifacts(query).await.unwrap();
    assert!(found.iter().all(|artifact| artifact.data.is_none()), "a list has no data");
    found.into_iter().map(|artifact| artifact.id).collect()
}

fn ids_of(artifacts: &[&Artifact]) -> Vec<ArtifactId> {
    artifacts.iter().map(|artifact| artifact.id).collect()
}

/// What was inserted is read as it was, in its namespace; an id that is there stays as it is.
pub async fn every_field_of_an_artifact_survives(store: Arc<dyn RunStore>) {
    let run = queued();
    insert(&store, &[&run]).await;
    let object = ObjectRef { id: ObjectId::new(), size: 5 << 20, sha256: [7; 32] };
    let whole = Artifact {
        key: Some(key("daily-report")),
        version: 1,
        artifact_type: ArtifactType::Table,
        description: "of \"today\",\nin two lines".to_owned(),
        labels: [("team".to_owned(), "ml \u{1f30a}".to_owned())].into(),
        data: Some(Payload { object: Some(object), ..payload(b"metadata") }),
        updated_at: T0,
        ..of_run(&child(&run))
    };
    let progress = Artifact {
        artifact_type: ArtifactType::Progress,
        progress: Some(12.5),
        data: None,
        namespace: elsewhere(),
        ..artifact()
    };
    let nul =
        Artifact { description: "a\0b".to_owned(), created_at: after(1), updated_at: after(1), ..artifact() };
    insert_artifacts(&store, &[whole.clone(), progress.clone(), nul.clone()]).await;

    assert_eq!(get_artifact(&store, whole.id).await, Some(whole.clone()));
    assert_eq!(get_artifact(&store, progress.id).await, None, "it is another tenant's");
    let found = store.get_artifact(&elsewhere(), &ArtifactName::Id(progress.id)).await.unwrap();
    assert_eq!(found, Some(progress.clone()));
    assert_eq!(get_artifact(&store, nul.id).await.unwrap().description, "a\u{fffd}b");

    let mut tx = store.begin().await.unwrap();
    let again = Artifact { description: "anew".to_owned(), ..whole.clone() };
    assert_eq!(tx.insert_artifacts(&[again, artifact()]).await.unwrap(), 1);
    let found = tx.find_artifacts(&[whole.id, progress.id, ArtifactId::new()]).await.unwrap();
    let mut found_ids: Vec<_> = found.iter().map(|artifact| artifact.id).collect();
    found_ids.sort();
    assert_eq!(found_ids, [whole.id, progress.id], "of any namespace");
    assert_eq!(found.iter().find(|one| one.id == whole.id), Some(&Artifact { data: None, ..whole }));
}

/// Numbers of a key grow and are not given twice, also not of those that were deleted; keys of another tenant are others.
pub async fn versions_of_a_key_grow(store: Arc<dyn RunStore>) {
    let mut tx = store.begin().await.unwrap();
    let foreign = VersionedKey { namespace: elsewhere(), ..versioned("a") };
    let taken =
        tx.take_versions(&[(versioned("b"), 2), (versioned("a"), 1), (foreign, 7)], T0).await.unwrap();
    assert_eq!(taken, [2, 1, 7]);
    drop(tx);
    let first = insert_versions(&store, "a", 2).await;
    let second = insert_versions(&store, "a", 1).await;
    let other = insert_versions(&store, "b", 1).await;
    assert_eq!((first[1].version, second[0].version, other[0].version), (2, 3, 1));

    let own = Namespace::default();
    let by_key =
        async |version| store.get_artifact(&own, &ArtifactName::Key(key("a"), version)).await.unwrap();
    assert_eq!(by_key(None).await, Some(second[0].clone()));
    assert_eq!(by_key(Some(1)).await, Some(first[0].clone()));
    assert_eq!(by_key(Some(4)).await, None);
    let latest = ArtifactQuery { latest: true, ..every() };
    assert_eq!(listed(&store, &latest).await, ids_of(&[&other[0], &second[0]]));
    let of_key = ArtifactQuery { key: Some(key("a")), ..every() };
    assert_eq!(listed(&store, &of_key).await, ids_of(&[&second[0], &first[1], &first[0]]));

    let mut tx = store.begin().await.unwrap();
    tx.take_versions(&[(versioned("a"), 0)], T0).await.unwrap();
    tx.delete_versions(&[(versioned("a"), 2)]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(listed(&store, &every()).await, ids_of(&[&other[0], &second[0]]));
    let mut tx = store.begin().await.unwrap();
    assert!(tx.delete_artifact(&own, second[0].id).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(insert_versions(&store, "a", 1).await[0].version, 4);
}

/// Who takes a number of a key keeps others from it until the end of the transaction.
pub async fn of_two_transactions_each_has_its_own_versions(store: Arc<dyn RunStore>) {
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.take_versions(&[(versioned("a"), 1)], T0).await.unwrap(), [1]);
    let mut second = Box::pin(async {
        let mut tx = store.begin().await.unwrap();
        let taken = tx.take_versions(&[(versioned("a"), 1)], T0).await.unwrap();
        tx.commit().await.unwrap();
        taken
    });
    assert!(is_waiting(&mut second).await);
    tx.commit().await.unwrap();
    assert_eq!(within(second).await, [2]);
}

/// Each condition leaves out the others; pages follow each other in both orders.
pub async fn artifacts_are_listed_by_what_they_are(store: Arc<dyn RunStore>) {
    let root = queued();
    let below = child(&root);
    insert(&store, &[&root, &below]).await;
    let link = Artifact { artifact_type: ArtifactType::Link, ..of_run(&root) };
    let (text, free) = (of_run(&below), artifact());
    let foreign = Artifact { namespace: elsewhere(), ..artifact() };
    insert_artifacts(&store, &[link.clone(), text.clone(), free.clone(), foreign]).await;

    assert_eq!(listed(&store, &every()).await, ids_of(&[&free, &text, &link]));
    let of_run = ArtifactQuery { run: Some(below.id), ..every() };
    assert_eq!(listed(&store, &of_run).await, [text.id]);
    let of_root = ArtifactQuery { root: Some(root.id), oldest_first: true, ..every() };
    assert_eq!(listed(&store, &of_root).await, ids_of(&[&link, &text]));
    let links = ArtifactQuery { artifact_type: Some(ArtifactType::Link), ..every() };
    assert_eq!(listed(&store, &links).await, [link.id]);
    let links_below = ArtifactQuery { run: Some(below.id), ..links };
    assert_eq!(listed(&store, &links_below).await, []);
    for oldest_first in [true, false] {
        let mut page = ArtifactQuery { oldest_first, limit: 1, ..every() };
        let mut read = Vec::new();
        while let [id] = listed(&store, &page).await[..] {
            read.push(id);
            page.after = Some(id);
        }
        assert_eq!(read, listed(&store, &ArtifactQuery { oldest_first, ..every() }).await);
    }
    let mut tx = store.begin().await.unwrap();
    let counts = tx.count_artifacts(&[below.id, RunId::new()]).await.unwrap();
    assert_eq!(counts, [(below.id, 1)]);
}

/// A change writes what it names, and keeps the data where it has none.
pub async fn an_artifact_is_changed_and_deleted(store: Arc<dyn RunStore>) {
    let text = artifact();
    let progress =
        Artifact { artifact_type: ArtifactType::Progress, progress: Some(0.0), data: None, ..artifact() };
    insert_artifacts(&store, &[text.clone(), progress.clone()]).await;
    let own = Namespace::default();
    let mut tx = store.begin().await.unwrap();
    let locked = tx.lock_artifact(&own, text.id).await.unwrap().unwrap();
    assert_eq!(locked, Artifact { data: None, ..text.clone() });
    assert_eq!(tx.lock_artifact(&elsewhere(), text.id).await.unwrap(), None);
    let described = Artifact { description: "anew".to_owned(), updated_at: after(3), ..locked };
    tx.update_artifact(&described).await.unwrap();
    let further = Artifact { progress: Some(99.5), updated_at: after(4), ..progress };
    tx.update_artifact(&further).await.unwrap();
    tx.commit().await.unwrap();
    let described = Artifact { data: text.data.clone(), ..described };
    assert_eq!(get_artifact(&store, text.id).await, Some(described.clone()));
    assert_eq!(get_artifact(&store, further.id).await, Some(further));

    let object = ObjectRef { id: ObjectId::new(), size: 9, sha256: [1; 32] };
    for object in [Some(object), None] {
        let data = Payload { object, ..payload(b"other") };
        let changed = Artifact { data: Some(data), ..described.clone() };
        let mut tx = store.begin().await.unwrap();
        tx.update_artifact(&changed).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(get_artifact(&store, text.id).await, Some(changed));
    }

    let mut tx = store.begin().await.unwrap();
    assert!(!tx.delete_artifact(&elsewhere(), text.id).await.unwrap());
    assert!(tx.delete_artifact(&own, text.id).await.unwrap());
    assert!(!tx.delete_artifact(&own, text.id).await.unwrap(), "it was gone");
    tx.commit().await.unwrap();
    assert_eq!(get_artifact(&store, text.id).await, None);
}

/// Those without a run go some time after their last change, and then the numbers of keys of which none is left.
pub async fn artifacts_without_a_run_go_some_time_after_their_last_change(store: Arc<dyn RunStore>) {
    let run = queued();
    insert(&store, &[&run]).await;
    let keyed = insert_versions(&store, "a", 1).await.remove(0);
    let recent = Artifact { updated_at: after(10), created_at: after(10), ..artifact() };
    let later = Artifact { updated_at: after(5), created_at: after(5), ..artifact() };
    insert_artifacts(&store, &[of_run(&run), recent.clone(), later]).await;
    assert_eq!(store.purge(T0, T0, 10).await.unwrap(), 0, "the bound is exclusive");
    assert_eq!(store.purge(after(10), T0, 1).await.unwrap(), 2, "one, and the number of its key");
    assert_eq!(store.purge(after(10), T0, 10).await.unwrap(), 1);
    assert_eq!(store.purge(after(10), T0, 10).await.unwrap(), 0);
    assert_eq!(get_artifact(&store, keyed.id).await, None);
    assert_eq!(listed(&store, &every()).await.len(), 2, "of a run, and the recent one");
    assert_eq!(insert_versions(&store, "a", 1).await[0].version, 1);
}

/// The collector leaves objects alone that artifacts refer to.
pub async fn an_artifact_keeps_its_object(store: Arc<dyn RunStore>) {
    let object = ObjectRef { id: ObjectId::new(), size: 5 << 20, sha256: [7; 32] };
    let row = ObjectRow {
        object,
        namespace: Namespace::default(),
        key: "default/x".to_owned(),
        state: ObjectState::Uploading,
    };
    store.announce_object(&row, T0).await.unwrap();
    assert!(store.complete_object(&row.namespace, object.id, T0).await.unwrap());
    let large =
        Artifact { data: Some(Payload { object: Some(object), ..payload(b"metadata") }), ..artifact() };
    insert_artifacts(&store, std::slice::from_ref(&large)).await;
    assert_eq!(store.take_orphans(after(1), after(1), 9).await.unwrap().orphans, []);
    let mut tx = store.begin().await.unwrap();
    assert!(tx.delete_artifact(&large.namespace, large.id).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(store.take_orphans(after(2), after(2), 9).await.unwrap().orphans.len(), 1);
}

/// The artifacts of a run go with it, when it is deleted or when its time has come, whatever is kept of their key.
pub async fn artifacts_go_with_their_run(store: Arc<dyn RunStore>) {
    let bound = RunId::new().created_at() + 100 * std::time::Duration::from_secs(86_400);
    let (deleted, expired) =
        (entered(&queued(), Phase::Completed, T0), entered(&queued(), Phase::Completed, T0));
    let kept = entered(&queued(), Phase::Completed, bound);
    insert(&store, &[&deleted, &expired, &kept]).await;
    for run in [&deleted, &expired, &kept] {
        append(&store, &[event(run, 1)]).await;
        insert_artifacts(&store, &[of_run(run), of_run(run)]).await;
    }
    let mut tx = store.begin().await.unwrap();
    tx.lock_runs(&[deleted.id]).await.unwrap();
    assert_eq!(tx.delete_runs(&[deleted.id]).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(listed(&store, &every()).await.len(), 4);
    store.maintain(bound, bound, 10).await.unwrap();
    let of_kept = ArtifactQuery { run: Some(kept.id), ..every() };
    assert_eq!(listed(&store, &every()).await, listed(&store, &of_kept).await);
    assert_eq!(listed(&store, &of_kept).await.len(), 2);
}

/// Also where the whole of a time goes at once.
pub async fn artifacts_go_with_a_time_that_goes_at_once(store: Arc<dyn RunStore>) {
    let bound = RunId::new().created_at() + 100 * std::time::Duration::from_secs(86_400);
    let run = entered(&queued(), Phase::Completed, T0);
    insert(&store, &[&run]).await;
    append(&store, &[event(&run, 1)]).await;
    insert_artifacts(&store, &[of_run(&run), of_run(&run), artifact()]).await;
    store.maintain(bound, bound, 1).await.unwrap();
    assert_eq!(store.get_runs(None, &[run.id]).await.unwrap(), []);
    assert_eq!(listed(&store, &every()).await.len(), 1);
}
