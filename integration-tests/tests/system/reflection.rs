//! A client that knows nothing of us finds and calls every service by reflection: `buf curl`.

use std::time::Duration;

use tidegate_integration_tests::{Process, Suite};

/// The whole of `buf curl` for one server. `buf` comes from TIDEGATE_TEST_BUF, or from the path.
async fn buf(address: &str, args: &[&str]) -> String {
    let buf = std::env::var("TIDEGATE_TEST_BUF").unwrap_or_else(|_| "buf".to_owned());
    let (rest, path) = args.split_at(args.len() - 1);
    let url = format!("{address}{}", path[0]);
    let all =
        ["curl", "--protocol", "grpc", "--http2-prior-knowledge"].into_iter().chain(rest.iter().copied());
    let process = Process::start(buf.as_ref(), all.chain([url.as_str()]), []);
    let ended = process.ended(Duration::from_secs(30)).await;
    assert_eq!(ended.code, Some(0), "buf curl {args:?}: {}{}", ended.stdout, ended.stderr);
    ended.stdout
}

async fn lists_and_calls(address: &str, services: &[&str]) {
    for reflection in ["grpc-v1", "grpc-v1alpha"] {
        let methods = buf(address, &["--reflect-protocol", reflection, "--list-methods", ""]).await;
        for service in services.iter().chain(&["grpc.health.v1.Health"]) {
            assert!(methods.contains(&format!("{service}/")), "{service} is not in {methods} ({reflection})");
        }
    }
    let healthy = buf(address, &["-d", "{}", "/grpc.health.v1.Health/Check"]).await;
    assert!(healthy.contains("SERVING") && !healthy.contains("NOT_SERVING"), "{healthy}");
    for service in services {
        let request = format!("{{\"service\":\"{service}\"}}");
        let healthy = buf(address, &["-d", &request, "/grpc.health.v1.Health/Check"]).await;
        assert!(healthy.contains("\"SERVING\""), "{service}: {healthy}");
        let (method, request, answer) = match *service {
            "tidegate.v1.RunService" => ("ListRuns", "{}", "{"),
            "tidegate.v1.ConcurrencyService" => ("ListConcurrencyLimits", "{}", "{"),
            "tidegate.v1.DeploymentService" => ("ListDeployments", "{}", "{"),
            "tidegate.v1.ScheduleService" => ("ListSchedules", "{}", "{"),
            "tidegate.v1.QueueService" => ("ListQueues", "{}", "{"),
            "tidegate.v1.ArtifactService" => ("ListArtifacts", "{}", "{"),
            "tidegate.v1.VariableService" => ("ListVariables", "{}", "{"),
            "tidegate.v1.AutomationService" => ("ListAutomations", "{}", "{"),
            "tidegate.v1.SystemService" => ("GetVersion", "{}", "\"version\""),
            "tidegate.v1.SessionService" => (
                "Session",
                "{\"hello\":{\"protocolVersion\":1,\"sessionId\":\"0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b\",\"identity\":\"buf\",\"sdk\":\"buf\"}}",
                "\"leaseDuration\"",
            ),
            "tidegate.v1.WorkerService" => (
                "Work",
                "{\"hello\":{\"protocolVersion\":1,\"workerId\":\"buf\",\"queues\":[\"buf\"],\"functions\":[{\"kind\":\"RUN_KIND_TASK\",\"name\":\"x\"}]}}",
                "\"leaseDuration\"",
            ),
            "tidegate.v1.LogService" => {
                ("QueryLogs", "{\"runId\":\"0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b\"}", "{")
            }
            "tidegate.internal.v1.RunEngineService" => ("CheckRuns", "{\"namespace\":\"default\"}", "{"),
            "tidegate.internal.v1.DeliveryService" => ("GetGeneration", "{}", "\"bornAt\""),
            other => panic!("the test knows no method of {other}"),
        };
        let answered = buf(address, &["-d", request, &format!("/{service}/{method}")]).await;
        assert!(answered.contains(answer), "{service}/{method}: {answered}");
    }
}

const API: &[&str] = &[
    "tidegate.v1.RunService",
    "tidegate.v1.SessionService",
    "tidegate.v1.ConcurrencyService",
    "tidegate.v1.DeploymentService",
    "tidegate.v1.ScheduleService",
    "tidegate.v1.QueueService",
    "tidegate.v1.ArtifactService",
    "tidegate.v1.VariableService",
    "tidegate.v1.AutomationService",
    "tidegate.v1.SystemService",
    "tidegate.internal.v1.RunEngineService",
];
const TASK_QUEUE: &[&str] = &["tidegate.v1.WorkerService", "tidegate.internal.v1.DeliveryService"];
const LOG_INGEST: &[&str] = &["tidegate.v1.LogService"];

#[tokio::test]
async fn every_separate_service_answers_a_foreign_client() {
    let suite = Suite::separate().await;
    lists_and_calls(suite.address(), API).await;
    lists_and_calls(&suite.address_of("task-queue"), TASK_QUEUE).await;
    lists_and_calls(&suite.address_of("log-ingest"), LOG_INGEST).await;
    lists_and_calls(&suite.address_of("scheduler"), &[]).await;
    suite.stop().await;
}

#[tokio::test]
async fn the_embedded_suite_answers_a_foreign_client() {
    let suite = Suite::embedded().await;
    let all: Vec<_> = [API, TASK_QUEUE, LOG_INGEST].concat();
    lists_and_calls(suite.address(), &all).await;
    suite.stop().await;
}
