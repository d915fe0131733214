//! One trace from the call to the run, as an OTLP receiver sees it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use std::time::Duration;

use fake::{Fake, soon};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tidegate_sdk_core::{proto::NewRun, trace};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

struct Receiver(mpsc::UnboundedSender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let _ = self.0.send(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test]
async fn a_run_continues_the_trace_of_the_call_that_created_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (spans_in, mut spans_out) = mpsc::unbounded_channel();
    let receiver = Server::builder().add_service(TraceServiceServer::new(Receiver(spans_in)));
    let _serving = JoinSet::from_iter([receiver.serve_with_incoming(TcpListenerStream::new(listener))]);
    let exporter = trace::export_to(&endpoint, "the-caller".into()).unwrap();

    let mut fake = Fake::start().await;
    let client = fake.client();
    let creating = JoinSet::from_iter([async move {
        client.create_run(NewRun { name: "count".into(), ..Default::default() }).await
    }]);
    let created = fake.accept_creates().await;
    soon(creating.join_all()).await.remove(0).unwrap();
    // The worker, elsewhere, has the traceparent from its assignment.
    trace::Span::of_run("count", &created[0].id, 1, &created[0].traceparent).end(Some("ValueError: no"));
    soon(tokio::task::spawn_blocking(move || exporter.close(Duration::from_secs(10)))).await.unwrap();

    let mut spans = Vec::new();
    while spans.len() < 2 {
        for resource in soon(spans_out.recv()).await.unwrap().resource_spans {
            spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    }
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let (create, run) = (named("create count"), named("run count"));
    assert_eq!(create.trace_id, run.trace_id);
    assert_eq!(run.parent_span_id, create.span_id);
    assert_eq!(run.status.as_ref().unwrap().message, "ValueError: no");
}
