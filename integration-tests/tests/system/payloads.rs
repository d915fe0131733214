//! Values that are too large for a message go through object storage, and nobody who calls or serves has to know.

use std::time::Duration;

use tidegate_integration_tests::{Suite, within};

crate::on_both_forms!(large_values_survive_all_but_the_store, many_large_results_are_gathered);

const DEADLINE: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;

/// A text of `n_bytes` that tells where it is cut or mixed up.
fn text(n_bytes: usize) -> String {
    let mut text: String = (0..n_bytes / 8 + 1).map(|n| format!("{n:08x}")).collect();
    text.truncate(n_bytes);
    text
}

async fn large_values_survive_all_but_the_store(suite: &mut Suite) {
    let sent = text(5 * MIB);
    let handle = {
        let client = suite.client();
        let handle = client.task("echo").queue("large").delay(&sent).await.unwrap();
        let mut worker = suite.worker("large");
        within("the end", DEADLINE, handle.wait()).await.unwrap();
        worker.kill().await;
        handle.id().to_owned()
    };
    suite.kill_everything_and_restart().await;

    let client = suite.client();
    let returned: String = within("the result", DEADLINE, client.handle(&handle).result()).await.unwrap();
    assert!(returned == sent, "the result is not what was sent");
    let run = client.core().get_run(&handle).await.unwrap();
    let parameters = run.parameters.unwrap();
    assert!(parameters.data == serde_json::to_vec(&sent).unwrap(), "the parameters are not what was sent");
    // In the row there are claim checks alone.
    let run = client.core().peek_run(&handle).await.unwrap();
    for payload in [run.parameters.unwrap(), run.result.unwrap()] {
        assert_eq!(payload.data.len(), 0);
        assert_eq!(payload.reference.unwrap().size_bytes, sent.len() as u64 + 2, "with its quotes");
    }
}

async fn many_large_results_are_gathered(suite: &Suite) {
    let client = suite.client();
    let _worker = suite.worker("large");
    let sent: Vec<String> = (0..10).map(|n| format!("{n}{}", text(MIB))).collect();
    let handles = client.task("echo").queue("large").delay_many(&sent).await.unwrap();
    let returned = within("the results", DEADLINE, tidegate_sdk::gather::<String>(&handles)).await.unwrap();
    assert!(returned == sent, "the results are not what was sent");
}
