//! W3C trace context: into calls, out of requests, and as text to be stored on a run.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
};

use opentelemetry::{
    global,
    propagation::{Extractor, Injector},
    trace::TraceContextExt,
};
use tonic::{
    Request, Status,
    metadata::{MetadataKey, MetadataMap},
};
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

const TRACEPARENT: &str = "traceparent";

/// Whether this process exports spans: only then is "not sampled" a decision that others must follow.
static EXPORTING: AtomicBool = AtomicBool::new(false);

pub(crate) fn set_exporting() {
    EXPORTING.store(true, Ordering::Relaxed);
}

/// Client interceptor: passes the current span's trace on. `RunServiceClient::with_interceptor(channel, inject)`.
///
/// # Errors
/// None; the type is that of an interceptor.
pub fn inject(mut request: Request<()>) -> Result<Request<()>, Status> {
    inject_into(&Span::current(), &mut MetadataInjector(request.metadata_mut()));
    Ok(request)
}

/// The current span's trace context in the form of the `traceparent` header; `None` outside of a trace.
pub fn current_traceparent() -> Option<String> {
    let mut carrier = HashMap::new();
    inject_into(&Span::current(), &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// Makes `span` a child of a stored trace context. A text that is not a `traceparent` changes nothing. To be
/// called before the span is entered.
pub fn set_parent(span: &Span, traceparent: &str) {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    adopt(span, &carrier);
}

/// The span of a gRPC request, as a child of the caller's; none for pages, probes and health checks, which
/// would only be noise.
pub(crate) fn server_span<B>(request: &http::Request<B>) -> Span {
    let name = request.uri().path().trim_start_matches('/');
    if !crate::grpc::is_grpc(request.headers()) || name.starts_with("grpc.") {
        return Span::none();
    }
    let (service, method) = name.split_once('/').unwrap_or((name, ""));
    let span = info_span!(
        "rpc",
        otel.name = name,
        otel.kind = "server",
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method
    );
    adopt(&span, &HeaderExtractor(request.headers()));
    span
}

fn inject_into(span: &Span, carrier: &mut impl Injector) {
    let context = span.context();
    let span = context.span();
    let context_of_span = span.span_context();
    if context_of_span.is_valid() && (context_of_span.is_sampled() || EXPORTING.load(Ordering::Relaxed)) {
        global::get_text_map_propagator(|propagator| propagator.inject_context(&context, carrier));
    }
}

fn adopt(span: &Span, carrier: &dyn Extractor) {
    let parent = global::get_text_map_propagator(|propagator| propagator.extract(carrier));
    if parent.span().span_context().is_valid() {
        // An error says that the span is filtered out: then there is nothing to be a child.
        let _ = span.set_parent(parent);
    }
}

struct HeaderExtractor<'a>(&'a http::HeaderMap);

impl Extractor for HeaderExtractor<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

struct MetadataInjector<'a>(&'a mut MetadataMap);

impl Injector for MetadataInjector<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (MetadataKey::from_bytes(key.as_bytes()), value.parse()) {
            self.0.insert(key, value);
        }
    }
}
