//! P9 [traceable]: one trace goes from the caller through api, queue, worker and child runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tidegate_integration_tests::{OtlpReceiver, Process, Suite, eventually, program};

#[tokio::test]
async fn one_trace_goes_through_all_services() {
    let receiver = OtlpReceiver::start().await;
    let export = ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), receiver.endpoint());
    let suite =
        Suite::separate_with([export.clone(), ("OTEL_BSP_SCHEDULE_DELAY".to_owned(), "100".to_owned())])
            .await;
    let worker = suite.worker("traced");
    let env = [("TIDEGATE_ADDRESS".to_owned(), suite.address().to_owned()), export];
    let caller = Process::start(&program("tidegate-test-worker"), ["call", "traced"], env);
    let ended = caller.ended(Duration::from_secs(60)).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.trim().ends_with("\n14"), "{}", ended.stdout);

    let expected: BTreeSet<_> =
        ["tidegate-test-caller", "tidegate-api", "tidegate-task-queue", "tidegate-test-worker"].into();
    let caller_trace =
        eventually("a trace with spans of four services", Duration::from_secs(30), async || {
            let mut services: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for span in receiver.spans() {
                services.entry(span.trace_id).or_default().insert(span.service);
            }
            let mut traces = services.into_iter();
            traces
                .find(|(_, services)| expected.iter().all(|&name| services.contains(name)))
                .map(|(trace, _)| trace)
        })
        .await;
    // The flow and its three tasks are attempts in that same trace.
    eventually("the attempts' spans", Duration::from_secs(30), async || {
        let spans = receiver.spans();
        let attempts = spans.iter().filter(|span| {
            span.trace_id == caller_trace
                && span.service == "tidegate-test-worker"
                && span.name.contains("add")
        });
        (attempts.count() >= 3).then_some(())
    })
    .await;
    worker.stop().await;
    suite.stop().await;
}
