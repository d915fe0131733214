use serde_json::Value;
use tidegate_sdk_core::{Client, proto::ListRunsRequest};

use super::{OK, Printer, now};
use crate::{
    fault::Fault,
    output::{run_json, run_table},
};

const PAGE_SIZE: u32 = 1_000;

/// `run ls`: a page after the other until there are `limit`.
pub async fn ls(
    client: &Client,
    printer: &Printer,
    filter: String,
    order_by: String,
    limit: u32,
) -> Result<u8, Fault> {
    let mut runs = Vec::new();
    let mut page_token = String::new();
    let mut n_wanted = limit;
    loop {
        let page_size = i32::try_from(n_wanted.min(PAGE_SIZE)).expect("a page size is at most 1,000");
        let request = ListRunsRequest {
            filter: filter.clone(),
            order_by: order_by.clone(),
            page_size,
            page_token,
            ..Default::default()
        };
        let page = client.list_runs(request).await?;
        n_wanted = n_wanted.saturating_sub(u32::try_from(page.runs.len()).unwrap_or(u32::MAX));
        runs.extend(page.runs);
        page_token = page.next_page_token;
        if page_token.is_empty() || n_wanted == 0 {
            break;
        }
    }
    if printer.is_json() {
        printer.document(&Value::Array(runs.iter().map(run_json).collect()))?;
    } else {
        printer.text(&run_table(&runs, now()))?;
        if !page_token.is_empty() {
            eprintln!("there are more: --limit shows more of them, --filter fewer");
        }
    }
    OK
}
