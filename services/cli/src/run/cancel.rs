use serde_json::{Value, json};
use tidegate_sdk_core::Client;

use super::{OK, Printer, check_id};
use crate::{
    fault::Fault,
    output::{run_json, state_text},
};

/// `run cancel`: each run with all below it. The first fault ends it.
pub async fn cancel(client: &Client, printer: &Printer, ids: &[String], reason: &str) -> Result<u8, Fault> {
    for id in ids {
        check_id(id)?;
    }
    let mut documents = Vec::new();
    for id in ids {
        let response = client.cancel_run(id, reason).await?;
        let run = response.run.unwrap_or_default();
        if printer.is_json() {
            documents.push(json!({ "run": run_json(&run), "n_cancelled": response.n_cancelled }));
        } else {
            let state = state_text(run.state.as_ref());
            let n = response.n_cancelled;
            printer.text(&format!("{id}  {state}  {n} of its tree cancelled\n"))?;
        }
    }
    if printer.is_json() {
        printer.document(&Value::Array(documents))?;
    }
    OK
}
