//! One trace from the caller through the services to the worker and its child runs (promise P9).
//!
//! The core speaks W3C `traceparent` and uses OpenTelemetry's global tracer: without an exporter its spans cost
//! next to nothing and the caller's context is passed on unchanged.

use std::time::Duration;

use opentelemetry::{
    Context, KeyValue, global,
    trace::{
        SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
    },
};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{Error, ErrorKind, runtime};

const SCOPE: &str = "tidegate";

/// Exports spans by OTLP while it lives.
#[derive(Debug)]
pub struct Exporter(SdkTracerProvider);

impl Exporter {
    /// Sends what is left, within `deadline`. Blocks; safe to call twice.
    pub fn close(&self, deadline: Duration) {
        if let Err(error) = self.0.shutdown_with_timeout(deadline) {
            tracing::debug!("the last spans were not exported: {error}");
        }
    }
}

/// Begins to export spans when OTEL_EXPORTER_OTLP_ENDPOINT is set, under OTEL_SERVICE_NAME or else `service`.
/// `None`: it is not set.
///
/// # Errors
/// As for [`export_to`].
pub fn export_from_env(service: &str) -> Result<Option<Exporter>, Error> {
    let of = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let Some(endpoint) = of("OTEL_EXPORTER_OTLP_ENDPOINT") else { return Ok(None) };
    let service = of("OTEL_SERVICE_NAME").unwrap_or_else(|| service.to_owned());
    export_to(&endpoint, service).map(Some)
}

/// Begins to export spans to the OTLP receiver at `endpoint`, under the name `service`, and makes that OpenTelemetry's
/// global tracer.
///
/// # Errors
/// `InvalidArgument` when the endpoint is no address.
pub fn export_to(endpoint: &str, service: String) -> Result<Exporter, Error> {
    let _inside = runtime::handle()?.enter(); // the exporter's channel lives on the core's thread
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(Duration::from_secs(3))
        .build()
        .map_err(|error| {
            let message =
                format!("traces cannot be sent to `{endpoint}` (OTEL_EXPORTER_OTLP_ENDPOINT): {error}");
            Error::new(ErrorKind::InvalidArgument, message)
        })?;
    let provider = SdkTracerProvider::builder()
        .with_resource(
            Resource::builder()
                .with_service_name(service)
                .with_attribute(KeyValue::new("service.namespace", "tidegate"))
                .build(),
        )
        .with_batch_exporter(exporter)
        .build();
    global::set_text_map_propagator(TraceContextPropagator::new());
    global::set_tracer_provider(provider.clone());
    Ok(Exporter(provider))
}

/// The context of a W3C `traceparent`; the current one where that is empty or malformed.
pub fn context_of(traceparent: &str) -> Context {
    match parse(traceparent) {
        Some(remote) => Context::new().with_remote_span_context(remote),
        None => current_context(),
    }
}

/// The W3C `traceparent` of `context`; `None` when there is no trace.
pub fn traceparent_of(context: &Context) -> Option<String> {
    let span = context.span();
    let span_context = span.span_context();
    span_context.is_valid().then(|| {
        let flags = span_context.trace_flags().to_u8();
        format!("00-{}-{}-{flags:02x}", span_context.trace_id(), span_context.span_id())
    })
}

/// The `traceparent` of the span in which this is called: of `tracing`, or else of OpenTelemetry.
pub fn current_traceparent() -> Option<String> {
    traceparent_of(&current_context())
}

fn current_context() -> Context {
    let context = tracing::Span::current().context();
    if context.span().span_context().is_valid() { context } else { Context::current() }
}

fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version.len() != 2 || version == "ff" || trace.len() != 32 || span.len() != 16 || flags.len() != 2 {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

/// An open span. Dropped, it ends.
#[derive(Debug)]
pub struct Span {
    context: Context,
    /// Where nothing is exported, the span has no id of its own and the parent's context is passed on.
    parent: Context,
}

impl Span {
    /// The span of creating runs, below `traceparent` or else the current span.
    pub(crate) fn of_create(name: &str, traceparent: &str) -> Self {
        Self::start(format!("create {name}"), SpanKind::Producer, traceparent, Vec::new())
    }

    /// The span of one attempt, below `traceparent`.
    pub fn of_run(name: &str, run_id: &str, attempt: u32, traceparent: &str) -> Self {
        let attributes = vec![
            KeyValue::new("run.id", run_id.to_owned()),
            KeyValue::new("run.attempt", i64::from(attempt)),
        ];
        Self::start(format!("run {name}"), SpanKind::Consumer, traceparent, attributes)
    }

    fn start(name: String, kind: SpanKind, traceparent: &str, attributes: Vec<KeyValue>) -> Self {
        let parent = context_of(traceparent);
        let tracer = global::tracer(SCOPE);
        let builder = tracer.span_builder(name).with_kind(kind).with_attributes(attributes);
        let context = parent.with_span(tracer.build_with_context(builder, &parent));
        Self { context, parent }
    }

    /// What is below this span continues this.
    pub fn traceparent(&self) -> String {
        traceparent_of(&self.context).or_else(|| traceparent_of(&self.parent)).unwrap_or_default()
    }

    /// To attach to the code that runs within this span.
    pub fn context(&self) -> Context {
        if self.context.span().span_context().is_valid() { self.context.clone() } else { self.parent.clone() }
    }

    /// Ends the span as failed with `message`, or, with `None`, as well.
    pub fn end(self, failure: Option<&str>) {
        let span = self.context.span();
        match failure {
            Some(message) => span.set_status(Status::error(message.to_owned())),
            None => span.set_status(Status::Ok),
        }
        span.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_survives_a_span_that_is_not_exported() {
        let span = Span::of_run("count", "r-1", 1, TRACEPARENT);
        assert_eq!(span.traceparent(), TRACEPARENT);
    }

    #[test]
    fn malformed_ones_are_no_trace() {
        for text in ["", "00-1-2-3", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"] {
            assert!(parse(text).is_none(), "{text}");
        }
        assert_eq!(Span::of_run("count", "r-1", 1, "").traceparent(), "");
    }
}
