//! What holds for every backend: on a directory and in memory.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::{path::Path, time::Duration};

use bytes::Bytes;
use common::{Fixture, OPTIONS, bytes, object_of};
use tidegate_model::{
    Clock as _, ErrorCode, Namespace, ObjectId, ObjectRef, Payload, Reason, RunId, RunKind, ServiceError as _,
};
use tidegate_orchestration::{Draft, Placement, create};
use tidegate_payload::{ObjectStorage, Options, PayloadError, Upload};
use tidegate_store::NewRun;
use tokio_util::sync::CancellationToken;

fn elsewhere() -> Namespace {
    "elsewhere".parse().unwrap()
}

/// Every file below, without the folders.
fn files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    found
}

/// A run whose parameters are in the object.
async fn run_with(fixture: &Fixture, object: ObjectRef) -> RunId {
    let queue = Placement::Queue("default".parse().unwrap());
    let draft = Draft::new(RunId::new(), RunKind::Task, "resize".parse().unwrap(), queue);
    let run = create(draft, None, fixture.clock.now()).unwrap().run;
    let id = run.id;
    let parameters = Some(Payload { object: Some(object), ..Payload::inline("") });
    let mut tx = fixture.store.begin().await.unwrap();
    tx.insert_runs(&[NewRun { run, parameters, job: None, enqueued_at: None }]).await.unwrap();
    tx.commit().await.unwrap();
    id
}

#[tokio::test]
async fn bytes_come_back_as_they_were_put_in_parts_too() {
    let folder = tempfile::tempdir().unwrap();
    let directory = ObjectStorage::directory(folder.path()).unwrap();
    for storage in [directory, ObjectStorage::in_memory()] {
        let fixture = Fixture::new(storage).await;
        for n_bytes in [1, 65_537, 19 << 20] {
            let data = bytes(n_bytes);
            let object = fixture.payloads.put(&Namespace::default(), data.clone(), None).await.unwrap();
            assert_eq!(object, ObjectRef { id: object.id, ..object_of(&data) });
            assert_eq!(fixture.read(object.id).await.unwrap(), data);
        }
    }
}

#[tokio::test]
async fn what_was_not_announced_never_becomes_usable() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(ObjectStorage::directory(folder.path()).unwrap()).await;
    let data = bytes(9 << 20);
    let own = Namespace::default();
    let mut other = data.to_vec();
    other[5_000_000] ^= 1;
    let cases = [
        Bytes::from(other),
        data.slice(..data.len() - 1),
        [data.clone(), Bytes::from_static(b"x")].concat().into(),
    ];
    for sent in cases {
        let object = object_of(&data);
        fixture.payloads.announce(&own, object).await.unwrap();
        let refused = fixture.send(object.id, sent).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::ChecksumMismatch, "{refused}");
        assert_eq!(fixture.read(object.id).await.unwrap_err().reason(), Reason::PayloadNotFound);
        assert_eq!(files(folder.path()), Vec::<String>::new(), "nothing is left of it");
        // The right bytes are taken all the same.
        fixture.send(object.id, data.clone()).await.unwrap();
        assert_eq!(fixture.read(object.id).await.unwrap(), data);
        std::fs::remove_dir_all(folder.path().join("default")).unwrap();
    }
}

#[tokio::test]
async fn sizes_and_chunks_have_bounds() {
    let fixture = Fixture::new(ObjectStorage::in_memory()).await;
    let own = Namespace::default();
    for size in [0, fixture.payloads.max_size() + 1] {
        let refused =
            fixture.payloads.announce(&own, ObjectRef { size, ..object_of(b"x") }).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::InvalidField);
        assert_eq!(refused.field_violations()[0].field, "size_bytes");
    }
    let object = object_of(&bytes(3 << 20));
    fixture.payloads.announce(&own, object).await.unwrap();
    let mut upload = fixture.payloads.upload(&own, object.id).await.unwrap();
    let refused = upload.write(bytes(3 << 20)).await.unwrap_err();
    assert_eq!(refused.field_violations()[0].field, "chunk");
    upload.abort().await;
}

