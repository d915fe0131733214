//! A log-ingest on a temporary store, and what its clients write.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{sync::Arc, time::Duration};

use tidegate_log_ingest::Config;
use tidegate_model::RunId;
use tidegate_proto::v1::{self, log_service_client::LogServiceClient};
use tidegate_service_kit::{GrpcRoutes, Supervisor, channel, config::defaults, serve_grpc};
use tidegate_store_sqlite::SqliteStore;
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

/// How long anything here may take; far more than it does.
pub const SOON: Duration = Duration::from_secs(20);

pub struct LogIngest {
    pub client: LogServiceClient<Channel>,
    pub tasks: Supervisor,
}

impl LogIngest {
    pub async fn start() -> Self {
        Self::start_with(defaults()).await
    }

    pub async fn start_with(config: Config) -> Self {
        let tasks = Supervisor::with_grace(SOON);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let store = Arc::new(SqliteStore::in_memory().await.unwrap());
        let mut grpc = GrpcRoutes::new();
        tidegate_log_ingest::start(&config, store, &tasks, &mut grpc).await.unwrap();
        serve_grpc(listener, grpc, &[tidegate_proto::FILE_DESCRIPTOR_SET], &tasks).await.unwrap();
        Self { client: LogServiceClient::new(channel(&address).unwrap()), tasks }
    }

    pub async fn stop(self) {
        drop(self.client);
        self.tasks.stop();
        self.tasks.finished(SOON).await.unwrap();
    }

    /// An ingest stream.
    pub async fn writer(&self) -> Writer {
        let (requests, outgoing) = mpsc::channel(100);
        let acks = self.client.clone().ingest_logs(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
        Writer { requests, acks }
    }

    pub async fn query(&self, request: v1::QueryLogsRequest) -> Result<v1::QueryLogsResponse, Status> {
        self.client.clone().query_logs(request).await.map(tonic::Response::into_inner)
    }

    /// The numbers of all lines of a run, by time.
    pub async fn seqs(&self, run: RunId) -> Vec<u64> {
        let request =
            v1::QueryLogsRequest { run_id: run.to_string(), page_size: 1_000, ..Default::default() };
        self.query(request).await.unwrap().entries.iter().map(|entry| entry.seq).collect()
    }

    pub async fn tail(&self, request: v1::TailLogsRequest) -> Tail {
        Tail {
            lines: self.client.clone().tail_logs(request).await.unwrap().into_inner(),
            resume_token: String::new(),
        }
    }
}

pub struct Writer {
    pub requests: mpsc::Sender<v1::IngestLogsRequest>,
    pub acks: Streaming<v1::IngestLogsResponse>,
}

impl Writer {
    pub async fn send(&self, batch_seq: u64, entries: Vec<v1::LogEntry>) {
        self.requests.send(batch(batch_seq, entries)).await.unwrap();
    }

    /// Waits until all batches up to this one are stored.
    pub async fn acked(&mut self, batch_seq: u64) {
        let wait = async {
            loop {
                let ack = self.acks.message().await.unwrap().expect("the stream goes on");
                if ack.acked_batch_seq >= batch_seq {
                    return;
                }
            }
        };
        timeout(SOON, wait).await.expect("is acknowledged");
    }

    pub async fn error(&mut self) -> Status {
        timeout(SOON, self.acks.message()).await.expect("answers").unwrap_err()
    }
}

pub struct Tail {
    pub lines: Streaming<v1::TailLogsResponse>,
    pub resume_token: String,
}

impl Tail {
    /// The numbers of the next lines, at least `n_lines`.
    pub async fn next(&mut self, n_lines: usize) -> Vec<u64> {
        let wait = async {
            let mut seqs = Vec::new();
            while seqs.len() < n_lines {
                let response = self.lines.message().await.unwrap().expect("the tail goes on");
                seqs.extend(response.entries.iter().map(|entry| entry.seq));
                self.resume_token = response.resume_token;
            }
            seqs
        };
        timeout(SOON, wait).await.expect("the lines come")
    }
}

pub fn batch(batch_seq: u64, entries: Vec<v1::LogEntry>) -> v1::IngestLogsRequest {
    v1::IngestLogsRequest { batch_seq, writer_id: "writer".to_owned(), entries, ..Default::default() }
}

pub fn entry(run: RunId, seq: u64) -> v1::LogEntry {
    v1::LogEntry {
        run_id: run.to_string(),
        attempt: 1,
        seq,
        logged_at: Some(prost_types::Timestamp {
            seconds: 1_790_000_000 + i64::try_from(seq).unwrap(),
            nanos: 0,
        }),
        level: v1::LogLevel::Info.into(),
        logger: "app".to_owned(),
        message: format!("line {seq}"),
        ..Default::default()
    }
}

pub fn entries(run: RunId, seqs: std::ops::RangeInclusive<u64>) -> Vec<v1::LogEntry> {
    seqs.map(|seq| entry(run, seq)).collect()
}
