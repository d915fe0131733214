//! `ArtifactService` over gRPC.

mod common;

use common::{Api, fields, payload, reason, task};
use tidegate_proto::{
    internal::claim_outcome::Outcome,
    v1::{self, get_artifact_request::Artifact as Name},
};
use tonic::{Code, Status};

fn text() -> v1::NewArtifact {
    v1::NewArtifact {
        r#type: v1::ArtifactType::Markdown.into(),
        data: Some(payload(b"\"# All is well\"")),
        ..Default::default()
    }
}

fn progress(percent: f64) -> v1::NewArtifact {
    v1::NewArtifact {
        r#type: v1::ArtifactType::Progress.into(),
        progress: Some(percent),
        ..Default::default()
    }
}

async fn create(api: &Api, new: v1::NewArtifact) -> Result<v1::Artifact, Status> {
    let request = v1::CreateArtifactRequest { artifact: Some(new), ..Default::default() };
    let created = api.artifacts.clone().create_artifact(request).await?.into_inner();
    Ok(created.artifact.expect("is told"))
}

async fn get(api: &Api, name: Name, version: u64) -> Result<v1::Artifact, Status> {
    let request = v1::GetArtifactRequest { artifact: Some(name), version, ..Default::default() };
    Ok(api.artifacts.clone().get_artifact(request).await?.into_inner().artifact.expect("is told"))
}

async fn list(api: &Api, request: v1::ListArtifactsRequest) -> (Vec<String>, String) {
    let page = api.artifacts.clone().list_artifacts(request).await.expect("is a page").into_inner();
    (page.artifacts.into_iter().map(|artifact| artifact.id).collect(), page.next_page_token)
}

