use tidegate_sdk_core::{Client, Error, ErrorKind, proto::ListRunsRequest};

use super::{OK, Printer, check_id, now};
use crate::{
    fault::Fault,
    output::{RunTree, tree_json, tree_text},
};

/// `run tree`: the run and all below it.
pub async fn tree(client: &Client, printer: &Printer, id: &str, all: bool) -> Result<u8, Fault> {
    check_id(id)?;
    let tree = fetch(client, id).await?;
    if printer.is_json() {
        printer.document(&tree_json(&tree))?;
    } else {
        printer.text(&tree_text(&tree, all, now()))?;
    }
    OK
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
