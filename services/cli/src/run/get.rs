use tidegate_sdk_core::{Client, proto::Run};

use super::{OK, Printer, check_id, now};
use crate::{
    fault::Fault,
    output::{event_json, run_detail, run_json},
};

/// `run get`: the run in full, with its history.
pub async fn get(client: &Client, printer: &Printer, id: &str) -> Result<u8, Fault> {
    check_id(id)?;
    show(client, printer, &client.get_run(id).await?).await?;
    OK
}

/// A run in full, with its history.
pub async fn show(client: &Client, printer: &Printer, run: &Run) -> Result<(), Fault> {
    let history = client.history(&run.id).await?;
    if printer.is_json() {
        let mut value = run_json(run);
        value["history"] = history.iter().map(event_json).collect();
        printer.document(&value)?;
    } else {
        printer.text(&run_detail(run, &history, now()))?;
    }
    Ok(())
}
