use tidegate_sdk_core::{Client, Error, ErrorKind, proto::ListRunsRequest};

use super::{check_id, now};
use crate::{
    ask::Outcome,
    common::Watch,
    output::{RunTree, tree_json, tree_text},
    printer::Printer,
};

/// `run tree`: the run and all below it.
pub async fn tree(client: &Client, printer: &Printer, id: &str, all: bool, watch: Watch) -> Outcome {
    check_id(id)?;
    let look = async || {
        let tree = fetch(client, id).await?;
        Ok(printer.render(|| tree_json(&tree), || tree_text(&tree, all, now())))
    };
    printer.show(watch, look).await
}

/// The run `id` and all below it, without payloads.
///
/// # Errors
/// `NotFound`, `Unavailable`.
pub async fn fetch(client: &Client, id: &str) -> Result<RunTree, Error> {
    let root = client.peek_run(id).await?.root_run_id;
    let mut runs = Vec::new();
    let mut page_token = String::new();
    loop {
        let filter = format!("root_run_id = \"{root}\"");
        let request = ListRunsRequest { filter, page_size: 1_000, page_token, ..Default::default() };
        let page = client.list_runs(request).await?;
        runs.extend(page.runs);
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    let gone = || Error::new(ErrorKind::NotFound, format!("run {id} is not among the runs below {root}"));
    RunTree::of(id, runs).ok_or_else(gone)
}