#[tokio::test]
async fn what_is_under_way_has_a_bound() {
    let least = Options { max_under_way: Options::MIN_UNDER_WAY, ..OPTIONS };
    let fixture = Fixture::with(ObjectStorage::in_memory(), least).await;
    let own = Namespace::default();
    let data = bytes(32 << 20);
    let (first, second) = (object_of(&data), object_of(&data));
    for object in [first, second] {
        fixture.payloads.announce(&own, object).await.unwrap();
    }
    let upload = fixture.payloads.upload(&own, first.id).await.unwrap();
    let refused = [
        fixture.payloads.upload(&own, second.id).await.err().unwrap(),
        fixture.payloads.put(&own, bytes(70_000), None).await.unwrap_err(),
    ];
    for refused in refused {
        assert_eq!((refused.code(), refused.reason()), (ErrorCode::Exhausted, Reason::Overloaded));
        assert!(refused.retry_after().is_some());
    }
    upload.abort().await;
    fixture.payloads.put(&own, bytes(70_000), None).await.unwrap();
    fixture.send(second.id, data.clone()).await.unwrap();
    assert_eq!(fixture.read(second.id).await.unwrap(), data);
}

/// A large upload that is announced and begun.
async fn begun(fixture: &Fixture, namespace: &Namespace) -> Result<Upload, PayloadError> {
    let object = ObjectRef { size: 30 << 20, ..object_of(b"large") };
    fixture.payloads.announce(namespace, object).await.unwrap();
    fixture.payloads.upload(namespace, object.id).await
}

#[tokio::test]
async fn slow_uploads_of_one_namespace_leave_room_to_others() {
    let fixture = Fixture::new(ObjectStorage::in_memory()).await;
    let own = Namespace::default();
    let mut uploads = Vec::new();
    let refused = loop {
        match begun(&fixture, &own).await {
            Ok(upload) => uploads.push(upload),
            Err(error) => break error,
        }
    };
    assert_eq!((refused.reason(), uploads.len()), (Reason::Overloaded, 5), "half of all");
    fixture.payloads.put(&own, bytes(70_000), None).await.unwrap();
    for _ in 0..3 {
        uploads.push(begun(&fixture, &elsewhere()).await.unwrap());
    }
    // A quarter is for values.
    let third: Namespace = "third".parse().unwrap();
    for namespace in [&elsewhere(), &third] {
        assert_eq!(begun(&fixture, namespace).await.err().unwrap().reason(), Reason::Overloaded);
        fixture.payloads.put(namespace, bytes(8 << 20), None).await.unwrap();
    }
    for upload in uploads {
        upload.abort().await;
    }
    begun(&fixture, &own).await.unwrap().abort().await;
}

#[tokio::test]
async fn a_stop_takes_away_what_was_copied_of_an_upload() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(ObjectStorage::directory(folder.path()).unwrap()).await;
    let own = Namespace::default();
    let data = bytes(30 << 20);
    let object = object_of(&data);
    fixture.payloads.announce(&own, object).await.unwrap();
    let sent = folder.path().join(format!("{}.upload", ObjectStorage::key(&own, object.id)));
    std::fs::create_dir_all(sent.parent().unwrap()).unwrap();
    std::fs::write(&sent, &data).unwrap();
    let stop = CancellationToken::new();
    let stopped = {
        let mut completing = std::pin::pin!(fixture.payloads.complete(&own, object.id, &stop));
        let part_is_there = async {
            while !files(folder.path()).iter().any(|name| name.contains('#')) {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            done = &mut completing => panic!("{done:?}"),
            () = part_is_there => stop.cancel(),
        }
        completing.await.unwrap_err()
    };
    assert_eq!((stopped.code(), stopped.reason()), (ErrorCode::Unavailable, Reason::Draining));
    assert_eq!(files(folder.path()), [sent.file_name().unwrap().to_str().unwrap()]);
    // Another replica does it.
    fixture.payloads.complete(&own, object.id, &CancellationToken::new()).await.unwrap();
    assert_eq!(fixture.read(object.id).await.unwrap(), data);
}

