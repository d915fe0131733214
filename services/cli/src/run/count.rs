use tidegate_sdk_core::Client;

use super::{OK, Printer};
use crate::{
    fault::Fault,
    output::{count_json, count_text},
};

/// `run count`: how many runs there are, and what the number is worth.
pub async fn count(client: &Client, printer: &Printer, filter: &str) -> Result<u8, Fault> {
    let counted = client.count_runs(filter).await?;
    if printer.is_json() {
        printer.document(&count_json(&counted))?;
    } else {
        printer.text(&count_text(&counted))?;
    }
    OK
}
