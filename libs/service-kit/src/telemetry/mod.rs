//! Logs and traces of a process.

mod wanted;

use std::io::IsTerminal;

use anyhow::Context;
use opentelemetry::{KeyValue, global, trace::TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use tracing_subscriber::{Layer, layer::SubscriberExt, util::SubscriberInitExt};

use self::wanted::Wanted;

/// What libraries say below WARN helps nobody; the exporter says on every batch that the collector is away.
pub(crate) const DEFAULT_FILTER: &str = "info,h2=warn,hyper=warn,hyper_util=warn,tonic=warn,tower=warn,sqlx=warn,\
     tokio_postgres=warn,opentelemetry=off";
const EXPORT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3);

/// Keeps the spans that are not yet exported. Call [`Telemetry::shutdown`] last of all.
#[must_use = "spans that are not flushed are lost"]
pub struct Telemetry(SdkTracerProvider);

/// Sets up logs and traces for the whole process; call it once, inside the runtime.
///
/// Logs go to stderr: `TIDEGATE_LOG` (or `RUST_LOG`) filters them, as `info,h2=warn`; `TIDEGATE_LOG_FORMAT=json`
/// makes them JSON.
/// Spans go to the OTLP collector at `OTEL_EXPORTER_OTLP_ENDPOINT`, under the name `service`; without it none
/// are exported, and the trace of a caller is still passed on. `OTEL_TRACES_SAMPLER` is honoured.
///
/// # Errors
/// A filter or an endpoint that cannot be read; a second call.
pub fn init(service: &'static str) -> anyhow::Result<Telemetry> {
    init_with(service, DEFAULT_FILTER)
}

/// As [`init`], with another filter of logs where the environment names none.
///
/// # Errors
/// As there.
pub fn init_with(service: &'static str, default_filter: &str) -> anyhow::Result<Telemetry> {
    global::set_text_map_propagator(TraceContextPropagator::new());
    let endpoint = std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok().filter(|text| !text.is_empty());
    let provider = SdkTracerProvider::builder().with_resource(
        Resource::builder()
            .with_service_name(service)
            .with_attribute(KeyValue::new("service.namespace", "tidegate"))
            .build(),
    );
    let provider = match endpoint {
        Some(endpoint) => {
            crate::trace::set_exporting();
            let exporter = SpanExporter::builder()
                .with_tonic()
                .with_endpoint(&endpoint)
                .with_timeout(EXPORT_TIMEOUT)
                .build()
                .with_context(|| format!("export spans to `{endpoint}`"))?;
            provider.with_batch_exporter(exporter)
        }
        // Nothing is exported, and no trace begins here; one that comes in is carried on.
        None => provider.with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOff))),
    }
    .build();

    let filter = ["TIDEGATE_LOG", "RUST_LOG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()))
        .unwrap_or_else(|| default_filter.to_owned());
    let wanted: Wanted = filter.parse().with_context(|| format!("read the log filter `{filter}`"))?;
    let logs = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let logs = match std::env::var("TIDEGATE_LOG_FORMAT").as_deref() {
        Ok("json") => logs.json().boxed(),
        _ => logs.boxed(),
    };
    tracing_subscriber::registry()
        .with(wanted)
        .with(logs)
        .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("tidegate")))
        .try_init()
        .context("set up logging")?;
    crate::metrics::install(service);
    Ok(Telemetry(provider))
}

impl Telemetry {
    /// Exports what is left; waits at most a few seconds for the collector.
    pub async fn shutdown(self) {
        // `shutdown` blocks its thread. An unreachable collector is not worth a word at the end.
        let _ = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(EXPORT_TIMEOUT)).await;
    }
}