#[tokio::test]
async fn an_announcement_can_be_repeated_and_not_changed() {
    let fixture = Fixture::new(ObjectStorage::in_memory()).await;
    let own = Namespace::default();
    let object = object_of(b"one");
    for _ in 0..2 {
        assert_eq!(fixture.payloads.announce(&own, object).await.unwrap(), None, "memory signs nothing");
    }
    let changed = ObjectRef { id: object.id, ..object_of(b"two") };
    for (namespace, object) in [(&own, changed), (&elsewhere(), object)] {
        let refused = fixture.payloads.announce(namespace, object).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::IdempotencyKeyReused);
    }
}

#[tokio::test]
async fn another_namespace_has_no_way_to_an_object() {
    let fixture = Fixture::new(ObjectStorage::in_memory()).await;
    let object = fixture.payloads.put(&Namespace::default(), bytes(70_000), None).await.unwrap();
    let payloads = &fixture.payloads;
    let reasons = [
        payloads.download(&elsewhere(), object.id).await.err().unwrap().reason(),
        payloads.presigned_download(&elsewhere(), object.id).await.unwrap_err().reason(),
        payloads.upload(&elsewhere(), object.id).await.err().unwrap().reason(),
        payloads.complete(&elsewhere(), object.id, &CancellationToken::new()).await.unwrap_err().reason(),
        payloads
            .complete(&Namespace::default(), ObjectId::new(), &CancellationToken::new())
            .await
            .unwrap_err()
            .reason(),
    ];
    assert_eq!(reasons, [Reason::PayloadNotFound; 5]);
}

#[tokio::test]
async fn no_namespace_leads_out_of_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("inside");
    let fixture = Fixture::new(ObjectStorage::directory(&root).unwrap()).await;
    for name in ["..", ".", "a.b", "..-"] {
        let namespace: Namespace = name.parse().unwrap();
        let object = fixture.payloads.put(&namespace, bytes(10), None).await.unwrap();
        let mut download = fixture.payloads.download(&namespace, object.id).await.unwrap();
        assert_eq!(download.next().await.unwrap().unwrap(), bytes(10));
    }
    let outside: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(outside, ["inside"]);
    assert_eq!(files(&root).len(), 4);
    let key = ObjectStorage::key(&"..".parse().unwrap(), ObjectId::new());
    assert!(!key.contains(".."), "{key}");
}

#[tokio::test]
async fn bytes_that_changed_on_disk_are_not_given_out_whole() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(ObjectStorage::directory(folder.path()).unwrap()).await;
    let own = Namespace::default();
    // Multiples of what is gathered before it is given out, and what is none.
    for size in [256 << 10, 3 << 20, (3 << 20) + 1] {
        let data = bytes(size);
        let object = fixture.payloads.put(&own, data.clone(), None).await.unwrap();
        let path = folder.path().join(ObjectStorage::key(&own, object.id));
        let mut damaged = data.to_vec();
        damaged[0] ^= 1;
        for content in [damaged, data[..100].to_vec(), [&data[..], &data[..]].concat()] {
            std::fs::write(&path, &content).unwrap();
            let mut download = fixture.payloads.download(&own, object.id).await.unwrap();
            let mut n_given = 0;
            let refused = loop {
                match download.next().await {
                    Ok(chunk) => n_given += chunk.expect("a fault comes before the end").len(),
                    Err(error) => break error,
                }
            };
            assert_eq!(refused.reason(), Reason::ChecksumMismatch);
            assert!(n_given < size, "{n_given} of {size} bytes were given out");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(fixture.read(object.id).await.unwrap_err().reason(), Reason::ChecksumMismatch);
    }
}

