//! Exporting traces.

use std::time::Duration;

use tidegate_sdk_core::trace::{self, Exporter};

/// Exports spans while it lives, and sends the last ones when it is dropped.
#[derive(Debug)]
#[must_use = "spans are exported while this lives"]
pub struct Guard(Option<Exporter>);

/// Begins to export spans by OTLP when OTEL_EXPORTER_OTLP_ENDPOINT is set, under OTEL_SERVICE_NAME or else `service`.
/// It sets OpenTelemetry's global tracer: a program that does so itself needs no call of this. An endpoint that
/// cannot be used is logged, since a program should not fail for its telemetry.
pub fn init_from_env(service: &str) -> Guard {
    match trace::export_from_env(service) {
        Ok(exporter) => Guard(exporter),
        Err(error) => {
            tracing::warn!("no traces are exported: {error}");
            Guard(None)
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(exporter) = &self.0 {
            exporter.close(Duration::from_secs(3));
        }
    }
}
