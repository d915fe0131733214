//! The api on a loopback port over a SQLite store, without a task-queue behind it.
#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::Arc;

use tidegate_model::{Clock, SystemClock};
use tidegate_payload::{ObjectStorage, ObjectStorageConfig};
use tidegate_proto::{
    internal::{self, run_engine_service_client::RunEngineServiceClient},
    v1::{
        self, artifact_service_client::ArtifactServiceClient,
        automation_service_client::AutomationServiceClient,
        bulk_operation_service_client::BulkOperationServiceClient,
        concurrency_service_client::ConcurrencyServiceClient,
        deployment_service_client::DeploymentServiceClient, payload_service_client::PayloadServiceClient,
        queue_service_client::QueueServiceClient, run_service_client::RunServiceClient,
        schedule_service_client::ScheduleServiceClient, session_service_client::SessionServiceClient,
        system_service_client::SystemServiceClient, variable_service_client::VariableServiceClient,
        work_pool_service_client::WorkPoolServiceClient,
    },
};
use tidegate_service_kit::{GrpcRoutes, Supervisor, channel, config, serve_grpc};
use tidegate_store::RunStore;
use tidegate_store_sqlite::SqliteStore;
use tokio::net::TcpListener;
use tonic::{Status, transport::Channel};
use tonic_types::StatusExt as _;

