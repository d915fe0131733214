//! The process's metrics, served at `/metrics` for Prometheus. Crates record with the macros of `metrics`.

use std::sync::OnceLock;

use metrics::{Unit, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Histogram (s): how long rpcs took until their last message, by `method` and `code`.
pub(crate) const RPC_DURATION: &str = "tidegate.rpc.duration";
/// Gauge: rpcs that run now, by `service`.
pub(crate) const RPC_IN_FLIGHT: &str = "tidegate.rpc.in_flight";

/// Gauge: 1, with the `service` and its `version`.
const BUILD_INFO: &str = "tidegate.build_info";

/// Seconds, from a call in the same machine to a long poll.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0];
/// Items of a batch; histograms whose name ends in `_size`.
const ITEMS: [f64; 8] = [1.0, 2.0, 5.0, 20.0, 100.0, 300.0, 1_000.0, 5_000.0];

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Installs the process's recorder, before anything records.
pub(crate) fn install(service: &'static str) {
    handle();
    gauge!(BUILD_INFO, "service" => service, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// The process's recorder, installed at the first call. A recorder that something else installed before
/// stays, and then `/metrics` is empty.
pub(crate) fn handle() -> &'static PrometheusHandle {
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&SECONDS)
            .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_size".to_owned()), &ITEMS))
            .expect("the lists of buckets are not empty")
            .build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed; /metrics stays empty");
        }
        describe_histogram!(RPC_DURATION, Unit::Seconds, "how long rpcs took until their last message");
        describe_gauge!(BUILD_INFO, Unit::Count, "1, with the service and its version");
        describe_gauge!(RPC_IN_FLIGHT, Unit::Count, "rpcs that run now");
        handle
    })
}
