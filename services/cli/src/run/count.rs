use tidegate_sdk_core::Client;

use crate::{
    ask::Outcome,
    common::Watch,
    output::{count_json, count_text},
    printer::Printer,
};

/// `run count`: how many runs there are, and what the number is worth.
pub async fn count(client: &Client, printer: &Printer, filter: &str, watch: Watch) -> Outcome {
    let look = async || {
        let counted = client.count_runs(filter).await?;
        Ok(printer.render(|| count_json(&counted), || count_text(&counted)))
    };
    printer.show(watch, look).await
}
