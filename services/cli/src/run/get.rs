use tidegate_sdk_core::Client;

use super::{OK, Printer, check_id, now};
use crate::{
    fault::Fault,
    output::{event_json, run_detail, run_json},
};

/// `run get`: the run in full, with its history.
pub async fn get(client: &Client, printer: &Printer, id: &str) -> Result<u8, Fault> {
    check_id(id)?;
    let run = client.get_run(id).await?;
    let history = client.history(id).await?;
    if printer.is_json() {
        let mut value = run_json(&run);
        value["history"] = history.iter().map(event_json).collect();
        printer.document(&value)?;
    } else {
        printer.text(&run_detail(&run, &history, now()))?;
    }
    OK
}
