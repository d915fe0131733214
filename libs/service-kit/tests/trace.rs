//! A trace that comes in goes on, also where nothing is exported and logs are quiet.

use tidegate_service_kit::{telemetry, trace};
use tracing::info_span;

const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn a_stored_trace_is_continued_and_none_is_made_up() {
    let telemetry = telemetry::init("tidegate-test").expect("the first call in this process");
    assert!(telemetry::init("again").is_err());

    assert_eq!(trace::current_traceparent(), None);
    let alone = info_span!(target: "tidegate_test", "alone");
    assert_eq!(alone.in_scope(trace::current_traceparent), None, "nothing is exported: no trace begins here");

    let span = info_span!(target: "tidegate_test", "attempt");
    trace::set_parent(&span, SAMPLED);
    let carried = span.in_scope(trace::current_traceparent).expect("the trace goes on");
    assert!(
        carried.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && carried.ends_with("-01"),
        "{carried}"
    );
    assert_ne!(carried, SAMPLED, "the span is the parent of what follows");
    let request = span.in_scope(|| trace::inject(tonic::Request::new(()))).expect("never refuses");
    assert!(request.metadata().get("traceparent").is_some());

    let other = info_span!(target: "tidegate_test", "attempt");
    trace::set_parent(&other, "not a traceparent");
    assert_eq!(other.in_scope(trace::current_traceparent), None);
    telemetry.shutdown().await;
}