pub struct Api {
    pub runs: RunServiceClient<Channel>,
    pub bulk: BulkOperationServiceClient<Channel>,
    pub sessions: SessionServiceClient<Channel>,
    pub system: SystemServiceClient<Channel>,
    pub engine: RunEngineServiceClient<Channel>,
    pub payloads: PayloadServiceClient<Channel>,
    pub concurrency: ConcurrencyServiceClient<Channel>,
    pub queues: QueueServiceClient<Channel>,
    pub deployments: DeploymentServiceClient<Channel>,
    pub schedules: ScheduleServiceClient<Channel>,
    pub artifacts: ArtifactServiceClient<Channel>,
    pub variables: VariableServiceClient<Channel>,
    pub automations: AutomationServiceClient<Channel>,
    pub work_pools: WorkPoolServiceClient<Channel>,
    tasks: Supervisor,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Api {
    pub async fn start() -> Self {
        Self::over(Arc::new(SqliteStore::in_memory().await.expect("opens"))).await
    }

    /// Over this store.
    pub async fn over(store: Arc<dyn RunStore>) -> Self {
        Self::with(store, ObjectStorage::in_memory(), config::defaults()).await
    }

    /// Over this store and object storage.
    pub async fn with(
        store: Arc<dyn RunStore>,
        storage: ObjectStorage,
        config: tidegate_api::Config,
    ) -> Self {
        Self::on_machine(Arc::new(SystemClock), store, storage, config).await
    }

    /// On a machine with this clock.
    pub async fn on_machine(
        clock: Arc<dyn Clock>,
        store: Arc<dyn RunStore>,
        storage: ObjectStorage,
        config: tidegate_api::Config,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = format!("http://{}", listener.local_addr().expect("has an address"));
        let (tasks, mut grpc) = (Supervisor::new(), GrpcRoutes::new());
        let nowhere = channel("http://127.0.0.1:1").expect("is an address");
        tidegate_api::start_with_clock(&config, store, storage, nowhere, clock, &tasks, &mut grpc)
            .await
            .expect("starts");
        serve_grpc(listener, grpc, &[tidegate_proto::FILE_DESCRIPTOR_SET], &tasks).await.expect("serves");
        let channel = channel(&address).expect("is an address");
        Self {
            runs: RunServiceClient::new(channel.clone()),
            bulk: BulkOperationServiceClient::new(channel.clone()),
            sessions: SessionServiceClient::new(channel.clone()),
            system: SystemServiceClient::new(channel.clone()),
            engine: RunEngineServiceClient::new(channel.clone()),
            payloads: PayloadServiceClient::new(channel.clone()),
            concurrency: ConcurrencyServiceClient::new(channel.clone()),
            queues: QueueServiceClient::new(channel.clone()),
            deployments: DeploymentServiceClient::new(channel.clone()),
            schedules: ScheduleServiceClient::new(channel.clone()),
            artifacts: ArtifactServiceClient::new(channel.clone()),
            variables: VariableServiceClient::new(channel.clone()),
            automations: AutomationServiceClient::new(channel.clone()),
            work_pools: WorkPoolServiceClient::new(channel),
            tasks,
        }
    }

    /// Asks it to stop.
    pub fn stop(&self) {
        self.tasks.stop();
    }

    pub async fn create(&self, run: v1::NewRun) -> Result<v1::CreateRunResponse, Status> {
        let request = v1::CreateRunRequest { run: Some(run), ..Default::default() };
        self.runs.clone().create_run(request).await.map(tonic::Response::into_inner)
    }

    /// A deployment that is there.
    pub async fn deployed(&self, name: &str, spec: v1::DeploymentSpec) -> v1::Deployment {
        let request =
            v1::CreateDeploymentRequest { name: name.to_owned(), spec: Some(spec), ..Default::default() };
        let response = self.deployments.clone().create_deployment(request).await.expect("is created");
        response.into_inner().deployment.expect("is told")
    }

    /// A queued task that is there.
    pub async fn created(&self, run: v1::NewRun) -> v1::Run {
        self.create(run).await.expect("is created").run.expect("is told")
    }

    pub async fn claim(&self, run: &v1::Run) -> internal::claim_outcome::Outcome {
        let claim = internal::Claim {
            namespace: run.namespace.clone(),
            run_id: run.id.clone(),
            epoch: run.epoch,
            worker_id: "w".to_owned(),
        };
        let response =
            self.engine.clone().claim_runs(internal::ClaimRunsRequest { claims: vec![claim] }).await;
        let outcome = response.expect("answers").into_inner().outcomes.remove(0).outcome;
        outcome.expect("is told")
    }

    pub async fn report(&self, report: v1::Report) -> v1::ReportOutcome {
        let report = internal::HolderReport { namespace: "default".to_owned(), report: Some(report) };
        let request = internal::ReportRunsRequest { reports: vec![report] };
        self.engine.clone().report_runs(request).await.expect("answers").into_inner().outcomes.remove(0)
    }

    /// Claims, starts and completes a run, as a worker would.
    pub async fn complete(&self, run: &v1::Run, result: &'static [u8]) {
        let internal::claim_outcome::Outcome::Assign(assign) = self.claim(run).await else {
            panic!("{run:?} is not granted")
        };
        let events = [
            v1::report::Event::Started(v1::report::Started {}),
            v1::report::Event::Completed(v1::report::Completed {
                result: Some(payload(result)),
                ..Default::default()
            }),
        ];
        for event in events {
            let outcome = self.report(report(&assign.run_id, assign.epoch, event)).await;
            assert!(outcome.accepted, "{outcome:?}");
        }
    }
}

/// Object storage that takes connections and never answers, while the listener is kept.
pub fn silent_storage() -> (std::net::TcpListener, ObjectStorage) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let config = ObjectStorageConfig {
        url: "s3://payloads".to_owned(),
        endpoint: format!("http://{}", listener.local_addr().expect("has an address")),
        region: "us-east-1".to_owned(),
        access_key_id: "key".to_owned(),
        secret_access_key: "secret".to_owned().try_into().expect("is a secret"),
        allow_http: true,
    };
    (listener, ObjectStorage::open(&config).expect("makes no request"))
}

/// A task for the default queue.
pub fn task() -> v1::NewRun {
    v1::NewRun {
        kind: v1::RunKind::Task.into(),
        name: "resize".to_owned(),
        placement: Some(v1::new_run::Placement::Queue("default".to_owned())),
        ..Default::default()
    }
}

pub fn payload(data: &'static [u8]) -> v1::Payload {
    let metadata = [("encoding".to_owned(), "json/plain".into())].into();
    v1::Payload { metadata, data: data.into(), reference: None }
}

pub fn report(run_id: &str, epoch: u64, event: v1::report::Event) -> v1::Report {
    v1::Report { run_id: run_id.to_owned(), epoch, event: Some(event), age: None }
}

/// The machine-readable cause of an error.
pub fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

/// The fields that an error names.
pub fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    details
        .bad_request()
        .map(|bad| bad.field_violations.iter().map(|violation| violation.field.clone()).collect())
        .unwrap_or_default()
}
