use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
};
use tokio::{net::TcpListener, task::JoinSet};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

/// Takes spans by OTLP over gRPC and keeps them.
pub struct OtlpReceiver {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<SeenSpan>>>,
    _server: JoinSet<()>,
}

/// A span that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenSpan {
    /// The resource's `service.name`.
    pub service: String,
    /// What the span is called.
    pub name: String,
    /// In hex.
    pub trace_id: String,
    /// In hex.
    pub span_id: String,
    /// In hex; empty for the first of a trace.
    pub parent_span_id: String,
}

impl OtlpReceiver {
    /// Listens on a free port.
    ///
    /// # Panics
    /// There is none.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let spans = Arc::<Mutex<Vec<SeenSpan>>>::default();
        let collector = TraceServiceServer::new(Collector { spans: Arc::clone(&spans) });
        let mut server = JoinSet::new();
        server.spawn(async move {
            let serve = tonic::transport::Server::builder().add_service(collector);
            serve.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });
        Self { address, spans, _server: server }
    }

    /// For OTEL_EXPORTER_OTLP_ENDPOINT.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has come so far.
    pub fn spans(&self) -> Vec<SeenSpan> {
        self.spans.lock().unwrap().clone()
    }
}

struct Collector {
    spans: Arc<Mutex<Vec<SeenSpan>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        for of_resource in request.into_inner().resource_spans {
            let attributes = of_resource.resource.map(|resource| resource.attributes).unwrap_or_default();
            let name = attributes.into_iter().find(|attribute| attribute.key == "service.name");
            let service = match name.and_then(|attribute| attribute.value).and_then(|value| value.value) {
                Some(Value::StringValue(name)) => name,
                _ => String::new(),
            };
            for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                self.spans.lock().unwrap().push(SeenSpan {
                    service: service.clone(),
                    name: span.name,
                    trace_id: hex(&span.trace_id),
                    span_id: hex(&span.span_id),
                    parent_span_id: hex(&span.parent_span_id),
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
