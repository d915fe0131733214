use tidegate_sdk_core::Client;

use super::{OK, Printer, check_id};
use crate::{
    fault::Fault,
    output::{explanation_json, explanation_text},
};

/// `run explain`: why the run is where it is.
pub async fn explain(client: &Client, printer: &Printer, id: &str) -> Result<u8, Fault> {
    check_id(id)?;
    let explanation = client.explain_run(id).await?;
    if printer.is_json() {
        printer.document(&explanation_json(&explanation))?;
    } else {
        printer.text(&explanation_text(&explanation))?;
    }
    OK
}
