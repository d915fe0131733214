//! How the api finds what it depends on, as it is told to whoever asks.

mod common;

use common::Api;
use tidegate_proto::v1::{self, DependencyState};

#[tokio::test]
async fn what_answers_and_what_does_not_is_told() {
    let api = Api::start().await;
    let mut system = api.system.clone();
    let found = system.get_diagnosis(v1::GetDiagnosisRequest {}).await.expect("answers").into_inner();
    let version = system.get_version(v1::GetVersionRequest {}).await.expect("answers").into_inner();
    assert_eq!(found.stored_schema_version, version.schema_version);
    let told: Vec<_> =
        found.dependencies.iter().map(|it| (it.service.as_str(), it.name.as_str(), it.state())).collect();
    // There is no task-queue in this test.
    assert_eq!(
        told,
        [
            ("api", "store", DependencyState::Ok),
            ("api", "task-queue", DependencyState::Failed),
            ("task-queue", "delivery", DependencyState::Unknown),
        ]
    );
    let [store, task_queue, delivery] = &found.dependencies[..] else { unreachable!("there are three") };
    assert!(store.message.is_empty() && store.took.is_some(), "{store:?}");
    assert!(task_queue.message.starts_with("Unavailable: ") && task_queue.took.is_none(), "{task_queue:?}");
    assert_eq!(delivery.message, "task-queue does not answer");
}
