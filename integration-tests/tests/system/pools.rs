//! Work pools: a deployment's runs go to the workers of its pool.

use std::time::Duration;

use tidegate_integration_tests::{Suite, eventually};
use tidegate_sdk::proto::{
    self, DeploymentSpec, Hello, StateType, WorkPoolSpec, WorkPoolType,
    deployment_service_client::DeploymentServiceClient,
    report::{Completed, Event, Started},
};
use tonic::transport::Endpoint;

use crate::raw_worker::RawWorker;

crate::on_both_forms!(a_pools_worker_gets_what_it_is_to_start);

async fn a_pools_worker_gets_what_it_is_to_start(suite: &Suite) {
    let client = suite.client();
    let pool = WorkPoolSpec {
        r#type: WorkPoolType::Process.into(),
        queues: vec!["first".to_owned(), "second".to_owned()],
        job_variables: r#"{"env":{"A":"1"}}"#.to_owned(),
        ..Default::default()
    };
    client.core().create_work_pool("site", pool, false).await.unwrap();
    let spec = DeploymentSpec {
        work_pool: "site".to_owned(),
        command: vec!["make".to_owned(), "report".to_owned()],
        ..Default::default()
    };
    let request = proto::CreateDeploymentRequest {
        name: "report/weekly".to_owned(),
        spec: Some(spec),
        ..Default::default()
    };
    let channel = Endpoint::from_shared(suite.address().to_owned()).unwrap().connect_lazy();
    let mut service = DeploymentServiceClient::new(channel);
    let made = service.create_deployment(request.clone()).await.unwrap().into_inner();
    assert!(made.warnings[0].contains("tidegate worker start --pool site"), "{:?}", made.warnings);
    let handle = client.deployment("report/weekly").delay(&serde_json::json!({})).await.unwrap();
    let told = client.core().explain_run(handle.id()).await.unwrap().summary;
    assert!(told.contains("tidegate worker start --pool site"), "{told}");

    client.core().pause_work_pool("site", "repairs").await.unwrap();
    let hello = Hello {
        worker_id: "w".to_owned(),
        work_pool: "site".to_owned(),
        queues: vec!["first".to_owned(), "second".to_owned()],
        ..Default::default()
    };
    let mut worker = RawWorker::open(&suite.worker_address(), hello).await;
    let told = client.core().explain_run(handle.id()).await.unwrap().summary;
    assert!(told.contains("Work pool `site` was paused"), "{told}");
    client.core().resume_work_pool("site").await.unwrap();
    let again = proto::CreateDeploymentRequest { update_if_exists: true, ..request };
    let again = service.create_deployment(again).await.unwrap().into_inner();
    assert_eq!(again.warnings, Vec::<String>::new(), "it has a worker");
    let assign = worker.assignment().await;
    assert_eq!((assign.run_id.as_str(), assign.queue.as_str()), (handle.id(), "first"));
    let job = assign.job.clone().expect("is given");
    assert_eq!(
        (job.work_pool.as_str(), &job.command[..]),
        ("site", &["make", "report"].map(str::to_owned)[..])
    );
    assert_eq!(job.job_variables, r#"{"env":{"A":"1"}}"#);
    let held = worker.keep_hindered(&assign, "Unschedulable: 0/3 nodes are available");
    let told = "Its job has not begun: Unschedulable: 0/3 nodes are available.";
    let explains = async |is_told| {
        eventually("what hinders the run is told while it does", Duration::from_secs(60), async || {
            let explanation = client.core().explain_run(handle.id()).await.unwrap();
            (explanation.summary.contains(told) == is_told).then_some(())
        })
        .await;
    };
    explains(true).await;
    drop(held);
    let _held = worker.keep(&assign);
    explains(false).await;
    assert!(worker.report(&assign, Event::Started(Started {})).await.accepted);
    let facts = client.core().get_work_pool("site").await.unwrap();
    assert_eq!((facts.waiting_runs, facts.held_runs), (0, 1));
    assert!(worker.report(&assign, Event::Completed(Completed::default())).await.accepted);
    suite.until_state(&handle, StateType::Completed).await;
    let error = client.core().delete_work_pool("site", false).await.unwrap_err();
    assert!(error.to_string().contains("`report/weekly`"), "{error}");
}
