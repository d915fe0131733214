use tidegate_sdk_core::{
    Client,
    proto::{ListRunsRequest, Run},
};

use super::now;
use crate::{
    ask::Outcome,
    common::Watch,
    fault::Fault,
    output::{run_json, run_table},
    printer::Printer,
};

const PAGE_SIZE: u32 = 1_000;

/// `run ls`: a page after the other until there are `limit`.
pub async fn ls(
    client: &Client,
    printer: &Printer,
    filter: String,
    order_by: String,
    limit: u32,
    watch: Watch,
) -> Outcome {
    let request = ListRunsRequest { filter, order_by, ..Default::default() };
    let mut are_more = false;
    let look = async || {
        let (runs, more) = page(client, &request, limit).await?;
        are_more = more;
        Ok(printer.render(|| runs.iter().map(run_json).collect(), || run_table(&runs, now())))
    };
    let outcome = printer.show(watch, look).await?;
    if are_more && printer.is_table() && !watch.watch {
        eprintln!("there are more: --limit shows more of them, --filter fewer");
    }
    Ok(outcome)
}

/// The first `limit` runs, and whether there are more.
async fn page(client: &Client, wanted: &ListRunsRequest, limit: u32) -> Result<(Vec<Run>, bool), Fault> {
    let mut runs = Vec::new();
    let mut page_token = String::new();
    let mut n_wanted = limit;
    loop {
        let page_size = i32::try_from(n_wanted.min(PAGE_SIZE)).expect("a page size is at most 1,000");
        let page = client.list_runs(ListRunsRequest { page_size, page_token, ..wanted.clone() }).await?;
        n_wanted = n_wanted.saturating_sub(u32::try_from(page.runs.len()).unwrap_or(u32::MAX));
        runs.extend(page.runs);
        page_token = page.next_page_token;
        if page_token.is_empty() || n_wanted == 0 {
            return Ok((runs, !page_token.is_empty()));
        }
    }
}
