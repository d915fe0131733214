use tidegate_sdk_core::Client;

use super::check_id;
use crate::{
    ask::Outcome,
    common::Watch,
    output::{explanation_json, explanation_text},
    printer::Printer,
};

/// `run explain`: why the run is where it is.
pub async fn explain(client: &Client, printer: &Printer, id: &str, watch: Watch) -> Outcome {
    check_id(id)?;
    let look = async || {
        let explanation = client.explain_run(id).await?;
        Ok(printer.render(|| explanation_json(&explanation), || explanation_text(&explanation)))
    };
    printer.show(watch, look).await
}
