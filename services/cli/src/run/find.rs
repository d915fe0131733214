use tidegate_sdk_core::{
    Client,
    proto::{FindRunRequest, find_run_request::Scope},
};

use super::{args::KeyScope, get};
use crate::{ask::Outcome, printer::Printer};

/// `run find`: the run of a key, as `run get` shows it.
pub async fn find(client: &Client, printer: &Printer, key: String, scope: KeyScope, full: bool) -> Outcome {
    let scope = scope
        .parent
        .map(Scope::ParentRunId)
        .or(scope.deployment.map(Scope::Deployment))
        .or(scope.flow.map(Scope::Flow))
        .or(scope.task.map(Scope::Task));
    let request = FindRunRequest { idempotency_key: key, scope, ..Default::default() };
    let run = client.peek_found_run(request).await?;
    let shown = get::shown(client, printer, run, full).await?;
    printer.write(&shown)
}
