//! Progress of artifacts against a server that takes its time, or is away.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use tidegate_proto::v1::{self as proto, artifact_service_server};
use tidegate_sdk_core::{Client, Options, Progress};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

const PATIENCE: Duration = Duration::from_secs(30);

type Update = (proto::UpdateArtifactRequest, oneshot::Sender<Result<(), Status>>);

/// Gives each update to the test, which says what becomes of it.
struct Artifacts(mpsc::UnboundedSender<Update>);

fn not_asked<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("no test asks for this"))
}

#[tonic::async_trait]
impl artifact_service_server::ArtifactService for Artifacts {
    async fn create_artifact(
        &self,
        _: Request<proto::CreateArtifactRequest>,
    ) -> Result<Response<proto::CreateArtifactResponse>, Status> {
        not_asked()
    }

    async fn create_artifacts(
        &self,
        _: Request<proto::CreateArtifactsRequest>,
    ) -> Result<Response<proto::CreateArtifactsResponse>, Status> {
        not_asked()
    }

    async fn get_artifact(
        &self,
        _: Request<proto::GetArtifactRequest>,
    ) -> Result<Response<proto::GetArtifactResponse>, Status> {
        not_asked()
    }

    async fn list_artifacts(
        &self,
        _: Request<proto::ListArtifactsRequest>,
    ) -> Result<Response<proto::ListArtifactsResponse>, Status> {
        not_asked()
    }

    async fn update_artifact(
        &self,
        request: Request<proto::UpdateArtifactRequest>,
    ) -> Result<Response<proto::UpdateArtifactResponse>, Status> {
        let (answer, answered) = oneshot::channel();
        self.0.send((request.into_inner(), answer)).map_err(|_| Status::unavailable("the test is over"))?;
        answered.await.unwrap_or_else(|_| Err(Status::unavailable("the test is over")))?;
        Ok(Response::new(proto::UpdateArtifactResponse::default()))
    }

    async fn delete_artifact(
        &self,
        _: Request<proto::DeleteArtifactRequest>,
    ) -> Result<Response<proto::DeleteArtifactResponse>, Status> {
        not_asked()
    }
}

/// A client, and the updates that reach its server.
async fn start() -> (Client, mpsc::UnboundedReceiver<Update>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (updates, updated) = mpsc::unbounded_channel();
    let service = artifact_service_server::ArtifactServiceServer::new(Artifacts(updates));
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::runtime::Handle::current().spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let mut options = Options::new(&address, "default").unwrap();
    // No call is repeated by itself: what is to be told by then may be newer.
    options.call_deadline = Duration::ZERO;
    (Client::new(options).unwrap(), updated)
}

async fn next(updates: &mut mpsc::UnboundedReceiver<Update>) -> Update {
    timeout(PATIENCE, updates.recv()).await.expect("an update comes").unwrap()
}

fn of(artifact_id: &str, percent: f64) -> Progress {
    Progress { artifact_id: artifact_id.into(), percent, description: None, run_id: "r".into(), epoch: 7 }
}

/// What is told while an update travels is told together, and the last arrives; other artifacts do not wait for it.
#[tokio::test]
async fn the_latest_is_told_once_the_one_before_is() {
    let (client, mut updates) = start().await;
    client.write_progress(Progress { description: Some("begun".into()), ..of("a", 0.0) });
    let (first, answer) = next(&mut updates).await;
    assert_eq!((first.progress, first.description.as_str(), first.epoch), (0.0, "begun", 7));
    assert_eq!(first.update_mask.unwrap().paths, ["progress", "description"]);
    client.write_progress(Progress { description: Some("under way".into()), ..of("a", 1.0) });
    for n in 0..=10_000 {
        client.write_progress(of("a", f64::from(n) / 100.0));
    }
    client.write_progress(of("b", 5.0));
    let (other, answer_other) = next(&mut updates).await;
    assert_eq!((other.id.as_str(), other.progress), ("b", 5.0));
    assert_eq!(other.update_mask.unwrap().paths, ["progress"]);
    answer_other.send(Ok(())).unwrap();
    answer.send(Ok(())).unwrap();
    let (last, answer) = next(&mut updates).await;
    assert_eq!((last.progress, last.description.as_str()), (100.0, "under way"));
    answer.send(Ok(())).unwrap();
    assert!(client.progress().flush(PATIENCE).await);
    assert!(updates.try_recv().is_err(), "nothing is told twice");
}

/// A server that is away is told what is the latest when it comes back; one that refuses is told no more.
#[tokio::test]
async fn an_outage_costs_nothing_but_what_was_overtaken() {
    let (client, mut updates) = start().await;
    client.write_progress(of("a", 1.0));
    let (_, answer) = next(&mut updates).await;
    client.write_progress(of("a", 2.0));
    answer.send(Err(Status::unavailable("away"))).unwrap();
    loop {
        let (update, answer) = next(&mut updates).await;
        answer.send(if update.progress < 2.0 { Err(Status::unavailable("away")) } else { Ok(()) }).unwrap();
        if update.progress >= 2.0 {
            break;
        }
        client.write_progress(of("a", 2.0));
    }
    assert!(client.progress().flush(PATIENCE).await);

    client.write_progress(of("a", 3.0));
    let (_, answer) = next(&mut updates).await;
    answer.send(Err(Status::failed_precondition("the run was taken away"))).unwrap();
    assert!(client.progress().flush(PATIENCE).await, "what is refused is not waited for");
}