#[tokio::test]
async fn an_artifact_of_a_run_is_made_read_changed_and_deleted() {
    let api = Api::start().await;
    let run = api.created(task()).await;
    let Outcome::Assign(assign) = api.claim(&run).await else { panic!("is granted") };
    let new = v1::NewArtifact {
        key: "daily-report".into(),
        description: "of today\nin two lines".into(),
        labels: [("team".to_owned(), "ml".to_owned())].into(),
        run_id: run.id.clone(),
        epoch: assign.epoch,
        ..text()
    };
    let made = create(&api, new.clone()).await.expect("is made");
    assert_eq!((made.run_id.as_str(), made.version, made.data.clone()), (run.id.as_str(), 1, None));
    let stale = create(&api, v1::NewArtifact { epoch: assign.epoch + 1, ..new.clone() })
        .await
        .expect_err("is refused");
    assert_eq!((stale.code(), reason(&stale).as_str()), (Code::FailedPrecondition, "STALE_EPOCH"));
    let second =
        create(&api, v1::NewArtifact { data: Some(payload(b"\"# Worse\"")), ..new }).await.expect("is made");
    assert_eq!(second.version, 2);

    let got = get(&api, Name::Id(made.id.clone()), 0).await.expect("is there");
    assert_eq!((&got.data, got.r#type()), (&Some(payload(b"\"# All is well\"")), v1::ArtifactType::Markdown));
    assert_eq!((got.description.as_str(), got.labels["team"].as_str()), ("of today\nin two lines", "ml"));
    assert_eq!(v1::Artifact { data: None, ..got }, made);
    let latest = get(&api, Name::Key("daily-report".into()), 0).await.expect("is there");
    assert_eq!((latest.id, latest.data), (second.id.clone(), Some(payload(b"\"# Worse\""))));
    assert_eq!(get(&api, Name::Key("daily-report".into()), 1).await.expect("is there").id, made.id);

    let free = create(&api, text()).await.expect("is made");
    let every = v1::ListArtifactsRequest::default();
    assert_eq!(list(&api, every.clone()).await.0, [&free.id, &second.id, &made.id].map(String::clone));
    let of_run = v1::ListArtifactsRequest { run_id: run.id.clone(), latest: true, ..every.clone() };
    assert_eq!(list(&api, of_run).await, (vec![second.id.clone()], String::new()));
    let first = v1::ListArtifactsRequest { page_size: 2, order_by: "id".into(), ..every };
    let (ids, page_token) = list(&api, first.clone()).await;
    assert_eq!(ids, [made.id.clone(), second.id.clone()]);
    let rest = list(&api, v1::ListArtifactsRequest { page_token, ..first }).await;
    assert_eq!(rest, (vec![free.id], String::new()));

    let update = v1::UpdateArtifactRequest {
        id: made.id.clone(),
        update_mask: Some(prost_types::FieldMask { paths: vec!["description".into()] }),
        description: "anew".into(),
        data: Some(payload(b"is not in the mask")),
        epoch: assign.epoch,
        ..Default::default()
    };
    let updated = api.artifacts.clone().update_artifact(update).await.expect("is changed").into_inner();
    assert_eq!(updated.artifact.expect("is told").description, "anew");
    let got = get(&api, Name::Id(made.id.clone()), 0).await.expect("is there");
    assert_eq!(got.data, Some(payload(b"\"# All is well\"")));

    let delete = |id: &str| v1::DeleteArtifactRequest { id: id.to_owned(), ..Default::default() };
    api.artifacts.clone().delete_artifact(delete(&second.id)).await.expect("is deleted");
    let gone = api.artifacts.clone().delete_artifact(delete(&second.id)).await.expect_err("is gone");
    assert_eq!((gone.code(), reason(&gone).as_str()), (Code::NotFound, "ARTIFACT_NOT_FOUND"));
    let missing = v1::DeleteArtifactRequest { allow_missing: true, ..delete(&second.id) };
    api.artifacts.clone().delete_artifact(missing).await.expect("that there is none is no error");
    assert_eq!(get(&api, Name::Key("daily-report".into()), 0).await.expect("is there").id, made.id);
}

#[tokio::test]
async fn each_of_a_batch_has_its_own_outcome() {
    let api = Api::start().await;
    let large = v1::Payload { data: vec![b'x'; 100 << 10].into(), ..payload(b"") };
    let artifacts = vec![
        text(),
        v1::NewArtifact { key: "Not a key".into(), ..text() },
        v1::NewArtifact { data: Some(large.clone()), ..text() },
        v1::NewArtifact { run_id: "0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b".into(), epoch: 1, ..text() },
        progress(12.5),
    ];
    let request = v1::CreateArtifactsRequest { artifacts, ..Default::default() };
    let outcomes =
        api.artifacts.clone().create_artifacts(request).await.expect("answers").into_inner().outcomes;
    let reasons: Vec<_> = outcomes.iter().map(|outcome| outcome.error_reason.as_str()).collect();
    assert_eq!(reasons, ["", "INVALID_FIELD", "", "RUN_NOT_FOUND", ""]);
    assert!(outcomes[1].error_message.contains("a-z 0-9 -"), "{}", outcomes[1].error_message);
    let ids: Vec<_> = [0, 2, 4].map(|idx: usize| outcomes[idx].artifact.clone().expect("is told").id).into();
    let got = get(&api, Name::Id(ids[1].clone()), 0).await.expect("is there").data.expect("is told");
    let reference = got.reference.expect("a large value is an object");
    assert_eq!((reference.size_bytes, got.data.len()), (100 << 10, 0));
    assert_eq!(get(&api, Name::Id(ids[2].clone()), 0).await.expect("is there").progress, Some(12.5));

    let none = api.artifacts.clone().create_artifacts(v1::CreateArtifactsRequest::default()).await;
    assert_eq!(fields(&none.expect_err("is refused")), ["artifacts"]);
}

#[tokio::test]
async fn what_is_wrong_is_told_by_its_field() {
    let api = Api::start().await;
    let cases: [(v1::NewArtifact, &[&str]); 8] = [
        (v1::NewArtifact::default(), &["artifact.type"]),
        (v1::NewArtifact { r#type: 99, ..text() }, &["artifact.type"]),
        (v1::NewArtifact { data: None, ..text() }, &["artifact.data"]),
        (v1::NewArtifact { progress: Some(1.0), ..text() }, &["artifact.progress"]),
        (v1::NewArtifact { data: text().data, ..progress(1.0) }, &["artifact.data"]),
        (progress(f64::NAN), &["artifact.progress"]),
        (
            v1::NewArtifact { epoch: 3, description: "x".repeat(5_000), ..text() },
            &["artifact.description", "artifact.epoch"],
        ),
        (v1::NewArtifact { id: "x".into(), key: "a_b".into(), ..text() }, &["artifact.id", "artifact.key"]),
    ];
    for (new, expected) in cases {
        let refused = create(&api, new.clone()).await.expect_err("is refused");
        assert_eq!(
            (refused.code(), fields(&refused)),
            (Code::InvalidArgument, expected.iter().map(ToString::to_string).collect()),
            "{new:?}"
        );
    }
    let unknown = v1::UpdateArtifactRequest {
        id: "0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b".into(),
        update_mask: Some(prost_types::FieldMask { paths: vec!["labels".into()] }),
        ..Default::default()
    };
    let empty = v1::UpdateArtifactRequest { update_mask: None, ..unknown.clone() };
    for request in [unknown, empty] {
        let refused = api.artifacts.clone().update_artifact(request).await.expect_err("is refused");
        assert_eq!(fields(&refused), ["update_mask"]);
    }
    let by_id = get(&api, Name::Id("0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b".into()), 2).await;
    assert_eq!(fields(&by_id.expect_err("is refused")), ["version"]);
    let request = v1::ListArtifactsRequest { order_by: "key".into(), ..Default::default() };
    let refused = api.artifacts.clone().list_artifacts(request).await.expect_err("is refused");
    assert_eq!(fields(&refused), ["order_by"]);
}
