use serde_json::Value;
use tidegate_sdk_core::Client;

use super::{OK, Printer, check_id, get::fetch};
use crate::{
    fault::Fault,
    output::{input_json, input_table},
};

/// `run inputs`: what the pauses of a run ask for, and what they were given.
pub async fn inputs(client: &Client, printer: &Printer, id: &str, full: bool) -> Result<u8, Fault> {
    check_id(id)?;
    let mut inputs = client.run_inputs(id).await?;
    for input in &mut inputs {
        fetch(client, input.request.as_mut(), full).await?;
        fetch(client, input.input.as_mut(), full).await?;
    }
    if printer.is_json() {
        printer.document(&Value::Array(inputs.iter().map(input_json).collect()))?;
    } else {
        printer.text(&input_table(&inputs))?;
    }
    OK
}
