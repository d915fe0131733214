use serde_json::Value;
use tidegate_sdk_core::Client;

use super::{check_id, get::fetch};
use crate::{
    ask::Outcome,
    output::{input_json, input_table},
    printer::Printer,
};

/// `run inputs`: what the pauses of a run ask for, and what they were given.
pub async fn inputs(client: &Client, printer: &Printer, id: &str, full: bool) -> Outcome {
    check_id(id)?;
    let mut inputs = client.run_inputs(id).await?;
    for input in &mut inputs {
        fetch(client, input.request.as_mut(), full).await?;
        fetch(client, input.input.as_mut(), full).await?;
    }
    printer.answer(|| Value::Array(inputs.iter().map(input_json).collect()), || input_table(&inputs))
}