#[tokio::test]
async fn what_no_run_refers_to_is_collected_after_its_time() {
    let day = Duration::from_secs(86_400);
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(ObjectStorage::directory(folder.path()).unwrap()).await;
    let own = Namespace::default();
    let used = fixture.payloads.put(&own, bytes(100_000), None).await.unwrap();
    let unused = fixture.payloads.put(&own, bytes(100_001), None).await.unwrap();
    run_with(&fixture, used).await;
    // A process died while it wrote.
    let broken = object_of(&bytes(20 << 20));
    fixture.payloads.announce(&own, broken).await.unwrap();
    let staged = folder.path().join(format!("{}#1", ObjectStorage::key(&own, broken.id)));
    std::fs::write(&staged, "a part of it").unwrap();

    assert_eq!(fixture.payloads.collect(day, 100).await.unwrap(), 0, "not before its time");
    fixture.clock.advance(day + Duration::from_secs(1));
    let fresh = fixture.payloads.put(&own, bytes(100_002), None).await.unwrap();
    assert_eq!(fixture.payloads.collect(day, 100).await.unwrap(), 3);

    let mut expected = [used.id, fresh.id].map(|id| id.to_string());
    let mut left = files(folder.path());
    expected.sort();
    left.sort();
    assert_eq!(left, expected);
    assert_eq!(fixture.read(unused.id).await.unwrap_err().reason(), Reason::PayloadNotFound);
    assert_eq!(fixture.read(used.id).await.unwrap(), bytes(100_000));
}

#[tokio::test]
async fn what_is_announced_again_or_uploaded_is_not_collected_meanwhile() {
    let (day, hours) = (Duration::from_secs(86_400), Duration::from_secs(20 * 3_600));
    let fixture = Fixture::new(ObjectStorage::in_memory()).await;
    let own = Namespace::default();
    let data = bytes(100_000);
    let object = object_of(&data);
    fixture.payloads.announce(&own, object).await.unwrap();
    fixture.clock.advance(hours);
    fixture.payloads.announce(&own, object).await.unwrap();
    fixture.clock.advance(hours);
    assert_eq!(fixture.payloads.collect(day, 100).await.unwrap(), 0, "it was announced 20 hours ago");
    let mut upload = fixture.payloads.upload(&own, object.id).await.unwrap();
    fixture.clock.advance(hours);
    assert_eq!(fixture.payloads.collect(day, 100).await.unwrap(), 0, "its upload began 20 hours ago");
    upload.write(data.clone()).await.unwrap();
    upload.finish().await.unwrap();
    assert_eq!(fixture.read(object.id).await.unwrap(), data);
}

#[tokio::test]
async fn bytes_do_not_outlive_their_row() {
    let day = Duration::from_secs(86_400);
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(ObjectStorage::directory(folder.path()).unwrap()).await;
    let own = Namespace::default();
    let data = bytes(100_000);
    let object = object_of(&data);
    fixture.payloads.announce(&own, object).await.unwrap();
    let mut upload = fixture.payloads.upload(&own, object.id).await.unwrap();
    upload.write(data).await.unwrap();
    fixture.clock.advance(day + Duration::from_secs(1));
    assert_eq!(fixture.payloads.collect(day, 100).await.unwrap(), 1);
    assert_eq!(upload.finish().await.unwrap_err().reason(), Reason::PayloadNotFound);
    assert_eq!(files(folder.path()), Vec::<String>::new(), "nobody would look for them");
}

#[tokio::test]
async fn a_collector_that_could_not_delete_comes_back() {
    let day = Duration::from_secs(86_400);
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(ObjectStorage::directory(folder.path()).unwrap()).await;
    let object = fixture.payloads.put(&Namespace::default(), bytes(100_000), None).await.unwrap();
    let path = folder.path().join(ObjectStorage::key(&Namespace::default(), object.id));
    // Something that cannot be deleted as a file.
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    fixture.clock.advance(day + Duration::from_secs(1));
    assert_eq!(fixture.payloads.collect(day, 100).await.unwrap(), 1);
    let refused = fixture.payloads.download(&Namespace::default(), object.id).await.err().unwrap();
    assert_eq!(refused.reason(), Reason::PayloadNotFound, "nobody can use it any more");

    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, bytes(100_000)).unwrap();
    fixture.clock.advance(day + Duration::from_secs(1));
    assert_eq!(fixture.payloads.collect(day, 100).await.unwrap(), 1);
    assert!(!path.exists());
    fixture.clock.advance(day + Duration::from_secs(1));
    assert_eq!(fixture.payloads.collect(day, 100).await.unwrap(), 0, "its row is gone too");
}

#[test]
fn a_directory_that_cannot_be_made_is_a_clear_sentence() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = ObjectStorage::directory(&file.path().join("x")).unwrap_err().to_string();
    assert!(error.contains(file.path().to_str().unwrap()) && error.contains("object_storage.url"), "{error}");
}
